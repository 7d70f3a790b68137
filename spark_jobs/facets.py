"""What a run's summary knows beside its sums: first, last, best and sets.

Facets form a lattice: `merge` is associative, commutative and idempotent, so that order, repetition and the
split into batches cannot show. The later of two values is the one with the greater (time, identity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from schemas.times import from_ms, to_ms
from schemas.units import w_from_kwh

Facets: TypeAlias = dict[str, dict[str, Any]]

_LAST = (
    "user_id",
    "project",
    "model_name",
    "dataset_name",
    "framework",
    "environment",
    "region_iso",
    "hyperparameters",
    "node_id",
    "epoch",
    "total_epochs",
    "step",
    "total_steps",
    "carbon_intensity_g_per_kwh",
    "carbon_intensity_source",
    "carbon_intensity_year",
    "carbon_intensity_kind",
    "reported_totals",
)
MAX_SET = 1024


def facets_of(identity: str, doc: Mapping[str, Any]) -> Facets:
    """The facets of one event."""
    at = to_ms(doc["timestamp"])
    last: dict[str, Any] = {name: [at, identity, doc[name]] for name in _LAST if name in doc}
    for name in ("loss", "accuracy"):
        if name in doc:
            last[f"last_{name}"] = [at, identity, doc[name]]
    if doc["event_type"] == "run_started":
        last["life"] = [at, identity, "running"]
    elif doc["event_type"] == "run_finished":
        last["life"] = [at, identity, doc.get("status", "completed")]
    interval_s = doc.get("interval_s")
    start = doc["timestamp"] - timedelta(seconds=interval_s) if interval_s else doc["timestamp"]
    reported_start = doc.get("reported_totals", {}).get("started_at")
    low = {"started_ms": to_ms(min(start, reported_start) if reported_start else start)}
    high: dict[str, Any] = {"last_event_ms": at}
    if "loss" in doc:
        low["best_loss"] = doc["loss"]
    if "accuracy" in doc:
        high["best_accuracy"] = doc["accuracy"]
    if interval_s and "energy_kwh" in doc:
        high["peak_power_w"] = w_from_kwh(doc["energy_kwh"], interval_s)
    sets = {
        "ranks": [doc["rank"]] if "rank" in doc else [],
        "nodes": [doc["node_id"]] if "node_id" in doc else [],
        "meters": sorted(set(doc.get("meters", ()))),
        "measurements": [doc["measurement"]] if "measurement" in doc else [],
    }
    return {"last": last, "min": low, "max": high, "sets": {k: v for k, v in sets.items() if v}}


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> Facets:
    """The join of two facets."""
    return {
        "last": _join(one, other, "last", lambda a, b: a if tuple(a[:2]) >= tuple(b[:2]) else b),
        "min": _join(one, other, "min", min),
        "max": _join(one, other, "max", max),
        "sets": _join(one, other, "sets", lambda a, b: sorted({*a, *b})[:MAX_SET]),
    }


def _join(
    one: Mapping[str, Any], other: Mapping[str, Any], part: str, choose: Callable[[Any, Any], Any]
) -> dict[str, Any]:
    joined = dict(one.get(part, {}))
    for name, value in other.get(part, {}).items():
        joined[name] = choose(joined[name], value) if name in joined else value
    return joined


def fields_of_facets(facets: Mapping[str, Any]) -> dict[str, Any]:
    """The summary fields that facets say: who and what, status, times, last and best values."""
    last = {name: entry[2] for name, entry in facets.get("last", {}).items()}
    low, high, sets = facets.get("min", {}), facets.get("max", {}), facets.get("sets", {})
    life = facets.get("last", {}).get("life")
    status = last.pop("life", "running")
    fields: dict[str, Any] = {**last, "status": status}
    started, latest = low.get("started_ms"), high.get("last_event_ms")
    if started is not None and latest is not None:
        ended = life[0] if life is not None and status != "running" else None
        fields["started_at"] = from_ms(started)
        fields["last_event_at"] = from_ms(latest)
        fields["duration_s"] = ((latest if ended is None else max(ended, started)) - started) / 1000
        if ended is not None:
            fields["ended_at"] = from_ms(ended)
    for name in ("best_loss",):
        if name in low:
            fields[name] = low[name]
    for name in ("best_accuracy", "peak_power_w"):
        if name in high:
            fields[name] = high[name]
    for name in ("ranks", "nodes", "meters"):
        if sets.get(name):
            fields[name] = sets[name]
    kinds = sets.get("measurements", [])
    if kinds:
        fields["measurement"] = kinds[0] if len(kinds) == 1 else "mixed"
    return fields
