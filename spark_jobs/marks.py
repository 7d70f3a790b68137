"""When each epoch (or step) of a run was first seen: few enough to keep, whatever the order of the events.

A lattice like the other facets: the earliest time of each number stands. Of many numbers one per bucket is
kept, the smallest; the buckets' width follows from the largest number alone and doubles, so every bucket
lies in one of the next width, and thinning a part before or after the join gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

# Number done -> first seen (ms since the epoch).
Marks: TypeAlias = dict[int, int]

KEPT = 32
# The first epochs are told apart however long the run is: warm-up is there.
ALWAYS = 4
# A task thins when it has gathered so many.
GATHERED = 256
LARGEST = 1e12


def note(marks: Marks, value: float, at_ms: int) -> Marks:
    """Take a number in; what is below zero or absurd is no progress. Returns the marks, thinned at times."""
    if not 0 <= value <= LARGEST:
        return marks
    number = int(value)
    held = marks.get(number)
    if held is None or at_ms < held:
        marks[number] = at_ms
        if len(marks) > GATHERED:
            return thinned(marks)
    return marks


def thinned(marks: Mapping[int, int]) -> Marks:
    """At most about `KEPT + ALWAYS` of them: the first few, the last, and the first of each bucket."""
    if not marks:
        return {}
    top = max(marks)
    width = 1 << (top // KEPT).bit_length()
    kept: Marks = {}
    bucket = -1
    for number in sorted(marks):
        if number // width != bucket or number <= ALWAYS or number == top:
            kept[number] = marks[number]
        bucket = number // width
    return kept


def to_lists(marks: Mapping[int, int]) -> list[list[int]]:
    """As they are stored and travel, ascending."""
    return [[number, at_ms] for number, at_ms in sorted(thinned(marks).items())]


def from_lists(stored: Any) -> Marks:
    """Read back what `to_lists` wrote."""
    return dict(stored or ())


def join(one: Any, other: Any) -> list[list[int]]:
    """The join of two stored lists."""
    joined = from_lists(one)
    for number, at_ms in other or ():
        held = joined.get(number)
        joined[number] = at_ms if held is None else min(held, at_ms)
    return to_lists(joined)
