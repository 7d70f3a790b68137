"""The last resort where no counter is readable: CPU power from utilisation and TDP, marked `estimated`.

P = TDP × (IDLE + (1 − IDLE) × utilisation): the usual line between idle and peak (Fan, Weber, Barroso 2007,
"Power provisioning for a warehouse-sized computer", which finds measured server power near it).
IDLE = 0.1 of the TDP, codecarbon's documented floor.
"""

from __future__ import annotations

from collections.abc import Callable

import psutil

from producers.meters.tdp import Tdp, cpu_model, load_table, tdp_of
from producers.ports import ESTIMATED, Instant, Reading

IDLE_FRACTION = 0.1


def busy_and_total_s() -> tuple[float, float]:
    """CPU seconds of all logical CPUs since boot: busy and all together."""
    times = psutil.cpu_times()
    # Guests' time is counted in user and nice already.
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    total = sum(times) - guest
    away = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    return total - away, total


def machine_tdp() -> Tdp:
    """TDP of this machine's CPUs."""
    model, sockets = cpu_model()
    return tdp_of(model, psutil.cpu_count() or 1, sockets, load_table())


class PsutilMeter:
    """CPU energy of the machine estimated from its utilisation."""

    name = "psutil"
    measurement = ESTIMATED
    devices: tuple[str, ...] = ("cpu",)

    def __init__(
        self, tdp: Tdp | None = None, cpu_times: Callable[[], tuple[float, float]] = busy_and_total_s
    ) -> None:
        self.tdp = tdp or machine_tdp()
        self._cpu_times = cpu_times
        self._last: tuple[float, float, float] | None = None

    def sample(self, at: Instant) -> Reading:
        """Energy since the previous reading; the first gives none."""
        busy_s, total_s = self._cpu_times()
        last, self._last = self._last, (busy_s, total_s, at.monotonic_s)
        if last is None:
            return Reading()
        over_s = at.monotonic_s - last[2]
        counted_s = total_s - last[1]
        load = min(1.0, max(0.0, (busy_s - last[0]) / counted_s)) if counted_s > 0 else 0.0
        power_w = self.tdp.power_w * (IDLE_FRACTION + (1 - IDLE_FRACTION) * load)
        return Reading(cpu_energy_j=power_w * over_s)

    def close(self) -> None:
        """Nothing is held open."""
