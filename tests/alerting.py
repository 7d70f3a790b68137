"""Documents as the stream writes them, for the tests of budgets and alerts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from conf.settings import Settings, load_settings
from joulestream.alerting import budgets
from joulestream.alerting.budgets import Budget
from joulestream.alerting.evaluator import Evaluator
from joulestream.alerting.rules import Rules
from schemas.documents import node_window_id, window_id
from schemas.times import to_ms
from spark_jobs.store import Db, Doc

NOW = datetime(2026, 3, 10, 12, 0, 30, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


def settings(**flags: Any) -> Settings:
    """Settings of a test; flags with `__` for the dot."""
    return load_settings({name.replace("__", "."): value for name, value in flags.items()})


def budget(name: str, scope: str, key: str | None, limit: float, unit: str = "kWh", **more: Any) -> Budget:
    """A budget that was made the day before."""
    given = {"period": "total", "on_break": "notify", "channels": (), "created_at": NOW - timedelta(days=1)}
    return Budget(
        name=name, scope=scope, key=key, limit=limit, unit=unit, created_by="test", **(given | more)
    )


def add_budget(db: Db, *args: Any, **more: Any) -> Budget:
    """Store a budget."""
    made = budget(*args, **more)
    budgets.add(db, made, replace=True)
    return made


def run_doc(run_id: str, kwh: float | None = None, status: str = "running", **more: Any) -> Doc:
    """A run's summary; 0.4 kg per kWh."""
    doc: Doc = {
        "_id": run_id,
        "run_id": run_id,
        "status": status,
        "started_at": NOW - timedelta(hours=2),
        "last_event_at": NOW - timedelta(seconds=10),
    }
    if kwh is not None:
        doc |= {"energy_kwh": kwh, "emissions_kg": kwh * 0.4}
    return doc | more


def set_run(db: Db, run_id: str, kwh: float | None = None, status: str = "running", **more: Any) -> None:
    """Write a run's summary over what there is."""
    db.training_run_summary.replace_one({"_id": run_id}, run_doc(run_id, kwh, status, **more), upsert=True)


def ends_at(point: float, p10: float, p90: float, finish: datetime | None = None) -> Doc:
    """A run's forecast."""
    forecast: Doc = {"energy_kwh": {"point": point, "p10": p10, "p90": p90}}
    if finish is not None:
        forecast["finishes_at"] = {"point": finish, "p10": finish, "p90": finish}
    return forecast


def window(dimension: str, key: str, start: datetime, kwh: float | None = None, **more: Any) -> Doc:
    """A window of `aggregated_metrics`; 0.4 kg per kWh."""
    doc: Doc = {
        "_id": window_id(dimension, key, start),
        "dimension": dimension,
        "key": key,
        "window_start": start,
        "window_end": start + MINUTE,
        "n_events": 1,
    }
    if kwh is not None:
        doc |= {"energy_kwh": kwh, "emissions_kg": kwh * 0.4}
    return doc | more


def node_window(node: str, start: datetime, kwh: float) -> Doc:
    """A window of `node_aggregates`."""
    ends = {"window_start": start, "window_end": start + MINUTE}
    return {"_id": node_window_id(node, start), "node_id": node, "energy_kwh": kwh, **ends}


def set_windows(db: Db, windows: Iterable[Doc]) -> None:
    """Write windows of runs, users and all over what there is."""
    for doc in windows:
        db.aggregated_metrics.replace_one({"_id": doc["_id"]}, doc, upsert=True)


def set_settled(db: Db, watermark: datetime, late: int = 0, query: str = "training") -> None:
    """How far the stream is."""
    generation = {"query": query, "watermark_ms": to_ms(watermark)}
    db.stream_generations.update_one({"_id": f"{query}|0"}, {"$set": generation}, upsert=True)
    account = {"query": query, "late": late}
    db.stream_accounts.update_one({"_id": f"{query}.events/0"}, {"$set": account}, upsert=True)


def power_forecast(
    target: str, issued_at: datetime, horizon_s: int, point: float, p10: float, p90: float
) -> Doc:
    """A forecast of `energy_forecasts`: energy over its horizon."""
    return {
        "_id": f"{target}|{issued_at}|{horizon_s}|none",
        "target": target,
        "issued_at": issued_at,
        "target_at": issued_at + timedelta(seconds=horizon_s),
        "horizon_s": horizon_s,
        "energy": {"unit": "kWh", "point": point, "p10": p10, "p90": p90},
    }


def evaluator(db: Db, **flags: Any) -> Evaluator:
    """What reads."""
    return Evaluator(db, settings(**flags))


def rules(db: Db, channels: tuple[str, ...] = ("webhook",), **flags: Any) -> Rules:
    """What raises, as the process has it."""
    return Rules(db, settings(**flags), channels)


def stages_of(db: Db, state: str | None = None) -> set[tuple[str, int]]:
    """Basis and stage of all alerts, or of those in a state."""
    query = {} if state is None else {"state": state}
    return {(alert["basis"], alert["stage_pct"]) for alert in db.alerts.find(query)}


def at_once(processes: int, work: Callable[[Callable[[], object]], None]) -> None:
    """Do the same work in so many threads; `work` calls what it is given when it is ready, and all go on together."""
    start = threading.Barrier(processes)
    threads = [threading.Thread(target=work, args=(start.wait,)) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
