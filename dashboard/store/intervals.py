"""Merging the intervals of a run: energy is conserved, and a gap stays a gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from dashboard.store.rows import RunPoint

T = TypeVar("T")
# Clocks and timers jitter: a hole shorter than this part of an interval is none.
JITTER = 0.25


def total(values: Iterable[float | None]) -> float | None:
    """Sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def starts_at(point: RunPoint) -> datetime:
    """Start of the interval that a point's energy covers."""
    return point.at - timedelta(seconds=point.covered_s or 0.0)


def merged(points: Sequence[RunPoint], at_most: int) -> tuple[RunPoint, ...]:
    """Join neighbours of one producer until there are about `at_most`; never across a gap."""
    if len(points) <= at_most:
        return tuple(points)
    size = -(-len(points) // at_most)
    joined: list[RunPoint] = []
    for producer in dict.fromkeys(point.producer for point in points):
        group: list[RunPoint] = []
        for point in (p for p in points if p.producer == producer):
            if group and (len(group) >= size or is_gap(group[-1], point)):
                joined.append(_joined(group))
                group = []
            group.append(point)
        if group:
            joined.append(_joined(group))
    return tuple(sorted(joined, key=lambda point: point.at))


def is_gap(before: RunPoint, after: RunPoint) -> bool:
    """Whether time passed between two intervals of one producer that neither covers."""
    if after.covered_s is None:
        return False
    hole_s = (starts_at(after) - before.at).total_seconds()
    return hole_s > JITTER * max(after.covered_s, 1e-3)


def _joined(group: Sequence[RunPoint]) -> RunPoint:
    if len(group) == 1:
        return group[0]
    kinds = {point.measurement for point in group if point.measurement}
    return replace(
        group[-1],
        energy_kwh=total(point.energy_kwh for point in group),
        cpu_energy_kwh=total(point.cpu_energy_kwh for point in group),
        gpu_energy_kwh=total(point.gpu_energy_kwh for point in group),
        ram_energy_kwh=total(point.ram_energy_kwh for point in group),
        emissions_kg=total(point.emissions_kg for point in group),
        covered_s=total(point.covered_s for point in group),
        interval_s=total(point.interval_s for point in group),
        loss=last(point.loss for point in group),
        accuracy=last(point.accuracy for point in group),
        epoch=last(point.epoch for point in group),
        step=last(point.step for point in group),
        measurement=kinds.pop() if len(kinds) == 1 else ("mixed" if kinds else None),
    )


def last(values: Iterable[T | None]) -> T | None:
    """The last one that is known."""
    found: T | None = None
    for value in values:
        found = value if value is not None else found
    return found
