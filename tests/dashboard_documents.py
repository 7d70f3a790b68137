"""Builders of documents as the stream writes them, for the dashboard's tests: seeded by the caller."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Any

from pymongo.database import Database

from schemas.carbon import intensity
from schemas.documents import node_window_id, window_id
from schemas.units import emissions_kg, kwh_from_j

Documents = Database[dict[str, Any]]


def interval_events(rng: random.Random, power: float, n_events: int) -> list[dict[str, Any]]:
    """The intervals of a run: energy by device, falling loss, rising accuracy."""
    events = []
    ceiling = min(0.97, 0.84 + 0.05 * math.log10(power + 1))
    for n in range(n_events):
        watts = power * (1 + 0.25 * math.sin(n / 6) + rng.uniform(-0.08, 0.08))
        progress = (n + 1) / n_events
        parts = {"cpu": 0.3, "gpu": 0.6, "ram": 0.1} if power > 100 else {"cpu": 0.85, "ram": 0.15}
        event = {f"{device}_energy_kwh": kwh_from_j(watts * 5 * part) for device, part in parts.items()}
        event |= {
            "energy_kwh": kwh_from_j(watts * 5),
            "interval_s": 5.0,
            "step": 10 * (n + 1),
            "epoch": 1 + n // 12,
        }
        event |= {"loss": 2.3 * math.exp(-3 * progress) + rng.uniform(0, 0.04)}
        event |= {"accuracy": ceiling - 0.8 * math.exp(-4 * progress), "measurement": "measured"}
        if n_events > 80 and n_events * 0.6 < n < n_events * 0.7:
            event["measurement"] = "estimated"
        events.append(event)
    return events


def add_run(
    db: Documents,
    rng: random.Random,
    run_id: str,
    who: dict[str, Any],
    status: str,
    power: float,
    n_events: int,
    end: datetime,
) -> None:
    """A run with its ledger, windows and summary; runs of more than 80 events have a gap of 90 s."""
    who = {key: value for key, value in who.items() if value is not None}
    carbon = intensity(who.get("region_iso"))
    factor = {
        "carbon_intensity_g_per_kwh": carbon.g_per_kwh,
        "carbon_intensity_source": carbon.source,
        "carbon_intensity_year": carbon.year,
        "carbon_intensity_kind": carbon.kind,
        "carbon_intensity_scope": carbon.scope,
    }
    events = interval_events(rng, power, n_events)
    gap = 90.0 if n_events > 80 else 0.0
    for n, event in enumerate(events):
        left = (n_events - 1 - n) * 5.0 + (gap if n < n_events * 0.3 else 0.0)
        event["timestamp"] = end - timedelta(seconds=left)
        event["emissions_kg"] = emissions_kg(event["energy_kwh"], carbon.g_per_kwh)
        event |= {
            "_id": f"s|{run_id}|p|{n}",
            "run_id": run_id,
            "producer_id": "p",
            "sequence": n,
            "event_type": "metric",
            "emissions_source": "stream",
            **who,
            **factor,
        }
    db.training_metrics.insert_many(events)
    stored = "running" if status == "stale" else status
    db.training_run_summary.insert_one(summary(run_id, who, stored, end, gap, events, factor))
    for dimension, key in (
        ("run", run_id),
        ("user", who.get("user_id")),
        ("model", who.get("model_name")),
        ("region", who.get("region_iso")),
        ("all", "all"),
    ):
        add_windows(db, dimension, key, events)


def summary(
    run_id: str,
    who: dict[str, Any],
    status: str,
    end: datetime,
    gap: float,
    events: list[dict[str, Any]],
    more: dict[str, Any],
) -> dict[str, Any]:
    """`training_run_summary` of some events."""
    energy = sum(event["energy_kwh"] for event in events)
    covered = 5.0 * len(events)
    document: dict[str, Any] = {
        "_id": run_id,
        "run_id": run_id,
        "status": status,
        "started_at": end - timedelta(seconds=covered + gap),
        "last_event_at": end,
        "duration_s": covered + gap,
        "n_events": len(events),
        "n_late": 0,
        "covered_s": covered,
        "gap_s": gap,
        "ranks": [0],
        "nodes": ["lab-node-1"],
        "node_id": "lab-node-1",
        "framework": "scikit-learn",
        "measurement": "measured",
        "meters": ["rapl", "nvml"],
        "schema_version": 1,
        "hyperparameters": {"learning_rate": round(0.001 * (1 + len(run_id)), 4), "batch_size": 64},
        **who,
        **more,
    }
    if status != "running":
        document["ended_at"] = end
    if not events:
        return document
    peak = max(event["energy_kwh"] for event in events)
    document |= {
        "energy_kwh": energy,
        "mean_power_w": energy * 3.6e6 / covered,
        "peak_power_w": peak * 3.6e6 / 5,
        "emissions_kg": sum(event.get("emissions_kg", 0.0) for event in events),
        "last_loss": events[-1]["loss"],
        "best_loss": min(event["loss"] for event in events),
        "last_accuracy": events[-1]["accuracy"],
        "best_accuracy": max(event["accuracy"] for event in events),
        "epoch": events[-1]["epoch"],
        "total_epochs": events[-1]["epoch"],
        "step": events[-1]["step"],
    }
    for device in ("cpu", "gpu", "ram"):
        if f"{device}_energy_kwh" in events[0]:
            document[f"{device}_energy_kwh"] = sum(event[f"{device}_energy_kwh"] for event in events)
    if any(event["measurement"] == "estimated" for event in events):
        document["measurement"] = "mixed"
    return document


def add_windows(db: Documents, dimension: str, key: str | None, events: list[dict[str, Any]]) -> None:
    """One-minute windows of some events, added to those that are there."""
    for event in events:
        start = event["timestamp"].replace(second=0, microsecond=0)
        add = {name: event[name] for name in event if name.endswith(("_kwh", "_kg")) and "per" not in name}
        set_once = {
            "dimension": dimension,
            "key": key,
            "window_start": start,
            "window_end": start + timedelta(minutes=1),
            "schema_version": 1,
        }
        db.aggregated_metrics.update_one(
            {"_id": window_id(dimension, key, start)},
            {
                "$inc": {**add, "n_events": 1, "covered_s": 5.0},
                "$setOnInsert": set_once,
                "$set": {
                    "loss": event["loss"],
                    "accuracy": event["accuracy"],
                    "mean_power_w": event["energy_kwh"] * 3.6e6 / 5,
                },
            },
            upsert=True,
        )


def pods_of(namespaces: tuple[str, ...], energy_kwh: float) -> list[dict[str, Any]]:
    """Energy of pods, three times as much in each namespace as in the next one."""
    parts = [3.0 ** -(1 + n) for n in range(len(namespaces))]
    return [
        {"namespace": name, "pod": f"{name}-0", "energy_kwh": energy_kwh * part / sum(parts)}
        for name, part in zip(namespaces, parts, strict=True)
    ]


def add_nodes(
    db: Documents,
    rng: random.Random,
    now: datetime,
    names: tuple[str, ...],
    namespaces: tuple[str, ...] = (),
) -> None:
    """Two hours of windows per node; 10 minutes are missing. On the last node half of it is charged to pods.

    The first node has a sample too, which names its region.
    """
    db.node_metrics.insert_one(
        {"_id": f"s|{names[0]}|agent|0", "node_id": names[0], "timestamp": now, "region_iso": "DEU"}
    )
    first = now.replace(second=0, microsecond=0) - timedelta(hours=2)
    for node in names:
        documents = []
        for minute in range(120):
            if 40 <= minute < 50:
                continue
            start = first + timedelta(minutes=minute)
            energy = kwh_from_j(60 * (180 + 60 * math.sin(minute / 9) + rng.uniform(-9, 9)))
            used = energy * (0.55 if minute > 20 else 0.0)
            pods = pods_of(namespaces, used / 2) if node == names[-1] and used else []
            of_runs = used / 2 if pods else used
            runs = [
                {"run_id": "vit-small", "energy_kwh": of_runs * 0.7},
                {"run_id": "mlp", "energy_kwh": of_runs * 0.3},
            ]
            documents.append(
                {
                    "_id": node_window_id(node, start),
                    "node_id": node,
                    "window_start": start,
                    "window_end": start + timedelta(minutes=1),
                    "n_samples": 60,
                    "covered_s": 60.0,
                    "energy_kwh": energy,
                    "cpu_energy_kwh": energy * 0.4,
                    "gpu_energy_kwh": energy * 0.5,
                    "dram_energy_kwh": energy * 0.1,
                    "mean_power_w": energy * 6e4,
                    "cpu_utilization_pct": 55.0,
                    "gpu_utilization_pct": 71.0,
                    "memory_used_mib": 20480.0,
                    "attributed": runs if used else [],
                    "pods": pods,
                    "attributed_kwh": used,
                    "idle_kwh": energy * 0.35,
                    "unattributed_kwh": energy - used - energy * 0.35,
                    "measurement": "measured",
                    "schema_version": 1,
                }
            )
        db.node_aggregates.insert_many(documents)


def add_stream(db: Documents, rng: random.Random, now: datetime) -> None:
    """Two queries that are up to date, with some rejected, duplicate and late messages."""
    for query, topic in (("training", "training.events"), ("node", "node.metrics")):
        db.stream_leases.insert_one(
            {"_id": query, "state": "running", "host": "lab", "pid": 4711, "epoch": 1, "renewed_at": now}
        )
        for batch in range(60):
            rows = 40 + int(20 * math.sin(batch / 5)) + rng.randrange(6)
            at = now - timedelta(seconds=(59 - batch) * 5)
            db.stream_progress.insert_one(
                {
                    "_id": f"{query}|{batch}",
                    "query": query,
                    "batch": batch,
                    "at": at,
                    "rows_in": rows,
                    "accepted": rows - 1,
                    "rejected": batch % 2,
                    "duplicate": 1 - batch % 2,
                    "conflict": 0,
                    "late": int(batch == 30),
                    "lag": max(0, 30 - batch) if batch > 15 else 0,
                    "watermark": at - timedelta(minutes=10),
                    "duration_s": 0.6 + rng.uniform(0, 0.4),
                    "input_rows_per_s": rows / 5,
                    "schema_version": 1,
                }
            )
        for partition in range(3):
            db.stream_accounts.insert_one(
                {
                    "_id": f"{topic}/{partition}",
                    "topic": topic,
                    "partition": partition,
                    "query": query,
                    "next_offset": 1000,
                    "consumed": 1000,
                    "accepted": 975,
                    "rejected_total": 10,
                    "duplicate": 15,
                    "rejected": {"not_finite": 4, "invalid_timestamp": 6},
                    "conflict": 1,
                    "late": 3,
                    "unknown": 0,
                }
            )
    reasons = ("not_finite", "invalid_timestamp", "malformed_json")
    for offset in range(12):
        value = b'{"run_id":"x","timestamp":"2026-13-01","energy_kwh":NaN}'
        db.rejected_events.insert_one(
            {
                "_id": f"training.events/0/{offset}",
                "topic": "training.events",
                "partition": 0,
                "offset": offset,
                "key": b"x",
                "value": value,
                "length": len(value),
                "sha256": "00",
                "truncated": False,
                "reason": reasons[offset % 3],
                "message": "found NaN, expected a finite number",
                "field": "energy_kwh",
                "first_seen_at": now - timedelta(minutes=offset),
                "recorded_at": now,
            }
        )
