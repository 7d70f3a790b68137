"""One run over time: from its events where they are few, else from its windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.store import windows
from dashboard.store.fields import date, from_document, number, text
from dashboard.store.intervals import merged
from dashboard.store.reader import Reader, ReadTooSlow
from dashboard.store.rows import Run, RunPoint, RunSeries, Window
from dashboard.store.sums import ENERGY_FIELDS, accumulators, totals
from schemas.documents import TRAINING_METRICS
from schemas.identity import identity_ranges

MAX_EVENTS = 5000
BUDGET_S = 2.0
PROGRESS_BUDGET_S = 15.0
SUMMED = ("energy_kwh", "interval_s")
FIELDS = (
    *ENERGY_FIELDS,
    "timestamp",
    "interval_s",
    "loss",
    "accuracy",
    "epoch",
    "step",
    "measurement",
    "producer_id",
    "rank",
)


def read_points(reader: Reader, run: Run, window_s: int, max_points: int) -> RunSeries:
    """A run's intervals, at most about `max_points`, in order of time."""
    if (run.n_events or 0) > MAX_EVENTS:
        reason = f"it has {run.n_events:,} events, more than the {MAX_EVENTS:,} that are drawn one by one"
        return _from_windows(reader, run, window_s, max_points, reason)
    try:
        events = _events(reader, run.run_id)
    except ReadTooSlow:
        reason = f"reading its events took longer than {BUDGET_S:g} s"
        return _from_windows(reader, run, window_s, max_points, reason)
    points = sorted(filter(None, (to_point(event) for event in events)), key=lambda point: point.at)
    return RunSeries(points=merged(points, max_points), origin="events")


def of_run(run_id: str) -> list[dict[str, Any]]:
    """Queries for all events of a run: two ranges of identities, and those whose identity does not name it."""
    return [*({"_id": {"$gte": a, "$lt": b}} for a, b in identity_ranges(run_id)), {"run_ref": run_id}]


def _events(reader: Reader, run_id: str) -> list[dict[str, Any]]:
    queries = of_run(run_id)
    return [
        event
        for query in queries
        for event in reader.find(TRAINING_METRICS, query, FIELDS, budget_s=BUDGET_S)
    ]


def read_progress(reader: Reader, run: Run, axis: str, max_points: int) -> tuple[RunPoint, ...]:
    """A run by `step` or `epoch`, joined in the server to at most `max_points` values of it per producer.

    For runs of many events. Raises ReadTooSlow after `PROGRESS_BUDGET_S`.
    """
    top = max(getattr(run, axis) or 0.0, 1.0)
    width: float = max(top / max_points, 1e-9) if axis == "epoch" else -(-int(top) // max_points)
    group = accumulators(SUMMED) | {
        "_id": {
            "bucket": {"$floor": {"$divide": [f"${axis}", width]}},
            "producer": {"$ifNull": ["$producer_id", "$rank"]},
        },
        "at": {"$max": "$timestamp"},
        axis: {"$max": f"${axis}"},
        "loss": {"$avg": "$loss"},
        "accuracy": {"$avg": "$accuracy"},
        "measurement": {"$min": "$measurement"},
    }
    points = []
    for query in of_run(run.run_id):
        pipeline = [{"$match": query}, {"$group": group}]
        for row in reader.aggregate(TRAINING_METRICS, pipeline, PROGRESS_BUDGET_S):
            at, sums = date(row.get("at")), totals(row, SUMMED)
            if at is not None:
                known = {name: row.get(name) for name in (axis, "loss", "accuracy", "measurement")}
                known |= {"energy_kwh": sums.get("energy_kwh"), "covered_s": sums.get("interval_s")}
                points.append(from_document(RunPoint, known, at=at, producer=str(row["_id"].get("producer"))))
    return tuple(sorted(points, key=lambda point: point.at))


def to_point(event: Mapping[str, Any]) -> RunPoint | None:
    """An event as the interval that ends at its timestamp; None without a timestamp."""
    at = date(event.get("timestamp"))
    if at is None:
        return None
    producer = text(event.get("producer_id")) or f"rank {event.get('rank', 0)}"
    covered = number(event.get("interval_s")) if number(event.get("energy_kwh")) is not None else None
    return from_document(RunPoint, event, at=at, producer=producer, covered_s=covered)


def _from_windows(reader: Reader, run: Run, window_s: int, max_points: int, reason: str) -> RunSeries:
    key = [run.run_id]
    span = windows.read_span(reader, "run", key)
    if span is None:
        return RunSeries(points=(), origin="windows", reason=reason)
    length_s = (span[1] - span[0]).total_seconds() + window_s
    if length_s / window_s <= max_points:
        found = windows.read_windows(reader, "run", key, None, None, window_s)
    else:
        width = windows.width_for(length_s, window_s, max_points)
        found = windows.read_joined(reader, "run", key, None, None, width)
    points = tuple(window_point(window) for window in found)
    return RunSeries(points=points, origin="windows", reason=reason)


def window_point(window: Window) -> RunPoint:
    """A window as an interval; its `covered_s` is wall time also of a run of many ranks."""
    return RunPoint(
        energy_kwh=window.energy_kwh,
        cpu_energy_kwh=window.cpu_energy_kwh,
        gpu_energy_kwh=window.gpu_energy_kwh,
        ram_energy_kwh=window.ram_energy_kwh,
        emissions_kg=window.emissions_kg,
        covered_s=window.covered_s,
        at=window.end,
        interval_s=(window.end - window.start).total_seconds(),
        loss=window.loss,
        accuracy=window.accuracy,
        measurement=window.measurement,
    )
