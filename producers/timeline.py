"""Energy between events: intervals between looks go in, each event takes what fell since the one before it.

Looks and events need not coincide: an interval that contains an event is divided at it, evenly over time.
Nothing is lost or counted twice, so the events' energies add up to the intervals'. A device that was not
known over a part of the time adds nothing there, and `covered_s` leaves out the time over which no energy
at all was known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from producers.machine import Provenance
from producers.run_meter import Interval


@dataclass(frozen=True, slots=True)
class Portion:
    """What one event carries: energy (J, None is not known) over `covered_s` seconds."""

    covered_s: float
    elapsed_s: float
    cpu_j: float | None
    gpu_j: float | None
    ram_j: float | None
    sources: tuple[Provenance, ...]

    @property
    def energy_j(self) -> float | None:
        """All known devices together; None where none is known."""
        known = [part for part in (self.cpu_j, self.gpu_j, self.ram_j) if part is not None]
        return sum(known) if known else None


@dataclass(slots=True)
class Timeline:
    """Collects intervals, gives portions. Times are monotonic seconds and only grow."""

    _covered_s: float = 0.0
    _elapsed_s: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict)
    _sources: dict[Provenance, None] = field(default_factory=dict)

    def add(self, interval: Interval, from_s: float, to_s: float) -> None:
        """Add the part of an interval that lies between two times inside it."""
        whole_s = interval.to_s - interval.from_s
        if whole_s <= 0:
            return
        part = min(1.0, max(0.0, (to_s - from_s) / whole_s))
        charge = interval.charge
        self._elapsed_s += whole_s * part
        known = {"cpu": charge.cpu_j, "gpu": charge.gpu_j, "ram": charge.ram_j}
        for device, energy_j in known.items():
            if energy_j is not None:
                self._sums[device] = self._sums.get(device, 0.0) + energy_j * part
        if interval.sources:
            self._covered_s += whole_s * part
        self._sources.update(dict.fromkeys(interval.sources))

    def take(self) -> Portion:
        """All since the last take; the timeline starts anew."""
        sums = self._sums
        portion = Portion(
            self._covered_s,
            self._elapsed_s,
            sums.get("cpu"),
            sums.get("gpu"),
            sums.get("ram"),
            tuple(self._sources),
        )
        self._covered_s = self._elapsed_s = 0.0
        self._sums, self._sources = {}, {}
        return portion
