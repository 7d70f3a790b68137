"""Anomalies through the stream's forecaster: windows in, one alert each out, also when the process is killed."""

from __future__ import annotations

from typing import Any

import pytest

from conf.settings import load_settings
from schemas import documents
from schemas.times import from_ms
from spark_jobs.forecast.anomalies.serving import AnomalyAlerts
from spark_jobs.forecast.anomalies.watch import IDLE, POWER, STUCK
from spark_jobs.forecast.engine import Horizons
from spark_jobs.forecast.models.in_use import InUse
from spark_jobs.forecast.serving import Forecaster
from spark_jobs.store import Db

MIN = 60_000
T0 = 1_700_000_100_000 // (15 * MIN) * 15 * MIN
HORIZONS = Horizons(MIN, (60, 300, 900))
HEALTHY = 30


def window(place: int, power_w: float, used_pct: float) -> dict[str, Any]:
    start, kwh = from_ms(T0 + place * MIN), power_w * 60 / 3.6e6
    return {
        "_id": f"n1|{place}",
        "node_id": "n1",
        "window_start": start,
        "mean_power_w": power_w,
        "energy_kwh": kwh,
        "gpu_utilization_pct": used_pct,
        "attributed": [{"run_id": "r1", "energy_kwh": kwh / 2}],
    }


def healthy(place: int) -> tuple[float, float]:
    return 300.0 + 3.0 * (place % 5), 90.0 + place % 3


def trace(rule: str) -> list[tuple[float, float]]:
    """Half a healthy hour, twelve windows of an anomaly, twelve healthy ones: power and utilisation."""
    wrong = {POWER: (450.0, 90.0), IDLE: (80.0, 1.0), STUCK: (0.0, 95.0)}[rule]
    sick = range(HEALTHY, HEALTHY + 12)
    return [wrong if place in sick else healthy(place) for place in range(HEALTHY + 24)]


class Process:
    """One life of the stream: a forecaster and its alerts, which forget everything when it is killed."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.alerts = AnomalyAlerts(db, load_settings())
        self.forecaster = Forecaster(
            db, InUse, HORIZONS, frozenset({"node"}), 240, 100, signal=self.alerts.signals
        )

    def batch(self, doc: dict[str, Any], dies: str = "") -> None:
        """Write a window, forecast, alert; `dies` says after which of these it is killed."""
        self.db[documents.NODE_WINDOWS].replace_one({"_id": doc["_id"]}, doc, upsert=True)
        self.forecaster.written(documents.NODE_WINDOWS, {doc["_id"]: doc})
        if dies != "written":
            self.forecaster.flush()
        if not dies:
            self.alerts.flush()


def alerts(db: Db, rule: str) -> list[dict[str, Any]]:
    return list(db[documents.ALERTS].find({"rule": rule}))


@pytest.mark.parametrize("rule", [POWER, IDLE, STUCK])
def test_an_anomaly_of_a_node_is_one_alert_that_is_resolved(stream_db: Db, rule: str) -> None:
    process = Process(stream_db)
    for place, values in enumerate(trace(rule)):
        process.batch(window(place, *values))
        if place == HEALTHY + 9:
            (found,) = alerts(stream_db, rule)
            assert found["state"] == "open"
    (found,) = alerts(stream_db, rule)
    assert found["state"] == "resolved"
    assert found["evidence"]["since"] == from_ms(T0 + HEALTHY * MIN)
    subject = {"dimension": "run", "key": "r1"} if rule == IDLE else {"dimension": "node", "key": "n1"}
    assert found["subject"] == subject
    others = {doc["rule"] for doc in stream_db[documents.ALERTS].find()} - {rule}
    assert others <= {POWER}


@pytest.mark.parametrize("dies", ["written", "forecast"])
@pytest.mark.parametrize("rule", [POWER, IDLE, STUCK])
def test_a_process_that_is_killed_at_every_third_batch_raises_no_alert_twice(
    stream_db: Db, rule: str, dies: str
) -> None:
    process = Process(stream_db)
    for place, values in enumerate(trace(rule)):
        if place >= HEALTHY - 5 and place % 3 == 0:
            process.batch(window(place, *values), dies)
            process = Process(stream_db)
        process.batch(window(place, *values))
    (found,) = alerts(stream_db, rule)
    assert found["state"] == "resolved"
    assert found["evidence"]["since"] == from_ms(T0 + HEALTHY * MIN)
