"""The past of each series, from the windows that the stream has written: what a training learns from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from schemas import documents
from schemas.times import to_ms
from spark_jobs.forecast.series import Observation
from spark_jobs.store import Db

# About 150 bytes each: a training never holds more than some 60 MB of windows, however many series there are.
MOST_OBSERVATIONS = 400_000
_NODE_FIELDS = ("gpu_utilization_pct", "cpu_utilization_pct", "memory_used_mib", "attributed")
_READ = ("window_start", "mean_power_w", "energy_kwh", "emissions_kg", *_NODE_FIELDS)
_FIELDS = {"_id": 0, **dict.fromkeys(_READ, 1)}


def observation_of_window(doc: Mapping[str, Any]) -> Observation | None:
    """A window of `aggregated_metrics` as an observation (W); None where its power is not known."""
    power_w = _number(doc.get("mean_power_w"))
    if power_w is None:
        return None
    energy, emissions = _number(doc.get("energy_kwh")), _number(doc.get("emissions_kg"))
    return Observation(to_ms(doc["window_start"]), power_w, energy_kwh=energy, emissions_kg=emissions)


def observation_of_node_window(doc: Mapping[str, Any]) -> Observation | None:
    """A window of `node_aggregates` as an observation; None where its power is not known."""
    power_w = _number(doc.get("mean_power_w"))
    if power_w is None:
        return None
    return Observation(
        to_ms(doc["window_start"]),
        power_w,
        _number(doc.get("gpu_utilization_pct")),
        _number(doc.get("cpu_utilization_pct")),
        _number(doc.get("memory_used_mib")),
        _main_run(doc.get("attributed") or ()),
        _number(doc.get("energy_kwh")),
    )


def target_of(dimension: str, key: str | None) -> str:
    """The name of a series in forecasts: `node/{id}`, `run/{id}`, `user/{id}`, `all/`."""
    return "all/" if dimension == "all" else f"{dimension}/{key or ''}"


@dataclass(frozen=True, slots=True)
class _Series:
    dimension: str
    key: str
    newest: datetime


def read_history(
    db: Db,
    dimensions: Sequence[str],
    since: datetime,
    until: datetime,
    most: int = MOST_OBSERVATIONS,
) -> dict[str, tuple[Observation, ...]]:
    """Closed windows that start in [since, until), in order of time, by target.

    A window is closed once a later one of its series is there. Series with the newest windows go first, and
    of each its newest windows, until `most` have been read. Raises PyMongoError.
    """
    found: dict[str, tuple[Observation, ...]] = {}
    left = most
    listed = [one for dimension in dimensions for one in _listed(db, dimension, since, until)]
    for one in sorted(listed, key=lambda series: series.newest, reverse=True):
        if left <= 0:
            break
        observations = tuple(_observations(db, one, since, left))[::-1]
        left -= len(observations)
        if observations:
            found[target_of(one.dimension, one.key)] = observations
    return found


def days_before(until: datetime, days: float) -> datetime:
    """Where a look back of so many days begins."""
    return until - timedelta(days=days)


def _listed(db: Db, dimension: str, since: datetime, until: datetime) -> Iterator[_Series]:
    node = dimension == "node"
    within: dict[str, Any] = {"window_start": {"$gte": since, "$lt": until}}
    of: dict[str, Any] = (
        {"dimension": dimension, "key": "all"} if dimension == "all" else {"dimension": dimension}
    )
    # In two stages: the embedded server uses an index only where it has every field of the first one.
    matches = [{"$match": within}] if node else [{"$match": of}, {"$match": within}]
    pipeline = [
        *matches,
        {
            "$group": {
                "_id": "$node_id" if node else "$key",
                "newest": {"$max": "$window_start"},
            }
        },
    ]
    for row in db[_collection(dimension)].aggregate(pipeline):
        if row["_id"] is not None:  # events that name no user are nobody's series
            yield _Series(dimension, row["_id"], row["newest"])


def _observations(db: Db, series: _Series, since: datetime, most: int) -> Iterator[Observation]:
    """The windows of a series, newest first, without the very newest, which may still grow."""
    node = series.dimension == "node"
    match = {"node_id": series.key} if node else {"dimension": series.dimension, "key": series.key}
    within = {"window_start": {"$gte": since, "$lt": series.newest}}
    read = observation_of_node_window if node else observation_of_window
    cursor = db[_collection(series.dimension)].find({**match, **within}, _FIELDS).sort("window_start", -1)
    for doc in cursor.limit(most):
        observation = read(doc)
        if observation is not None:
            yield observation


def _collection(dimension: str) -> str:
    return documents.NODE_WINDOWS if dimension == "node" else documents.WINDOWS


def _main_run(attributed: Sequence[Mapping[str, Any]]) -> str | None:
    """The run with most of the window's energy; of equals the first by name, so that it is always the same."""
    used = [(entry["energy_kwh"], entry["run_id"]) for entry in attributed if entry["energy_kwh"] > 0]
    return min(used, key=lambda entry: (-entry[0], entry[1]))[1] if used else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and isfinite(value) else None
