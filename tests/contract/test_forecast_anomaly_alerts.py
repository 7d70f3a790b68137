"""Anomalies become alerts in a real store: put in once, seen while they last, resolved once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from conf.settings import Settings, load_settings
from schemas.documents import ALERTS
from schemas.times import from_ms
from spark_jobs.forecast.anomalies.serving import SILENT_S, AnomalyAlerts
from spark_jobs.forecast.anomalies.watch import IDLE, POWER, RAISED, RESOLVED, SEEN, Signal
from spark_jobs.store import Address, Db, connect

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SINCE_MS = 1_772_362_800_000
FIRST = Signal(
    POWER, RAISED, SINCE_MS, SINCE_MS + 180_000, "warning", "too much", {"power_w": 150.0, "windows": 3}
)
NEXT = replace(FIRST, state=SEEN, at_ms=SINCE_MS + 240_000, message="still too much", evidence={"windows": 4})
LAST = replace(NEXT, state=RESOLVED, at_ms=SINCE_MS + 300_000)
IDENTITY = f"power_anomaly|node/n1||{from_ms(SINCE_MS):%Y-%m-%dT%H:%M:%SZ}"


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s


@pytest.fixture
def settings() -> Settings:
    return load_settings({"dashboard.url": "https://dash.example"})


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def alerts(stream_db: Db, settings: Settings, clock: Time) -> AnomalyAlerts:
    return AnomalyAlerts(stream_db, settings, clock.now, clock.monotonic)


def only(db: Db) -> dict[str, Any]:
    (found,) = db[ALERTS].find()
    return found


def test_an_anomaly_is_one_document_with_its_evidence_and_a_link(
    stream_db: Db, alerts: AnomalyAlerts
) -> None:
    alerts.signals("node/n1", [FIRST])
    assert list(stream_db[ALERTS].find()) == []
    alerts.flush()
    assert only(stream_db) == {
        "_id": IDENTITY,
        "schema_version": 1,
        "rule": "power_anomaly",
        "severity": "warning",
        "state": "open",
        "subject": {"dimension": "node", "key": "n1"},
        "period": IDENTITY.rpartition("|")[2],
        "message": "too much",
        "evidence": {
            "target": "node/n1",
            "power_w": 150.0,
            "windows": 3,
            "since": from_ms(SINCE_MS),
            "until": from_ms(SINCE_MS + 180_000),
        },
        "link": "https://dash.example/nodes?node=n1",
        "raised_at": START,
        "last_seen_at": START,
        "deliveries": [],
    }


def test_it_is_seen_again_and_resolved_in_one_batch_or_in_three(
    stream_db: Db, alerts: AnomalyAlerts, clock: Time
) -> None:
    alerts.signals("node/n1", [FIRST, NEXT, LAST])
    alerts.signals("node/n2", [FIRST])
    alerts.flush()
    for signal in (NEXT, LAST):
        clock.passed_s += 60
        alerts.signals("node/n2", [signal])
        alerts.flush()
    one, two = stream_db[ALERTS].find().sort("_id", 1)
    assert one["state"] == two["state"] == "resolved"
    assert one["message"] == two["message"] == "still too much"
    assert one["evidence"]["until"] == two["evidence"]["until"] == from_ms(LAST.at_ms)
    assert two["last_seen_at"] == START + timedelta(seconds=60)
    assert two["resolved_at"] == START + timedelta(seconds=120)
    assert "new level" in two["resolved_because"]


def test_what_comes_twice_or_late_changes_nothing(stream_db: Db, alerts: AnomalyAlerts, clock: Time) -> None:
    alerts.signals("node/n1", [FIRST, NEXT, LAST])
    alerts.flush()
    before = only(stream_db)
    clock.passed_s = 500
    alerts.signals("node/n1", [FIRST, NEXT, LAST])
    alerts.flush()
    assert only(stream_db) == before


def test_an_anomaly_whose_first_word_was_lost_is_put_in_when_it_is_seen(
    stream_db: Db, alerts: AnomalyAlerts
) -> None:
    alerts.signals("node/n1", [NEXT])
    alerts.flush()
    assert (only(stream_db)["_id"], only(stream_db)["state"]) == (IDENTITY, "open")


def test_what_is_written_is_not_written_again(stream_db: Db, alerts: AnomalyAlerts) -> None:
    alerts.signals("node/n1", [FIRST])
    alerts.flush()
    stream_db[ALERTS].delete_many({})
    alerts.flush()
    assert list(stream_db[ALERTS].find()) == []


def test_deliveries_of_an_alert_are_left_alone(stream_db: Db, alerts: AnomalyAlerts) -> None:
    alerts.signals("node/n1", [FIRST])
    alerts.flush()
    stream_db[ALERTS].update_one({}, {"$set": {"deliveries": [{"channel": "webhook", "state": "sent"}]}})
    alerts.signals("node/n1", [FIRST, NEXT])
    alerts.flush()
    assert only(stream_db)["deliveries"] == [{"channel": "webhook", "state": "sent"}]


def test_an_idle_gpu_that_node_and_run_both_see_is_one_alert_of_the_run(
    stream_db: Db, alerts: AnomalyAlerts
) -> None:
    idle = replace(FIRST, rule=IDLE, run_id="r/1")
    alerts.signals("node/n1", [idle])
    alerts.signals("run/r/1", [idle])
    alerts.flush()
    found = only(stream_db)
    assert found["subject"] == {"dimension": "run", "key": "r/1"}
    assert found["link"] == "https://dash.example/run?run=r%2F1"
    assert found["evidence"]["run_id"] == "r/1"


def test_an_alert_that_nobody_sees_any_more_is_resolved(
    stream_db: Db, alerts: AnomalyAlerts, clock: Time
) -> None:
    other = {"_id": "budget|x", "rule": "budget", "state": "open", "last_seen_at": START}
    stream_db[ALERTS].insert_one(other)
    alerts.signals("node/n1", [FIRST])
    alerts.signals("node/n2", [FIRST])
    alerts.flush()
    clock.passed_s = SILENT_S + 1
    alerts.signals("node/n2", [NEXT])
    alerts.flush()
    states = {doc["_id"]: doc["state"] for doc in stream_db[ALERTS].find()}
    assert states == {IDENTITY: "resolved", IDENTITY.replace("n1", "n2"): "open", "budget|x": "open"}


def test_a_new_process_waits_before_it_calls_an_alert_silent(
    stream_db: Db, alerts: AnomalyAlerts, settings: Settings, clock: Time
) -> None:
    alerts.signals("node/n1", [FIRST])
    alerts.flush()
    clock.passed_s = 10 * SILENT_S
    again = AnomalyAlerts(stream_db, settings, clock.now, clock.monotonic)
    again.flush()
    assert only(stream_db)["state"] == "open"
    clock.passed_s += SILENT_S
    again.flush()
    assert only(stream_db)["state"] == "resolved"


def test_what_could_not_be_written_is_written_later(
    stream_db: Db, stream_address: Address, settings: Settings, clock: Time
) -> None:
    away = connect(Address.at("mongodb://127.0.0.1:1", stream_address.database, 0.2))
    alerts = AnomalyAlerts(away, settings, clock.now, clock.monotonic)
    alerts.signals("node/n1", [FIRST])
    with pytest.raises(PyMongoError):
        alerts.flush()
    away.client.close()
    alerts._alerts = stream_db[ALERTS]
    alerts.flush()
    assert only(stream_db)["_id"] == IDENTITY
