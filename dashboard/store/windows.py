"""Event-time windows of a dimension, joined to wider ones where there would be too many."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from dashboard.store.fields import date, from_document, text
from dashboard.store.reader import Reader
from dashboard.store.rows import Group, Window
from dashboard.store.sums import ENERGY_FIELDS, accumulators, bucket_of, totals
from schemas.documents import WINDOWS
from schemas.units import w_from_kwh

WIDTHS_S = (60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
# A round width may be this much wider than needed.
ROUNDER = 6
FIELDS = (
    *ENERGY_FIELDS,
    "key",
    "window_start",
    "window_end",
    "n_events",
    "mean_power_w",
    "loss",
    "accuracy",
    "measurement",
)


def matches(
    dimension: str, keys: Sequence[str | None] | None, since: datetime | None, until: datetime | None
) -> list[list[dict[str, Any]]]:
    """The windows that start in [since, until): for each part of them the `$match` stages that keep it.

    The embedded document server uses an index only where the first stage has equal values and then one range, or
    a list of values and no range.
    """
    of: dict[str, Any] = {"dimension": dimension}
    within: dict[str, Any] = {}
    if since or until:
        within["window_start"] = ({"$gte": since} if since else {}) | ({"$lt": until} if until else {})
    if dimension == "all" and keys is None:
        keys = ["all"]
    if keys is None:
        return [[{"$match": of}, {"$match": within}]] if within else [[{"$match": of}]]
    if within or len(keys) == 1:
        return [[{"$match": {**of, "key": key, **within}}] for key in dict.fromkeys(keys)]
    return [[{"$match": {**of, "key": {"$in": list(keys)}}}]]


def to_window(document: Mapping[str, Any], dimension: str, window_s: int) -> Window | None:
    """A window from its document; None if it has no start."""
    start = date(document.get("window_start"))
    if start is None:
        return None
    end = date(document.get("window_end")) or start + timedelta(seconds=window_s)
    return from_document(Window, document, dimension=dimension, start=start, end=end)


def read_windows(
    reader: Reader,
    dimension: str,
    keys: Sequence[str | None] | None,
    since: datetime | None,
    until: datetime | None,
    window_s: int,
) -> tuple[Window, ...]:
    """Windows as they are stored, oldest first."""
    fields = {"$project": dict.fromkeys(FIELDS, 1)}
    found = (
        document
        for stages in matches(dimension, keys, since, until)
        for document in reader.aggregate(WINDOWS, [*stages, fields])
    )
    windows = (to_window(document, dimension, window_s) for document in found)
    known = (window for window in windows if window is not None)
    return tuple(sorted(known, key=lambda window: window.start))


def width_for(span_s: float, window_s: int, at_most: int) -> int:
    """A width (s), a multiple of the window, that gives at most `at_most` windows: a round one if near."""
    exact = max(1, -(-int(span_s) // (at_most * window_s))) * window_s
    round_ones = [width for width in WIDTHS_S if width >= exact and width % window_s == 0]
    return round_ones[0] if round_ones and round_ones[0] <= ROUNDER * exact else exact


def read_joined(
    reader: Reader,
    dimension: str,
    keys: Sequence[str | None] | None,
    since: datetime | None,
    until: datetime | None,
    width_s: int,
    budget_s: float | None = None,
) -> tuple[Window, ...]:
    """Windows joined to `width_s` in the server, oldest first. Losses are not joined."""
    group = accumulators() | {
        "_id": {"key": "$key", "start": bucket_of("window_start", width_s)},
        "n_events": {"$sum": "$n_events"},
        "kinds": {"$addToSet": "$measurement"},
    }
    windows = []
    for row in _grouped(reader, matches(dimension, keys, since, until), group, budget_s):
        start = datetime.fromtimestamp(row["_id"]["start"] / 1000, timezone.utc)
        sums = totals(row)
        covered, energy = sums.get("covered_s"), sums.get("energy_kwh")
        power = w_from_kwh(energy, covered) if covered and energy is not None else None
        windows.append(
            from_document(
                Window,
                sums,
                dimension=dimension,
                key=text(row["_id"].get("key")),
                start=start,
                end=start + timedelta(seconds=width_s),
                n_events=int(row["n_events"]),
                mean_power_w=power,
                measurement=one_kind(row["kinds"]),
            )
        )
    return tuple(sorted(windows, key=lambda window: (window.start, window.key or "")))


def _grouped(
    reader: Reader,
    parts: Sequence[Sequence[dict[str, Any]]],
    group: dict[str, Any],
    budget_s: float | None = None,
) -> Iterator[dict[str, Any]]:
    """The groups of each part. Raises ReadTooSlow once all of them together have taken longer than `budget_s`."""
    began_s = time.monotonic()
    for stages in parts:
        left_s = None if budget_s is None else began_s + budget_s - time.monotonic()
        yield from reader.aggregate(WINDOWS, [*stages, {"$group": group}], left_s)


def one_kind(kinds: Sequence[str]) -> str | None:
    """Measurement of some windows together: theirs if they agree, else mixed."""
    return text(kinds[0]) if len(kinds) == 1 else ("mixed" if kinds else None)


def read_span(
    reader: Reader,
    dimension: str,
    keys: Sequence[str | None] | None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[datetime, datetime] | None:
    """From the start of the first window of a range to the start of its last one."""
    group = {"_id": None, "first": {"$min": "$window_start"}, "last": {"$max": "$window_start"}}
    rows = list(_grouped(reader, matches(dimension, keys, since, until), group))
    starts = [start for row in rows if (start := date(row.get("first")))]
    ends = [end for row in rows if (end := date(row.get("last")))]
    return (min(starts), max(ends)) if starts and ends else None


def read_groups(
    reader: Reader,
    dimension: str,
    since: datetime | None,
    until: datetime | None,
    keys: Sequence[str | None] | None = None,
    budget_s: float | None = None,
) -> tuple[Group, ...]:
    """Energy by key over the windows of a range; largest first."""
    group = accumulators() | {"_id": "$key"}
    found = _grouped(reader, matches(dimension, keys, since, until), group, budget_s)
    groups = [from_document(Group, totals(row), key=text(row["_id"])) for row in found]
    return tuple(sorted(groups, key=lambda group: -(group.energy_kwh or 0.0)))


def read_power(reader: Reader, run_ids: Sequence[str], since: datetime) -> float | None:
    """Power (W) of some runs: the sum of each one's newest window since `since`; None if not known."""
    newest: dict[str, tuple[datetime, float]] = {}
    for run_id in run_ids:
        query = {"dimension": "run", "key": run_id, "window_start": {"$gte": since}}
        for row in reader.find(WINDOWS, query, ["key", "window_start", "mean_power_w"]):
            start, key, power = date(row.get("window_start")), row.get("key"), row.get("mean_power_w")
            if start is None or key is None or power is None:
                continue
            if key not in newest or newest[key][0] < start:
                newest[key] = (start, float(power))
    return sum(power for _, power in newest.values()) if newest else None
