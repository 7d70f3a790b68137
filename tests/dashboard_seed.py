"""Documents as the stream writes them, for the dashboard's tests and screenshots: seeded, no randomness of its own."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Any

from pymongo.database import Database

from schemas.carbon import intensity
from schemas.documents import COLLECTIONS, node_window_id, window_id
from schemas.units import emissions_kg, kwh_from_j

Documents = Database[dict[str, Any]]
HOSTILE = (
    '<img src=x onerror="document.title=1">',
    '=HYPERLINK("http://example.invalid","open")',
    "**bold** :red[x] $e^x$ `code`",
    "[link](http://example.invalid) :smile: # head",
    "a.b $where \u202etxt.exe " + "long" * 60,
    "<b>bold</b> &lt;i&gt; %{x} {y}",
)
RUNS = (
    ("digits-mlp-01", "ada", "mlp", "digits", "DEU", "completed", 61.0, 96),
    ("digits-mlp-02", "ada", "mlp-wide", "digits", "DEU", "completed", 88.0, 96),
    ("digits-forest", "grace", "random-forest", "digits", "FRA", "completed", 44.0, 60),
    ("wine-svm", "grace", "svm", "wine", "FRA", "failed", 35.0, 18),
    ("resnet50-imagenet", "linus", "resnet50", "imagenet-1k", "USA", "completed", 612.0, 240),
    ("bert-base-finetune", "linus", "bert-base", "sst-2", "SWE", "stopped", 287.0, 120),
    ("vit-small", "katherine", "vit-small", "cifar-100", "POL", "running", 214.0, 150),
    ("llm-lora-7b", "katherine", "llama-7b-lora", "alpaca", None, "running", 338.0, 90),
    ("mlp-silent", "ada", "mlp", "digits", "DEU", "stale", 52.0, 30),
)


def make_indexes(db: Documents) -> None:
    """The secondary indexes of the contract."""
    for collection in COLLECTIONS:
        for index in collection.indexes:
            db[collection.name].create_index(list(index.keys), sparse=index.sparse)


def seed_normal(db: Documents, now: datetime) -> None:
    """Nine runs of four users on two nodes, a healthy stream, a few rejected messages."""
    make_indexes(db)
    rng = random.Random(7)
    for number, row in enumerate(RUNS):
        run_id, user, model, dataset, region, status, power, n_events = row
        silent = {"running": 4.0, "stale": 3000.0}.get(status, 1200.0 * (len(RUNS) - number))
        who = {"user_id": user, "model_name": model, "dataset_name": dataset, "region_iso": region}
        add_run(db, rng, run_id, who, status, power, n_events, now - timedelta(seconds=silent))
    add_nodes(db, rng, now, ("lab-node-1", "lab-node-2"))
    add_stream(db, rng, now)


def seed_hostile(db: Documents, now: datetime) -> None:
    """Names that are markup, formulas and patterns; numbers that are missing, zero, huge or not numbers."""
    make_indexes(db)
    rng = random.Random(11)
    for number, name in enumerate(HOSTILE):
        who = {
            "user_id": name,
            "model_name": name,
            "dataset_name": name,
            "region_iso": "ZZZ",
            "project": name,
        }
        run_id = f"../../etc/passwd+{number}" if number else "=cmd@calc"
        add_run(db, rng, run_id, who, ("running", "failed")[number % 2], 10.0 ** (number * 2 - 3), 40, now)
        db.training_run_summary.update_one(
            {"_id": run_id}, {"$set": {"hyperparameters": [{"k": "$where", "v": name}, {"k": "a.b", "v": 1}]}}
        )
    db.training_run_summary.insert_one({"_id": "bare", "run_id": "bare"})
    db.training_run_summary.insert_one(
        {
            "_id": "odd",
            "energy_kwh": "much",
            "emissions_kg": "many",
            "status": name,
            "started_at": "soon",
            "best_accuracy": math.nan,
            "last_event_at": now,
            "ranks": "no list",
            "epoch": 2**60,
        }
    )
    add_nodes(db, rng, now, (HOSTILE[0], HOSTILE[2]))
    add_stream(db, rng, now)
    for offset, name in enumerate(HOSTILE):
        db.rejected_events.insert_one(
            {
                "_id": f"training.events/7/{offset}",
                "topic": "training.events",
                "partition": 7,
                "offset": offset,
                "key": None,
                "value": name.encode() + b"\xff\x00<script>alert(1)</script>",
                "length": 3,
                "sha256": "0",
                "truncated": False,
                "reason": name,
                "message": name,
                "field": name,
                "first_seen_at": now,
                "recorded_at": now,
            }
        )


def seed_large(db: Documents, now: datetime, n_runs: int = 1000, n_events: int = 100_000) -> None:
    """Many small runs, and one (`long`) with many events whose windows are written too."""
    make_indexes(db)
    rng = random.Random(13)
    summaries = []
    for number in range(n_runs):
        who = {"user_id": f"user{number % 17}", "model_name": f"model{number % 29}", "region_iso": "DEU"}
        end = now - timedelta(minutes=7 * number + 5)
        summaries.append(
            summary(f"run-{number:04}", who, "completed", end, 5.0, interval_events(rng, 40.0, 3), {})
        )
    db.training_run_summary.insert_many(summaries)
    start = now - timedelta(seconds=n_events)
    who = {"user_id": "user0", "model_name": "model0", "region_iso": "DEU"}
    energy = kwh_from_j(120.0)
    db.training_metrics.insert_many(
        {
            "_id": f"s|long|p|{n}",
            "run_id": "long",
            "producer_id": "p",
            "sequence": n,
            "event_type": "metric",
            "timestamp": start + timedelta(seconds=n),
            "interval_s": 1.0,
            "energy_kwh": energy,
            "step": n,
        }
        for n in range(n_events)
    )
    db.training_run_summary.insert_one(
        summary(
            "long", who, "completed", now, 1.0, [], {"n_events": n_events, "energy_kwh": n_events * energy}
        )
    )
    first = start.replace(second=0, microsecond=0)
    db.aggregated_metrics.insert_many(
        {
            "_id": window_id("run", "long", first + timedelta(minutes=m)),
            "dimension": "run",
            "key": "long",
            "window_start": first + timedelta(minutes=m),
            "window_end": first + timedelta(minutes=m + 1),
            "energy_kwh": 60 * energy,
            "covered_s": 60.0,
            "n_events": 60,
            "mean_power_w": 120.0,
        }
        for m in range(n_events // 60)
    )


def interval_events(rng: random.Random, power: float, n_events: int) -> list[dict[str, Any]]:
    """The intervals of a run: energy by device, falling loss, rising accuracy."""
    events = []
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
        event |= {"accuracy": 0.97 - 0.85 * math.exp(-4 * progress), "measurement": "measured"}
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
        ("all", None),
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
        "hyperparameters": {"learning_rate": 0.001 * (1 + len(run_id)), "batch_size": 64},
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


def add_nodes(db: Documents, rng: random.Random, now: datetime, names: tuple[str, ...]) -> None:
    """Two hours of windows per node; 10 minutes are missing."""
    first = now.replace(second=0, microsecond=0) - timedelta(hours=2)
    for node in names:
        documents = []
        for minute in range(120):
            if 40 <= minute < 50:
                continue
            start = first + timedelta(minutes=minute)
            energy = kwh_from_j(60 * (180 + 60 * math.sin(minute / 9) + rng.uniform(-9, 9)))
            used = energy * (0.55 if minute > 20 else 0.0)
            runs = [
                {"run_id": "vit-small", "energy_kwh": used * 0.7},
                {"run_id": "mlp", "energy_kwh": used * 0.3},
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
