"""Energy of counters between their samples: pure arithmetic, in joules and milliseconds.

What a counter rose by between two samples belongs to the time between them, evenly; so the energy of any partition
of time sums to last - first. Between two samples further apart than the longest gap nothing is known, and before
the first and after the last one neither. A counter that fell has begun anew: from zero where that is known of it,
else from a value that nobody knows, and then the interval is a gap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum

from producers.counters import MAX_PLAUSIBLE_W, trapezoid_j
from producers.prometheus.series import Points
from schemas.units import MS_PER_S


@dataclass(frozen=True, slots=True)
class Span:
    """Energy (J) used from start to end (ms since the epoch)."""

    start_ms: int
    end_ms: int
    energy_j: float

    def within(self, start_ms: int, end_ms: int) -> float:
        """The part of it (J) that lies from start to end."""
        part_ms = min(self.end_ms, end_ms) - max(self.start_ms, start_ms)
        return self.energy_j * (part_ms / (self.end_ms - self.start_ms)) if part_ms > 0 else 0.0


Spans = tuple[Span, ...]


def union(many: Iterable[Points]) -> Points:
    """Samples of one counter that several series repeat, each time once; the larger value where they differ."""
    found: dict[int, float] = {}
    for points in many:
        for at, value in points:
            found[at] = max(value, found.get(at, value))
    return tuple(sorted(found.items()))


def total(many: Sequence[Points]) -> Points:
    """The sum of counters, at the times at which all of them were read."""
    if not many:
        return ()
    values = [dict(points) for points in many]
    times = sorted(set.intersection(*(set(found) for found in values)))
    return tuple((at, fsum(found[at] for found in values)) for at in times)


def counted(points: Points, max_gap_ms: int, unit_j: float = 1.0, from_zero: bool = False) -> Spans:
    """What a counter rose by. `unit_j` is one count in joules; `from_zero` is where a reset leads to."""
    made = []
    for (before, low), (at, high) in pairwise(points):
        energy_j: float | None = (high - low) * unit_j
        if high < low:
            energy_j = high * unit_j if from_zero else None
            if energy_j is not None and energy_j > MAX_PLAUSIBLE_W * (at - before) / MS_PER_S:
                energy_j = None
        if energy_j is not None and at - before <= max_gap_ms:
            made.append(Span(before, at, energy_j))
    return tuple(made)


def integrated(points: Points, max_gap_ms: int) -> Spans:
    """Energy of a power (W), by trapezoids: an estimate."""
    made = []
    for (before, low), (at, high) in pairwise(points):
        energy_j = trapezoid_j(low, high, (at - before) / MS_PER_S)
        if energy_j is not None and at - before <= max_gap_ms:
            made.append(Span(before, at, energy_j))
    return tuple(made)


def energy_j(many: Iterable[Spans], start_ms: int, end_ms: int) -> float | None:
    """Energy of several counters from start to end; None where nothing is known of any."""
    parts = [span.within(start_ms, end_ms) for spans in many for span in _touching(spans, start_ms, end_ms)]
    return fsum(parts) if parts else None


def covered_ms(many: Iterable[Spans], start_ms: int, end_ms: int) -> int:
    """How much of the time from start to end at least one of them knows."""
    known = sorted(
        (max(span.start_ms, start_ms), min(span.end_ms, end_ms))
        for spans in many
        for span in _touching(spans, start_ms, end_ms)
    )
    covered, through = 0, start_ms
    for low, high in known:
        covered += max(0, high - max(low, through))
        through = max(through, high)
    return covered


def beside(preferred: Sequence[Spans], others: Iterable[Spans]) -> list[Spans]:
    """The preferred counters, and of the others what is known of times that no preferred one knows.

    Two exporters may read one meter side by side, or one after the other.
    """
    taken = [span for spans in preferred for span in spans]
    taken.sort(key=lambda span: span.start_ms)
    known = _merged(taken)
    rest = (tuple(span for span in spans if not _overlaps(known, span)) for spans in others)
    return [*preferred, *(spans for spans in rest if spans)]


def _merged(spans: Sequence[Span]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for span in spans:
        if found and span.start_ms <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], span.end_ms))
        else:
            found.append((span.start_ms, span.end_ms))
    return found


def _overlaps(known: Sequence[tuple[int, int]], span: Span) -> bool:
    place = bisect_left(known, span.end_ms, key=lambda entry: entry[0])
    return place > 0 and known[place - 1][1] > span.start_ms


def _touching(spans: Spans, start_ms: int, end_ms: int) -> Iterable[Span]:
    """Those that have a part from start to end; they come in order and do not overlap."""
    place = bisect_left(spans, start_ms + 1, key=lambda span: span.end_ms)
    while place < len(spans) and spans[place].start_ms < end_ms:
        yield spans[place]
        place += 1
