"""The documents of a small fleet that the exporter reads, and no ledgers and windows of runs, which it does not."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from tests.dashboard_alerts import add_alerts, add_budgets
from tests.dashboard_documents import Documents, add_nodes, add_stream, interval_events, summary
from tests.dashboard_forecasts import add_models
from tests.dashboard_seed import RUNS, make_indexes


def seed_fleet(db: Documents, now: datetime) -> None:
    """Nine runs of four users, two nodes, a healthy stream, budgets, alerts and a model that serves."""
    make_indexes(db)
    rng = random.Random(7)
    runs = []
    for run_id, user, model, dataset, region, status, power, n_events in RUNS:
        who = {"user_id": user, "model_name": model, "dataset_name": dataset, "region_iso": region}
        events = [
            event | {"emissions_kg": event["energy_kwh"] * 0.4}
            for event in interval_events(rng, power, n_events)
        ]
        end = now - timedelta(seconds=3000 if status == "stale" else 4)
        known = {key: value for key, value in who.items() if value is not None}
        runs.append(summary(run_id, known, "running" if status == "stale" else status, end, 0.0, events, {}))
    db.training_run_summary.insert_many(runs)
    add_nodes(db, rng, now, ("lab-node-1", "lab-node-2"))
    add_stream(db, rng, now)
    add_budgets(db, now)
    add_alerts(db, now)
    add_models(db, now)
    for target in ("node/lab-node-1", "node/lab-node-2", "all/"):
        db.forecast_states.insert_one({"_id": target, "last_window_end": now - timedelta(seconds=40)})
