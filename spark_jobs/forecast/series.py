"""What a forecast is about: a series of closed windows. The words that all of this folder share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The quantiles of every forecast.
LEVELS = (0.05, 0.10, 0.50, 0.90, 0.95)


@dataclass(frozen=True, slots=True)
class Observation:
    """A closed window of one series. What is not known is None; a window without a document is a gap."""

    start_ms: int
    power_w: float
    gpu_utilization_pct: float | None = None
    cpu_utilization_pct: float | None = None
    memory_used_mib: float | None = None
    # The run that used most of the window's energy, where the series is a node's.
    run_id: str | None = None
    # Of the whole window; `emissions_kg` by the intensity of its own events.
    energy_kwh: float | None = None
    emissions_kg: float | None = None


class BatchModel(Protocol):
    """A model trained beforehand, the same for all series."""

    @property
    def version(self) -> str:
        """Its name in forecasts and in the registry."""

    @property
    def horizons_s(self) -> tuple[int, ...]:
        """The horizons that it knows (s)."""

    def predict(self, rows: Floats) -> Mapping[int, Floats]:
        """Per horizon: the change of power from the last value (W), shape (n, len(LEVELS)), ascending in a row.

        `rows` has shape (n, len(features.FEATURES)). Raises ModelError where it cannot.
        """
