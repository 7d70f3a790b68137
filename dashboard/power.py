"""From the intervals of a run to power over time and to progress. Energy is conserved; a gap stays a gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard.store.intervals import JITTER, last, starts_at, total
from dashboard.store.rows import RunPoint
from schemas.units import kwh_from_j, w_from_kwh

# Clocks are read one after the other: a shorter hole than this is none.
CLOCK_S = 0.1
ESTIMATED = frozenset({"estimated", "mixed"})


@dataclass(frozen=True)
class Segment:
    """Constant power over [start, end). `power_w` None is a gap."""

    start: datetime
    end: datetime
    power_w: float | None
    estimated: bool = False

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True)
class Step:
    """What a run used at one step or epoch; `power_w` is the sum over its ranks."""

    x: float
    energy_kwh: float | None
    power_w: float | None
    loss: float | None
    accuracy: float | None
    estimated: bool


def segments(points: Sequence[RunPoint], at_most: int) -> list[Segment]:
    """Power of all ranks together over time, in at most about `at_most` pieces."""
    changes: list[tuple[datetime, float, int, int]] = []
    for producer in dict.fromkeys(point.producer for point in points):
        for start, end, energy_kwh, estimated in _covering([p for p in points if p.producer == producer]):
            watts = w_from_kwh(energy_kwh, (end - start).total_seconds())
            changes += [(start, watts, 1, int(estimated)), (end, -watts, -1, -int(estimated))]
    return _coarser(_swept(changes), at_most)


def _covering(points: Sequence[RunPoint]) -> list[tuple[datetime, datetime, float, bool]]:
    """One producer's intervals that have energy; each starts where the one before ends, but for gaps."""
    found: list[tuple[datetime, datetime, float, bool]] = []
    end: datetime | None = None
    for point in points:
        if point.energy_kwh is None or not point.covered_s:
            continue
        start = starts_at(point)
        if end is not None and (start - end).total_seconds() < max(JITTER * point.covered_s, CLOCK_S):
            start = end
        if start < point.at:
            found.append((start, point.at, point.energy_kwh, point.measurement in ESTIMATED))
            end = point.at
    return found


def _swept(changes: list[tuple[datetime, float, int, int]]) -> list[Segment]:
    pieces: list[Segment] = []
    watts, running, guesses = 0.0, 0, 0
    before: datetime | None = None
    for at, d_watts, d_running, d_guesses in sorted(changes, key=lambda change: change[0]):
        if before is not None and at > before:
            pieces.append(Segment(before, at, watts if running else None, guesses > 0))
        watts, running, guesses = watts + d_watts, running + d_running, guesses + d_guesses
        before = at
    return pieces


def _coarser(pieces: list[Segment], at_most: int) -> list[Segment]:
    """Join neighbours by their mean power over time, but never over a gap."""
    if len(pieces) <= at_most:
        return pieces
    size = -(-len(pieces) // at_most)
    joined: list[Segment] = []
    group: list[Segment] = []
    for piece in pieces:
        if group and (len(group) >= size or (piece.power_w is None) != (group[0].power_w is None)):
            joined.append(_mean(group))
            group = []
        group.append(piece)
    return joined + ([_mean(group)] if group else [])


def _mean(group: Sequence[Segment]) -> Segment:
    start, end = group[0].start, group[-1].end
    if group[0].power_w is None:
        return Segment(start, end, None)
    joules = sum((piece.power_w or 0.0) * piece.length_s for piece in group)
    watts = w_from_kwh(kwh_from_j(joules), (end - start).total_seconds())
    return Segment(start, end, watts, any(piece.estimated for piece in group))


def gaps(pieces: Sequence[Segment]) -> timedelta:
    """Time in which nothing was measured."""
    return sum((piece.end - piece.start for piece in pieces if piece.power_w is None), timedelta())


def by_progress(points: Sequence[RunPoint], axis: str, at_most: int) -> list[Step]:
    """Energy, power and loss per `step` or `epoch`; intervals without one belong to the one before."""
    known = [x for x in (getattr(point, axis) for point in points) if x is not None]
    if not known:
        return []
    groups: dict[float, list[RunPoint]] = {}
    x: float = known[0]
    for point in points:
        found = getattr(point, axis)
        x = x if found is None else found
        groups.setdefault(x, []).append(point)
    ordered = sorted(groups.items())
    size = -(-len(ordered) // at_most)
    chunks = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [_step(chunk[-1][0], [point for _, group in chunk for point in group]) for chunk in chunks]


def _step(x: float, points: Sequence[RunPoint]) -> Step:
    powers = []
    for producer in {point.producer for point in points}:
        own = [p for p in points if p.producer == producer and p.energy_kwh is not None and p.covered_s]
        covered, energy = total(p.covered_s for p in own), total(p.energy_kwh for p in own)
        if covered and energy is not None:
            powers.append(w_from_kwh(energy, covered))
    return Step(
        x,
        total(point.energy_kwh for point in points),
        sum(powers) if powers else None,
        last(point.loss for point in points),
        last(point.accuracy for point in points),
        any(point.measurement in ESTIMATED for point in points),
    )
