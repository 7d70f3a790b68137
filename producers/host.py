"""The machine as the operating system tells it: CPU time and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psutil

from producers.meters.psutil_estimate import busy_and_total_s
from schemas.units import mib_from_bytes


@dataclass(frozen=True, slots=True)
class HostState:
    """CPU seconds since the previous look (busy, and capacity over all logical CPUs) and memory now.

    The CPU times are None at the first look.
    """

    busy_s: float | None
    capacity_s: float | None
    memory_used_mib: float
    memory_total_mib: float

    @property
    def cpu_utilization_pct(self) -> float | None:
        """Busy share of all logical CPUs, 0 to 100."""
        if self.busy_s is None or not self.capacity_s:
            return None
        return 100 * min(1.0, self.busy_s / self.capacity_s)


class Host:
    """Looks at the machine now and then."""

    def __init__(self, cpu_times: Callable[[], tuple[float, float]] = busy_and_total_s) -> None:
        self._cpu_times = cpu_times
        self._last: tuple[float, float] | None = None

    def look(self) -> HostState:
        """CPU time since the previous look, memory now."""
        busy_s, total_s = self._cpu_times()
        last, self._last = self._last, (busy_s, total_s)
        memory = psutil.virtual_memory()
        used, total = mib_from_bytes(memory.total - memory.available), mib_from_bytes(memory.total)
        if last is None:
            return HostState(None, None, used, total)
        return HostState(max(0.0, busy_s - last[0]), max(0.0, total_s - last[1]), used, total)
