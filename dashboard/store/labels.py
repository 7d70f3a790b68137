"""Models and regions as one person may see them: summed from the windows of that person's runs.

The stored windows of a model or a region are of everybody's runs together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from dashboard.store import windows
from dashboard.store.fields import date, text
from dashboard.store.intervals import total
from dashboard.store.reader import Reader, chunks
from dashboard.store.rows import Energy, Group, Window
from dashboard.store.runs import FIELD_OF
from schemas.documents import RUN_SUMMARY

LABELS = ("model", "region")
# For each part of a person's runs; the embedded document server takes long to find hundreds of runs at once.
BUDGET_S = 8.0
ENERGIES = tuple(item.name for item in fields(Energy))
Keys = Sequence[str | None] | None


@dataclass(frozen=True)
class Labels:
    """Model or region of each run, and about how long (s) their windows lie apart."""

    of_run: dict[str, str | None]
    length_s: float


def read_labels(
    reader: Reader, label: str, keys: Keys, since: datetime | None, until: datetime | None
) -> Labels:
    """Labels of the runs that may have windows in a range."""
    query = {"last_event_at": {"$gte": since}} if since else {}
    found = reader.find(RUN_SUMMARY, query, [FIELD_OF[label], "started_at", "last_event_at"])
    of_run = {str(document["_id"]): text(document.get(FIELD_OF[label])) for document in found}
    starts = [at for document in found if (at := date(document.get("started_at")))]
    ends = [at for document in found if (at := date(document.get("last_event_at")))]
    start, end = since or min(starts, default=None), until or max(ends, default=None)
    length_s = (end - start).total_seconds() if start and end else 0.0
    return Labels({run: key for run, key in of_run.items() if keys is None or key in keys}, length_s)


def read_windows(
    reader: Reader,
    label: str,
    keys: Keys,
    since: datetime | None,
    until: datetime | None,
    window_s: int,
    at_most: int,
) -> tuple[Window, ...]:
    """Windows by model or region, oldest first, at most about `at_most` a key; power and loss are not joined.

    Raises ReadTooSlow.
    """
    labels = read_labels(reader, label, keys, since, until)
    # One more window at either end: a run's first and last event lie within theirs.
    width = windows.width_for(max(labels.length_s, 0.0) + 2 * window_s, window_s, at_most)
    together: dict[tuple[datetime, str | None], list[Window]] = defaultdict(list)
    for some in chunks(list(labels.of_run)):
        for window in windows.read_joined(reader, "run", some, since, until, width, BUDGET_S):
            together[window.start, labels.of_run.get(window.key or "")].append(window)
    joined = (_joined(label, key, found) for (_, key), found in together.items())
    return tuple(sorted(joined, key=lambda window: (window.start, window.key or "")))


def read_groups(
    reader: Reader, label: str, since: datetime | None, until: datetime | None
) -> tuple[Group, ...]:
    """Energy by model or region over the windows of a range; largest first. Raises ReadTooSlow."""
    of_run = read_labels(reader, label, None, since, until).of_run
    together: dict[str | None, list[Group]] = defaultdict(list)
    for some in chunks(list(of_run)):
        for group in windows.read_groups(reader, "run", since, until, some, BUDGET_S):
            together[of_run.get(group.key or "")].append(group)
    groups = (Group(key=key, **_sums(found)) for key, found in together.items())
    return tuple(sorted(groups, key=lambda group: -(group.energy_kwh or 0.0)))


def _joined(label: str, key: str | None, found: Sequence[Window]) -> Window:
    kinds = sorted({window.measurement for window in found if window.measurement})
    return Window(
        dimension=label,
        key=key,
        start=found[0].start,
        end=found[0].end,
        n_events=sum(window.n_events or 0 for window in found),
        measurement=windows.one_kind(kinds),
        **_sums(found),
    )


def _sums(found: Sequence[Energy]) -> dict[str, Any]:
    return {name: total(getattr(item, name) for item in found) for name in ENERGIES}
