"""Data sets for the dashboard's tests and screenshots: normal, hostile and large."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from conf.sections import MongoDB
from dashboard.store import Store, connect
from schemas.documents import COLLECTIONS, window_id
from schemas.units import kwh_from_j
from tests.dashboard_alerts import add_alerts, add_budgets, alert, budget
from tests.dashboard_documents import Documents, add_nodes, add_run, add_stream, interval_events, summary
from tests.dashboard_forecasts import add_forecasts, add_models, add_run_forecast

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


def filled(uri: str, name: str, fill: Any, now: datetime) -> Iterator[Store]:
    """Reads of a database of its own that `fill` has filled; removed afterwards."""
    with connect(MongoDB(uri=uri)) as client:
        client.drop_database(name)
        if fill is not None:
            fill(client[name], now)
        yield Store(client, name)
        client.drop_database(name)


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
    add_nodes(db, rng, now, ("lab-node-1", "lab-node-2"), ("training", "kube-system"))
    add_stream(db, rng, now)
    seed_ahead(db, now)


def seed_ahead(db: Documents, now: datetime) -> None:
    """Forecasts of a node over a day, of others over their windows; budgets and alerts."""
    rng = random.Random(17)
    add_forecasts(db, rng, "node/lab-node-1", hours=26)
    for target in ("all/", "user/linus", "run/vit-small"):
        add_forecasts(db, rng, target)
    add_forecasts(
        db, rng, "node/lab-node-2", fallback="the model could not be read: hash of data.json differs"
    )
    add_models(db, now)
    add_run_forecast(db, "vit-small", "epochs", now, 12, 20)
    add_run_forecast(db, "llm-lora-7b", "rate", now, 8, None)
    add_run_forecast(
        db, "digits-mlp-01", "epochs", now, 8, 8, actual_energy_kwh=0.097, error_pct=2.6, finishes_at=None
    )
    add_budgets(db, now)
    add_alerts(db, now)


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
    add_nodes(db, rng, now, (HOSTILE[0], HOSTILE[2]), HOSTILE[:4])
    odd_pods = ("none", [3, {"namespace": 5, "pod": "p"}, {"pod": "p", "energy_kwh": "much"}])
    for minute, pods in enumerate(odd_pods):
        at = now.replace(second=0, microsecond=0) - timedelta(minutes=5 + minute)
        db.node_aggregates.update_one({"node_id": HOSTILE[0], "window_start": at}, {"$set": {"pods": pods}})
    add_stream(db, rng, now)
    seed_hostile_ahead(db, rng, now)
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


def seed_hostile_ahead(db: Documents, rng: random.Random, now: datetime) -> None:
    """Forecasts, budgets and alerts whose texts are markup and whose numbers are none."""
    for name in (HOSTILE[0], HOSTILE[2]):
        add_forecasts(db, rng, f"node/{name}", fallback=name)
    bad = {
        "point": math.nan,
        "p90": "much",
        "error": "far",
        "naive_error": math.inf,
        "weights": [1],
        "energy": 3,
    }
    db.energy_forecasts.update_many({"horizon_s": 900}, {"$set": bad})
    db.forecast_states.insert_many(
        [
            {"_id": f"user/{HOSTILE[1]}", "dimension": "user", "key": HOSTILE[1], "horizons": {"x": 1}},
            {"_id": ""},
        ]
    )
    db.model_registry.insert_one({"_id": HOSTILE[0], "state": "serving", "scores": {HOSTILE[2]: HOSTILE[3]}})
    history = [{"epoch": "one"}, {"epoch": 1, "energy_kwh": {"point": 1.0, "p10": "little"}}, HOSTILE[0]]
    add_run_forecast(db, "=cmd@calc", HOSTILE[0], now, 0, None, note=HOSTILE[2], history=history)
    db.budgets.insert_many(
        budget(
            name, "user", name, limit, name, now, 1e9, (0.1, 0.2, 1e12), math.nan, period=name, on_break=name
        )
        for name, limit in zip(HOSTILE, (1e-3, 1.0, 0.0, -5.0, 1e30, 2.0), strict=True)
    )
    db.budgets.insert_one({"_id": "bare", "limit": "a lot", "status": "good"})
    db.alerts.insert_many(
        alert(name, name, ("node", name), name, now, evidence={name: [name, {"a.b": name}]},
              deliveries=[{"channel": name, "state": name, "last_error": name}, name])
        for name in HOSTILE
    )  # fmt: skip
    db.alerts.insert_one({"_id": "bare", "state": "open", "deliveries": "none", "evidence": name})


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
            "long",
            who,
            "completed",
            now,
            1.0,
            [],
            {"n_events": n_events, "energy_kwh": n_events * energy, "step": n_events},
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
