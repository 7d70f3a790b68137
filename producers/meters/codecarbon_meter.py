"""codecarbon as a meter, where it is asked for (`tracker.meters = codecarbon`).

It knows machines that we do not: Apple silicon, Windows, boards. Only energy is taken from it, through its
output port: its kWh are × PUE, so PUE is set to 1; the carbon intensity is ours to choose. It does not say
per value what it measured, so all of it counts as `estimated`.

Imported by the tracker only and only when opened; the node agent never loads it.
"""

from __future__ import annotations

import importlib
from typing import Any

from producers.meters.errors import MeterUnavailable
from producers.ports import ESTIMATED, Instant, Reading
from schemas.errors import RetryableError
from schemas.units import j_from_kwh

# Only so that codecarbon asks no server where it is: the emissions that follow from it are not read.
_ANY_COUNTRY = "FRA"
_NEVER_S = 86_400


class CodecarbonMeter:
    """CPU and memory energy of the machine as codecarbon sees it. Raises MeterUnavailable."""

    name = "codecarbon"
    measurement = ESTIMATED
    devices: tuple[str, ...] = ("cpu", "dram")

    def __init__(self) -> None:
        try:
            package = importlib.import_module("codecarbon")
            port = importlib.import_module("codecarbon.output_methods.base_output").BaseOutput
        except ImportError as error:
            raise MeterUnavailable("codecarbon is not installed", "pip install codecarbon") from error
        self._totals: Any = None
        self._last: tuple[float, float] | None = None
        self._tracker = package.OfflineEmissionsTracker(
            country_iso_code=_ANY_COUNTRY,
            measure_power_secs=_NEVER_S,
            pue=1.0,
            tracking_mode="machine",
            save_to_file=False,
            save_to_logger=False,
            allow_multiple_runs=True,
            log_level="critical",
            output_handlers=[_listener(port, self._keep)],
        )
        self._tracker.start()

    def sample(self, at: Instant) -> Reading:
        """Energy since the previous reading.

        The first gives none. Raises RetryableError where it is silent.
        """
        self._totals = None
        self._tracker.flush()
        if self._totals is None:
            raise RetryableError("codecarbon gave no reading; its log says why (log level `error`)")
        now = (j_from_kwh(self._totals.cpu_energy), j_from_kwh(self._totals.ram_energy))
        last, self._last = self._last, now
        if last is None:
            return Reading()
        return Reading(cpu_energy_j=max(0.0, now[0] - last[0]), dram_energy_j=max(0.0, now[1] - last[1]))

    def close(self) -> None:
        """Stop codecarbon's threads."""
        self._tracker.stop()

    def _keep(self, totals: Any) -> None:
        self._totals = totals


def _listener(port: type[Any], keep: Any) -> Any:
    """An output handler of codecarbon's own port that hands its totals over."""

    class Listener(port):  # type: ignore[misc]  # a class of a library without types
        def out(self, total: Any, delta: Any) -> None:
            keep(total)

        def live_out(self, total: Any, delta: Any) -> None:
            keep(total)

    return Listener()
