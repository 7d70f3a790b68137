"""Nodes: energy per window, split in attributed, idle and unattributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from dashboard.store.fields import date, from_document, number, text
from dashboard.store.reader import Reader
from dashboard.store.rows import NodeTotal, NodeWindow, PodShare, Share
from dashboard.store.sums import accumulators, bucket_of, totals
from schemas.documents import NODE_WINDOWS
from schemas.units import w_from_kwh

ENERGIES = (
    "energy_kwh",
    "cpu_energy_kwh",
    "dram_energy_kwh",
    "gpu_energy_kwh",
    "platform_energy_kwh",
    "other_energy_kwh",
    "attributed_kwh",
    "idle_kwh",
    "unattributed_kwh",
    "covered_s",
)
SPLIT = ("energy_kwh", "attributed_kwh", "idle_kwh", "unattributed_kwh")


def shares(value: Any) -> tuple[Share, ...]:
    """The stored list of {run_id, energy_kwh}."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return ()
    rows = (row for row in value if isinstance(row, Mapping) and text(row.get("run_id")))
    return tuple(Share(run_id=str(row["run_id"]), energy_kwh=number(row.get("energy_kwh"))) for row in rows)


def to_node_window(document: Mapping[str, Any], window_s: int) -> NodeWindow | None:
    """A node's window from its document; None if it has no start."""
    start = date(document.get("window_start"))
    if start is None:
        return None
    end = date(document.get("window_end")) or start + timedelta(seconds=window_s)
    return from_document(
        NodeWindow, document, start=start, end=end, attributed=shares(document.get("attributed"))
    )


def between(node_id: str | None, since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """Query for a node's windows (or all nodes') that start in [since, until)."""
    query: dict[str, Any] = {} if node_id is None else {"node_id": node_id}
    if since or until:
        query["window_start"] = ({"$gte": since} if since else {}) | ({"$lt": until} if until else {})
    return query


def read_nodes(
    reader: Reader, since: datetime | None, until: datetime | None, window_s: int
) -> tuple[NodeTotal, ...]:
    """Every node ever seen, with its energy over a range and its newest window; by name."""
    group = accumulators(SPLIT) | {"_id": "$node_id"}
    pipeline = [{"$match": between(None, since, until)}, {"$group": group}]
    sums = {str(row["_id"]): totals(row, SPLIT) for row in reader.aggregate(NODE_WINDOWS, pipeline)}
    names = sorted(str(name) for name in reader.distinct(NODE_WINDOWS, "node_id") if text(name))
    return tuple(_node_total(reader, name, sums.get(name, {}), window_s) for name in names)


def _node_total(reader: Reader, node_id: str, sums: Mapping[str, Any], window_s: int) -> NodeTotal:
    newest = reader.newest(NODE_WINDOWS, {"node_id": node_id}, "window_start", 1)
    return NodeTotal(
        node_id=node_id,
        energy_kwh=number(sums.get("energy_kwh")),
        attributed_kwh=number(sums.get("attributed_kwh")),
        idle_kwh=number(sums.get("idle_kwh")),
        unattributed_kwh=number(sums.get("unattributed_kwh")),
        last=to_node_window(newest[0], window_s) if newest else None,
    )


def read_node_windows(
    reader: Reader, node_id: str, since: datetime | None, until: datetime | None, width_s: int
) -> tuple[NodeWindow, ...]:
    """A node's windows joined to `width_s`, oldest first, without the share of each run."""
    group = accumulators(ENERGIES) | {
        "_id": bucket_of("window_start", width_s),
        "n_samples": {"$sum": "$n_samples"},
        "cpu_utilization_pct": {"$avg": "$cpu_utilization_pct"},
        "gpu_utilization_pct": {"$avg": "$gpu_utilization_pct"},
        "memory_used_mib": {"$max": "$memory_used_mib"},
        "measurement": {"$max": "$measurement"},
    }
    pipeline = [{"$match": between(node_id, since, until)}, {"$group": group}]
    windows = []
    for row in reader.aggregate(NODE_WINDOWS, pipeline):
        start = datetime.fromtimestamp(row["_id"] / 1000, timezone.utc)
        sums = totals(row, ENERGIES)
        covered, energy = sums.get("covered_s"), sums.get("energy_kwh")
        power = w_from_kwh(energy, covered) if covered and energy is not None else None
        given = sums | {"node_id": node_id, "start": start, "end": start + timedelta(seconds=width_s)}
        windows.append(from_document(NodeWindow, row, **given, mean_power_w=power))
    return tuple(sorted(windows, key=lambda window: window.start))


def read_node_runs(
    reader: Reader, node_id: str, since: datetime | None, until: datetime | None
) -> tuple[Share, ...]:
    """The runs charged on a node over a range, largest first."""
    group = {"_id": "$attributed.run_id", "energy_kwh": {"$sum": "$attributed.energy_kwh"}}
    pipeline: list[dict[str, Any]] = [
        {"$match": between(node_id, since, until)},
        {"$unwind": "$attributed"},
        {"$group": group},
    ]
    found = reader.aggregate(NODE_WINDOWS, pipeline)
    rows = [
        Share(run_id=str(row["_id"]), energy_kwh=number(row["energy_kwh"]))
        for row in found
        if text(row["_id"])
    ]
    return tuple(sorted(rows, key=lambda share: -(share.energy_kwh or 0.0)))


def read_pods(
    reader: Reader,
    node_id: str | None,
    since: datetime | None,
    until: datetime | None,
    budget_s: float | None = None,
) -> tuple[PodShare, ...]:
    """The pods charged on a node (None: on all nodes) over a range, largest first. Raises ReadTooSlow."""
    names = {"namespace": "$pods.namespace", "pod": "$pods.pod"}
    pipeline: list[dict[str, Any]] = [
        {"$match": between(node_id, since, until)},
        {"$unwind": "$pods"},
        {"$group": {"_id": names, "energy_kwh": {"$sum": "$pods.energy_kwh"}}},
    ]
    found = reader.aggregate(NODE_WINDOWS, pipeline, budget_s)
    rows = [
        PodShare(
            namespace=str(row["_id"]["namespace"]),
            pod=str(row["_id"]["pod"]),
            energy_kwh=number(row["energy_kwh"]),
        )
        for row in found
        if text(row["_id"].get("namespace")) and text(row["_id"].get("pod"))
    ]
    return tuple(sorted(rows, key=lambda row: (-(row.energy_kwh or 0.0), row.namespace, row.pod)))


def read_node_span(
    reader: Reader, node_id: str, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime] | None:
    """Start of a node's first and last window of a range."""
    group = {"_id": None, "first": {"$min": "$window_start"}, "last": {"$max": "$window_start"}}
    pipeline = [{"$match": between(node_id, since, until)}, {"$group": group}]
    found = reader.aggregate(NODE_WINDOWS, pipeline)
    if not found:
        return None
    start, end = date(found[0].get("first")), date(found[0].get("last"))
    return None if start is None or end is None else (start, end)
