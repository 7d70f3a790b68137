"""Event-time windows of a dimension, joined to wider ones where there would be too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from dashboard.store.fields import date, from_document, text
from dashboard.store.reader import Reader, chunks
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


def match(
    dimension: str, keys: Sequence[str | None] | None, since: datetime | None, until: datetime | None
) -> dict[str, Any]:
    """Query for the windows that start in [since, until)."""
    query: dict[str, Any] = {"dimension": dimension}
    if keys is not None:
        query["key"] = keys[0] if len(keys) == 1 else {"$in": list(keys)}
    if since or until:
        query["window_start"] = ({"$gte": since} if since else {}) | ({"$lt": until} if until else {})
    return query


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
    limit: int = 0,
) -> tuple[Window, ...]:
    """Windows as they are stored, oldest first."""
    query = match(dimension, keys, since, until)
    found = reader.find(WINDOWS, query, FIELDS, (("window_start", 1),), limit)
    windows = (to_window(document, dimension, window_s) for document in found)
    return tuple(window for window in windows if window is not None)


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
    pipeline = [{"$match": match(dimension, keys, since, until)}, {"$group": group}]
    windows = []
    for row in reader.aggregate(WINDOWS, pipeline, budget_s):
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
    query = match(dimension, keys, since, until)
    first = reader.find(WINDOWS, query, ["window_start"], (("window_start", 1),), 1)
    last = reader.find(WINDOWS, query, ["window_start"], (("window_start", -1),), 1)
    if not first or not last:
        return None
    start, end = date(first[0].get("window_start")), date(last[0].get("window_start"))
    return None if start is None or end is None else (start, end)


def read_groups(
    reader: Reader,
    dimension: str,
    since: datetime | None,
    until: datetime | None,
    keys: Sequence[str | None] | None = None,
    budget_s: float | None = None,
) -> tuple[Group, ...]:
    """Energy by key over the windows of a range; largest first."""
    pipeline = [
        {"$match": match(dimension, keys, since, until)},
        {"$group": accumulators() | {"_id": "$key"}},
    ]
    found = reader.aggregate(WINDOWS, pipeline, budget_s)
    groups = [from_document(Group, totals(row), key=text(row["_id"])) for row in found]
    return tuple(sorted(groups, key=lambda group: -(group.energy_kwh or 0.0)))


def read_power(reader: Reader, run_ids: Sequence[str], since: datetime) -> float | None:
    """Power (W) of some runs: the sum of each one's newest window since `since`; None if not known."""
    newest: dict[str, tuple[datetime, float]] = {}
    for some in chunks(run_ids):
        query = match("run", list(some), since, None)
        for row in reader.find(WINDOWS, query, ["key", "window_start", "mean_power_w"]):
            start, key, power = date(row.get("window_start")), row.get("key"), row.get("mean_power_w")
            if start is None or key is None or power is None:
                continue
            if key not in newest or newest[key][0] < start:
                newest[key] = (start, float(power))
    return sum(power for _, power in newest.values()) if newest else None
