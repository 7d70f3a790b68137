"""Models and regions as one person may see them: summed from the windows of that person's runs.

The stored windows of a model or a region are of everybody's runs together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from dashboard.store import windows
from dashboard.store.fields import text
from dashboard.store.intervals import total
from dashboard.store.reader import Reader, chunks
from dashboard.store.rows import Energy, Group, Window
from dashboard.store.runs import FIELD_OF
from schemas.documents import RUN_SUMMARY

LABELS = ("model", "region")
ENERGIES = tuple(item.name for item in fields(Energy))
Keys = Sequence[str | None] | None


def read_labels(reader: Reader, label: str, keys: Keys, since: datetime | None) -> dict[str, str | None]:
    """Model or region of each run that may have windows since a time."""
    query = {"last_event_at": {"$gte": since}} if since else {}
    found = reader.find(RUN_SUMMARY, query, [FIELD_OF[label]])
    of_run = {str(document["_id"]): text(document.get(FIELD_OF[label])) for document in found}
    return {run_id: key for run_id, key in of_run.items() if keys is None or key in keys}


def read_windows(
    reader: Reader,
    label: str,
    keys: Keys,
    since: datetime | None,
    until: datetime | None,
    window_s: int,
    at_most: int,
) -> tuple[Window, ...]:
    """Windows by model or region, oldest first, at most about `at_most` a key; power and loss are not joined."""
    of_run = read_labels(reader, label, keys, since)
    run_ids = list(of_run)
    spans = [windows.read_span(reader, "run", some, since, until) for some in chunks(run_ids)]
    known = [span for span in spans if span is not None]
    if not known:
        return ()
    length_s = (max(end for _, end in known) - min(start for start, _ in known)).total_seconds() + window_s
    width = windows.width_for(length_s, window_s, at_most)
    together: dict[tuple[datetime, str | None], list[Window]] = defaultdict(list)
    for some in chunks(run_ids):
        for window in windows.read_joined(reader, "run", some, since, until, width):
            together[window.start, of_run.get(window.key or "")].append(window)
    joined = (_joined(label, key, found) for (_, key), found in together.items())
    return tuple(sorted(joined, key=lambda window: (window.start, window.key or "")))


def read_groups(
    reader: Reader, label: str, since: datetime | None, until: datetime | None
) -> tuple[Group, ...]:
    """Energy by model or region over the windows of a range; largest first."""
    of_run = read_labels(reader, label, None, since)
    together: dict[str | None, list[Group]] = defaultdict(list)
    for some in chunks(list(of_run)):
        for group in windows.read_groups(reader, "run", since, until, some):
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
