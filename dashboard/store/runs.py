"""Runs: the list with its filters, one run, and sums over runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dashboard.store.fields import date, from_document, number, text
from dashboard.store.reader import Reader, chunks
from dashboard.store.rows import Energy, Group, Run, RunFilter, RunList, SourceShare
from dashboard.store.sums import accumulators, totals
from schemas.documents import RUN_SUMMARY

FIELD_OF = {"user": "user_id", "model": "model_name", "region": "region_iso", "project": "project"}
CHOICES = ("user_id", "model_name", "dataset_name", "region_iso", "project")
SEARCHED = ("_id", "user_id", "project", "model_name", "dataset_name")
NEWEST_FIRST = (("last_event_at", -1), ("_id", 1))
# The parts of which the stream makes the totals; large, and of no use here.
INTERNAL = ("parts", "facets")


@dataclass(frozen=True)
class RunSums:
    """All runs together."""

    total: Energy
    n_runs: int
    n_running: int
    n_active: int
    newest_event_at: datetime | None


def status_of(stored: str | None, last_event_at: datetime | None, silent_since: datetime) -> str:
    """`stale` is a running run without an event since `silent_since`."""
    if stored == "running" and (last_event_at is None or last_event_at < silent_since):
        return "stale"
    return stored or "unknown"


def to_run(document: Mapping[str, Any], silent_since: datetime) -> Run:
    """A run from its summary document."""
    reported = document.get("reported_totals")
    reported = reported if isinstance(reported, Mapping) else {}
    return from_document(
        Run,
        document,
        run_id=text(document.get("run_id")) or str(document["_id"]),
        status=status_of(text(document.get("status")), date(document.get("last_event_at")), silent_since),
        reported_energy_kwh=number(reported.get("energy_kwh")),
        reported_emissions_kg=number(reported.get("emissions_kg")),
    )


def query_of(wanted: RunFilter, silent_since: datetime) -> dict[str, Any]:
    """The filter as a query; what a person typed is matched as text, never as a pattern."""
    every: list[dict[str, Any]] = []
    for name, values in (
        ("user_id", wanted.users),
        ("model_name", wanted.models),
        ("dataset_name", wanted.datasets),
        ("region_iso", wanted.regions),
        ("project", wanted.projects),
    ):
        if values:
            every.append({name: {"$in": list(values)}})
    if wanted.statuses:
        every.append({"$or": [_status_query(status, silent_since) for status in wanted.statuses]})
    if wanted.active_from:
        every.append({"last_event_at": {"$gte": wanted.active_from}})
    if wanted.active_to:
        every.append({"started_at": {"$lt": wanted.active_to}})
    if wanted.text.strip():
        pattern = {"$regex": re.escape(wanted.text.strip()), "$options": "i"}
        every.append({"$or": [{name: pattern} for name in SEARCHED]})
    return {"$and": every} if every else {}


def _status_query(status: str, silent_since: datetime) -> dict[str, Any]:
    if status == "running":
        return {"status": "running", "last_event_at": {"$gte": silent_since}}
    if status == "stale":
        return {
            "status": "running",
            "$or": [{"last_event_at": {"$lt": silent_since}}, {"last_event_at": None}],
        }
    return {"status": None} if status == "unknown" else {"status": status}


def read_runs(reader: Reader, wanted: RunFilter, silent_since: datetime, limit: int) -> RunList:
    """The newest `limit` runs that match."""
    query = query_of(wanted, silent_since)
    names = [*Run.__dataclass_fields__, "reported_totals"]
    found = reader.find(RUN_SUMMARY, query, names, NEWEST_FIRST, limit)
    matching = len(found) if len(found) < limit else reader.count(RUN_SUMMARY, query)
    return RunList(runs=tuple(to_run(document, silent_since) for document in found), matching=matching)


def read_some(reader: Reader, run_ids: Sequence[str], silent_since: datetime) -> tuple[Run, ...]:
    """Runs by id, in the order asked for; ids that are not there are left out."""
    found: dict[str, Run] = {}
    names = [*Run.__dataclass_fields__, "reported_totals"]
    for some in chunks(run_ids):
        for document in reader.find(RUN_SUMMARY, {"_id": {"$in": list(some)}}, names):
            found[str(document["_id"])] = to_run(document, silent_since)
    return tuple(found[run_id] for run_id in dict.fromkeys(run_ids) if run_id in found)


def read_choices(reader: Reader) -> dict[str, tuple[str, ...]]:
    """The values that the runs have, by field, for the filters."""
    return {
        name: tuple(sorted(value for value in reader.distinct(RUN_SUMMARY, name) if text(value)))
        for name in CHOICES
    }


def read_sums(reader: Reader, silent_since: datetime) -> RunSums:
    """All runs together, in one pass of the server."""
    running = {"$eq": ["$status", "running"]}
    active = {"$and": [running, {"$gte": ["$last_event_at", silent_since]}]}
    group = accumulators() | {
        "_id": None,
        "n_runs": {"$sum": 1},
        "n_running": {"$sum": {"$cond": [running, 1, 0]}},
        "n_active": {"$sum": {"$cond": [active, 1, 0]}},
        "newest": {"$max": "$last_event_at"},
    }
    found = reader.aggregate(RUN_SUMMARY, [{"$group": group}])
    if not found:
        return RunSums(Energy(), 0, 0, 0, None)
    row = found[0]
    total = from_document(Energy, totals(row))
    return RunSums(total, row["n_runs"], row["n_running"], row["n_active"], date(row.get("newest")))


def read_groups(reader: Reader, dimension: str) -> tuple[Group, ...]:
    """All runs, summed by user, model, region or project; largest energy first."""
    group = accumulators() | {"_id": f"${FIELD_OF[dimension]}", "n_runs": {"$sum": 1}}
    found = reader.aggregate(RUN_SUMMARY, [{"$group": group}])
    groups = [
        from_document(Group, totals(row), key=text(row["_id"]), n_runs=int(row["n_runs"])) for row in found
    ]
    return tuple(sorted(groups, key=lambda group: -(group.energy_kwh or 0.0)))


def read_sources(reader: Reader) -> tuple[SourceShare, ...]:
    """The sources of carbon intensity behind the emissions; the largest first."""
    names = ("emissions_kg",)
    group = accumulators(names) | {"_id": "$carbon_intensity_source", "n_runs": {"$sum": 1}}
    found = reader.aggregate(RUN_SUMMARY, [{"$group": group}])
    shares = [
        SourceShare(
            source=text(row["_id"]),
            emissions_kg=number(totals(row, names).get("emissions_kg")),
            n_runs=int(row["n_runs"]),
        )
        for row in found
    ]
    return tuple(sorted(shares, key=lambda share: -(share.emissions_kg or 0.0)))


def read_measurements(reader: Reader) -> tuple[tuple[str | None, int], ...]:
    """How many runs are measured, estimated or mixed."""
    found = reader.aggregate(RUN_SUMMARY, [{"$group": {"_id": "$measurement", "n": {"$sum": 1}}}])
    return tuple(sorted(((text(row["_id"]), int(row["n"])) for row in found), key=lambda pair: -pair[1]))


def read_active_ids(reader: Reader, silent_since: datetime) -> list[str]:
    """The active runs."""
    query = {"status": "running", "last_event_at": {"$gte": silent_since}}
    return [str(row["_id"]) for row in reader.find(RUN_SUMMARY, query, ["_id"])]


def silent_before(now: datetime, stale_after_s: float) -> datetime:
    """A running run whose newest event is older than this is stale."""
    return now - timedelta(seconds=stale_after_s)
