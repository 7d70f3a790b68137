"""A forecast from its issue to its actual, and what a series learns from them at one horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spark_jobs.forecast.layers.conformal import Conformal
from spark_jobs.forecast.layers.hybrid import Blend, Layers
from spark_jobs.forecast.series import Floats

MS = 1000
# Memory of the discounted errors, in actuals (the weight of the last one is 1 / SKILL_MEMORY).
SKILL_MEMORY = 500


@dataclass(frozen=True, slots=True)
class Issued:
    """A forecast of one series at one horizon. Powers in W, energies in kWh over (issue, target]."""

    target: str
    issued_ms: int
    horizon_s: int
    model_version: str
    last: float
    seasonal: float | None
    layers: Layers
    quantiles: tuple[float, ...]
    fallback: str | None
    energy_kwh: tuple[float, float, float] | None = None
    kg_per_kwh: float | None = None

    @property
    def target_ms(self) -> int:
        """End of the window that the forecast is about."""
        return self.issued_ms + self.horizon_s * MS


@dataclass(frozen=True, slots=True)
class Joined:
    """A forecast that met its actual (W). `energy_kwh` is known where every window of the span was observed."""

    issued: Issued
    actual: float
    energy_kwh: float | None
    alarm: bool


@dataclass(slots=True)
class Pending:
    """A forecast that waits for its actual, with what the speed layer saw at its issue."""

    issued: Issued
    inputs: Floats
    energy_kwh: float = 0.0
    windows: int = 0
    joined: bool = False


@dataclass(slots=True)
class Cell:
    """What is learned of one series at one horizon."""

    blend: Blend = field(default_factory=Blend)
    conformal: Conformal = field(default_factory=Conformal)
    served_mae: float = 0.0
    naive_mae: float = 0.0
    n: int = 0
    drift_ms: int | None = None

    def learn(self, pending: Pending, actual: float, at_ms: int) -> bool:
        """Take in an actual (W); True where the drift detector has just raised its alarm."""
        issued = pending.issued
        self.conformal.learn(issued.quantiles, issued.layers.point, actual)
        alarm = self.blend.learn(issued.layers, pending.inputs, issued.last, actual)
        if alarm:
            self.drift_ms = at_ms
        self.n += 1
        share = 1.0 / min(self.n, SKILL_MEMORY)
        self.served_mae += share * (abs(issued.layers.point - actual) - self.served_mae)
        self.naive_mae += share * (abs(issued.last - actual) - self.naive_mae)
        return alarm

    def heir(self) -> Cell:
        """What the next series of the same kind starts with: what was learned, and no score of its own yet."""
        return Cell(self.blend.heir(), self.conformal.heir())

    def to_doc(self) -> dict[str, Any]:
        """As it is stored."""
        skill = {"served_mae": self.served_mae, "naive_mae": self.naive_mae, "n": self.n}
        doc = {"blend": self.blend.to_doc(), "conformal": self.conformal.to_doc(), "skill": skill}
        return doc if self.drift_ms is None else {**doc, "drift_ms": self.drift_ms}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Cell:
        """As it was stored."""
        blend, conformal = Blend.from_doc(doc["blend"]), Conformal.from_doc(doc["conformal"])
        return cls(blend, conformal, **doc["skill"], drift_ms=doc.get("drift_ms"))
