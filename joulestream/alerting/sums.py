"""Sums over stored windows that stay exact and cost little: windows that are settled are added up once.

A window whose end is not after the watermark of its query changes only by late events, which are counted in
`stream_accounts`, and by repairs. So the settled part of a sum is kept, and read again when that count has
changed, and now and then for the repairs; all else is read every time. Such reads take at most 1 / `SPARE` of
the time, all sums together, however slow the store is.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum
from typing import Any

from schemas import documents
from schemas.times import from_ms
from spark_jobs.store import Db, Doc

REPAIRS_SEEN_AFTER_S = 60.0
SPARE = 20.0
UNUSED_AFTER_S = 3600.0
FIELDS = {"_id": 0, "window_start": 1, "window_end": 1, "energy_kwh": 1, "emissions_kg": 1}


@dataclass(frozen=True, slots=True)
class Sums:
    """Energy and emissions of some windows; None is not known, never zero. `partial`: of some the CO2e is missing."""

    energy_kwh: float | None = None
    emissions_kg: float | None = None
    partial: bool = False
    first_at: datetime | None = None
    last_at: datetime | None = None

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            _plus(self.energy_kwh, other.energy_kwh),
            _plus(self.emissions_kg, other.emissions_kg),
            self.partial or other.partial,
            min((t for t in (self.first_at, other.first_at) if t is not None), default=None),
            max((t for t in (self.last_at, other.last_at) if t is not None), default=None),
        )


def _plus(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


class Adder:
    """Adds up windows that have an energy, one after the other, and rounds once."""

    def __init__(self) -> None:
        self._energies, self._emissions = array("d"), array("d")
        self._first: datetime | None = None
        self._last: datetime | None = None

    def add(self, window: Mapping[str, Any]) -> None:
        """Add a window; one without energy is not known and adds nothing."""
        if window.get("energy_kwh") is None:
            return
        self._energies.append(window["energy_kwh"])
        if window.get("emissions_kg") is not None:
            self._emissions.append(window["emissions_kg"])
        start, end = window["window_start"], window["window_end"]
        self._first = start if self._first is None else min(self._first, start)
        self._last = end if self._last is None else max(self._last, end)

    def sums(self) -> Sums:
        """What was added."""
        return Sums(
            fsum(self._energies) if self._energies else None,
            fsum(self._emissions) if self._emissions else None,
            len(self._emissions) < len(self._energies),
            self._first,
            self._last,
        )


@dataclass(frozen=True, slots=True)
class Settled:
    """How far a query is settled: its watermark, and how many of its events have been late."""

    watermark: datetime | None
    late: int


def settled(db: Db, query: str) -> Settled:
    """Read before the windows, so that what comes meanwhile is read the next time."""
    marks = [doc.get("watermark_ms") for doc in db[documents.GENERATIONS].find({"query": query})]
    known = [mark for mark in marks if mark is not None]
    late = sum(int(doc.get("late", 0)) for doc in db[documents.ACCOUNTS].find({"query": query}, {"late": 1}))
    return Settled(from_ms(max(0, max(known))) if known else None, late)


@dataclass(slots=True)
class _Kept:
    """The settled part of one sum. Times with `_s` are monotonic seconds."""

    sums: Sums = field(default_factory=Sums)
    through: datetime | None = None
    late: int = -1
    read_s: float = float("-inf")
    took_s: float = 0.0
    used_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Range:
    """The windows of a collection that match and begin in [start, end)."""

    collection: str
    match: tuple[tuple[str, str], ...]
    start: datetime | None
    end: datetime | None

    def query(self, start: datetime | None) -> Doc:
        """Of these, the windows that begin at or after a time."""
        limits = {"$gte": start, "$lt": self.end}
        known = {name: limit for name, limit in limits.items() if limit is not None}
        return {**dict(self.match), **({"window_start": known} if known else {})}


class WindowSums:
    """Sums over windows of `aggregated_metrics` and `node_aggregates`; `look` begins a round."""

    def __init__(self, db: Db, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._kept: dict[Range, _Kept] = {}
        self._seen: dict[Range, Sums] = {}

    def look(self) -> None:
        """From here on windows are read anew, once each; what no budget has asked for in an hour is dropped."""
        limit = self._clock() - UNUSED_AFTER_S
        self._kept = {windows: kept for windows, kept in self._kept.items() if kept.used_s >= limit}
        self._seen = {}

    def of(self, windows: Range, state: Settled) -> Sums:
        """Their sum. Raises PyMongoError."""
        if windows not in self._seen:
            self._seen[windows] = self._sum(windows, self._kept.setdefault(windows, _Kept()), state)
        return self._seen[windows]

    def _sum(self, windows: Range, kept: _Kept, state: Settled) -> Sums:
        kept.used_s = self._clock()
        if self._must_read_all(kept, state):
            kept.sums, kept.through = Sums(), windows.start
            kept.late, kept.read_s = state.late, kept.used_s
        done, still_open = Adder(), Adder()
        through = kept.through
        for window in self._db[windows.collection].find(windows.query(kept.through), FIELDS):
            if state.watermark is not None and window["window_end"] <= state.watermark:
                done.add(window)
                through = window["window_end"] if through is None else max(through, window["window_end"])
            else:
                still_open.add(window)
        # Only now: a read that the store broke off must not count by half.
        kept.sums, kept.through = kept.sums + done.sums(), through
        if kept.read_s == kept.used_s:
            kept.took_s = self._clock() - kept.read_s
        return kept.sums + still_open.sums()

    def _must_read_all(self, kept: _Kept, state: Settled) -> bool:
        waited_s = self._clock() - kept.read_s
        wanted = kept.late != state.late or waited_s > REPAIRS_SEEN_AFTER_S
        return wanted and waited_s >= SPARE * kept.took_s * len(self._kept)
