"""Arithmetic of energy counters and power readings: pure, SI out.

Rules: a first reading gives nothing; an unreadable one is a gap, and so is the interval after it (the
counter's run in between belongs to no interval that was attributed); a decrease is a wrap where the counter
has a range and the wrap is plausible, else a reset, which is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

# No CPU package, DRAM zone or GPU draws this much: a larger "wrap" is a reset. (Largest parts of 2025: ~1.4
# kW.)
MAX_PLAUSIBLE_W = 5_000.0


def wrapped_delta(previous: float, now: float, max_range: float) -> float:
    """Units counted between two readings of a counter that wrapped once at `max_range`."""
    return max_range - previous + now


def counter_delta(previous: float | None, now: float | None, max_range: float | None = None) -> float | None:
    """Units counted between two readings; None where not known (first, unreadable, reset without range)."""
    if previous is None or now is None:
        return None
    if now >= previous:
        return now - previous
    return None if max_range is None else wrapped_delta(previous, now, max_range)


def trapezoid_j(previous_w: float | None, now_w: float | None, over_s: float) -> float | None:
    """Energy of a power that went linearly from one reading to the next over `over_s` seconds."""
    if previous_w is None or now_w is None or over_s < 0:
        return None
    return (previous_w + now_w) / 2 * over_s


@dataclass(slots=True)
class EnergyCounter:
    """A cumulative energy counter read now and then. `unit_j` is the energy of one count in joules."""

    unit_j: float
    max_range: float | None = None
    max_w: float = MAX_PLAUSIBLE_W
    _last: float | None = None
    _last_s: float = 0.0

    def update(self, count: float | None, at_s: float) -> float | None:
        """Energy (J) since the previous reading, None where not known. `at_s` is monotonic time."""
        previous, over_s = self._last, at_s - self._last_s
        self._last, self._last_s = count, at_s
        delta = counter_delta(previous, count, self.max_range)
        if delta is None:
            return None
        energy_j = delta * self.unit_j
        wrapped = previous is not None and count is not None and count < previous
        if wrapped and energy_j > self.max_w * max(over_s, 0.0):
            return None
        return energy_j


@dataclass(slots=True)
class PowerIntegral:
    """Energy of a device that tells only its power: trapezoids between readings, so an estimate."""

    _last_w: float | None = None
    _last_s: float = 0.0

    def update(self, power_w: float | None, at_s: float) -> float | None:
        """Energy (J) since the previous reading, None where not known."""
        energy_j = trapezoid_j(self._last_w, power_w, at_s - self._last_s)
        self._last_w, self._last_s = power_w, at_s
        return energy_j
