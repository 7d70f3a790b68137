"""`joule budget` and `joule alerts` through the command line, and the service of the stack."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from conf.settings import Kafka, load_settings
from joulestream.alerting.delivery.stop import Stop
from joulestream.cli import app
from joulestream.local.process import running
from joulestream.local.services import alerts_service
from joulestream.local.topics import ensure_topics
from schemas.errors import PipelineError, RetryableError
from schemas.topics import RUN_CONTROL
from spark_jobs.store import Address, Db
from tests.alerting import add_budget, ends_at, set_run
from tests.receivers import receiver

pytestmark = pytest.mark.stack


@pytest.fixture
def db(stream_db: Db, stream_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Db:
    """The database that the verbs find through the environment."""
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_MONGODB_URI", stream_address.uri)
    monkeypatch.setenv("JOULE_MONGODB_DATABASE", stream_address.database)
    return stream_db


def joule(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, PipelineError):
        raise result.exception
    assert result.exit_code == code, (result.output, result.exception)
    return result


def told(*arguments: str) -> Any:
    return json.loads(joule(*arguments, "--json").stdout)


def test_a_budget_is_added_listed_and_removed(db: Db) -> None:
    added = told(
        "budget", "add", "team", "--limit", "5kWh", "--user", "ada", "--period", "month", "--channel", "mail"
    )
    assert (added["scope"], added["key"], added["limit"], added["unit"]) == ("user", "ada", 5.0, "kWh")
    assert (added["period"], added["channels"], added["on_break"]) == ("month", ["mail"], "notify")
    joule("budget", "add", "fleet", "--limit", "2kg", "--all", "--on-break", "stop")
    assert [doc["name"] for doc in told("budget", "ls")] == ["fleet", "team"]
    with pytest.raises(PipelineError, match="--replace"):
        joule("budget", "add", "team", "--limit", "6kWh", "--user", "ada")
    joule("budget", "add", "team", "--limit", "6kWh", "--user", "ada", "--replace")
    assert db.budgets.find_one({"_id": "team"})["limit"] == 6.0  # type: ignore[index]
    assert told("budget", "rm", "team") == {"removed": "team"}
    with pytest.raises(PipelineError, match="joule budget ls"):
        joule("budget", "rm", "team")
    assert db.budgets.count_documents({}) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--limit", "5J", "--all"], "no unit of a limit"),
        (["--limit", "-1kWh", "--all"], "above 0"),
        (["--limit", "10EUR", "--all"], "alerts.tariff_per_kwh"),
        (["--limit", "5kWh", "--user", "a b"], "is no id"),
        (["--limit", "5kWh", "--all", "--period", "year"], "period 'year'"),
        (["--limit", "5kWh", "--all", "--channel", "pager"], "channel 'pager'"),
        (["--limit", "5kWh", "--all", "--on-break", "kill"], "on-break 'kill'"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(db: Db, arguments: list[str], problem: str) -> None:
    with pytest.raises(PipelineError, match=problem):
        joule("budget", "add", "b", *arguments)
    assert db.budgets.count_documents({}) == 0


@pytest.mark.parametrize("arguments", [[], ["--all", "--user", "ada"], ["--run", "r", "--node", "n"]])
def test_a_budget_has_one_subject(db: Db, arguments: list[str]) -> None:
    joule("budget", "add", "b", "--limit", "5kWh", *arguments, code=2)
    assert db.budgets.count_documents({}) == 0


def test_the_list_reads_what_no_process_has_evaluated_and_writes_nothing(db: Db) -> None:
    now = datetime.now(timezone.utc)
    joule("budget", "add", "cap", "--limit", "5kWh", "--run", "r")
    set_run(db, "r", 4.1, forecast=ends_at(5.5, 5.2, 5.9), last_event_at=now)
    (listed,) = told("budget", "ls")
    assert (listed["status"]["actual"], listed["status"]["stage_pct_forecast"]) == (4.1, 100)
    assert 0.9 < listed["status"]["probability"] < 1
    table = joule("budget", "ls").stdout
    for text in ("run r", "5 kWh", "4.1", "82 %", "5.5", "98 %", "80 % / 100 %"):
        assert text in table
    assert "status" not in (db.budgets.find_one() or {})
    assert db.alerts.count_documents({}) == 0
    # What a process has evaluated a moment ago stands.
    db.budgets.update_one({}, {"$set": {"status": {"actual": 4.0, "evaluated_at": now}}})
    assert told("budget", "ls")[0]["status"]["actual"] == 4.0
    db.budgets.update_one({}, {"$set": {"status.evaluated_at": now - timedelta(minutes=5)}})
    assert told("budget", "ls")[0]["status"]["actual"] == 4.1


def test_a_budget_that_is_broken_in_the_store_is_listed_with_its_problem(db: Db) -> None:
    db.budgets.insert_one({"_id": "odd", "limit": "much"})
    assert "cannot be read" in joule("budget", "ls").stdout


def test_alerts_are_listed_shown_and_tried_again(db: Db) -> None:
    at = datetime(2026, 3, 1, tzinfo=timezone.utc)
    failed = {
        "channel": "webhook",
        "state": "failed",
        "attempts": 20,
        "last_error": "the webhook answers 500",
    }
    doc = {
        "rule": "budget",
        "severity": "warning",
        "message": "82 %",
        "raised_at": at,
        "deliveries": [failed],
    }
    db.alerts.insert_one(
        {"_id": "a|1", "state": "open", **doc, "evidence": {"limit": 5.0, "forecast": {"p10": 1.5}}}
    )
    db.alerts.insert_one({"_id": "b|1", "state": "resolved", **doc, "raised_at": at + timedelta(hours=1)})
    assert [alert["id"] for alert in told("alerts", "ls")] == ["b|1", "a|1"]
    assert [alert["id"] for alert in told("alerts", "ls", "--state", "open")] == ["a|1"]
    assert told("alerts", "ls", "--rule", "idle_gpu") == []
    assert told("alerts", "ls", "--limit", "1")[0]["id"] == "b|1"
    assert "a larger --limit" in joule("alerts", "ls", "--limit", "1").stderr
    assert "no alerts match" in joule("alerts", "ls", "--rule", "idle_gpu").stderr
    assert (
        "'power' is no rule; expected one of budget"
        in joule("alerts", "ls", "--rule", "power", code=2).stderr
    )
    assert "webhook failed (try 20: the webhook answers 500)" in joule("alerts", "ls").stdout
    assert "limit 5; forecast p10 1.5" in joule("alerts", "show", "a|1").stdout
    assert told("alerts", "show", "a|1")["evidence"]["limit"] == 5.0
    assert told("alerts", "retry", "a|1") == {"id": "a|1", "deliveries": 1}
    assert db.alerts.find_one({"_id": "a|1"})["deliveries"][0]["state"] == "pending"  # type: ignore[index]
    for verb in ("show", "retry"):
        with pytest.raises(PipelineError, match="joule alerts ls"):
            joule("alerts", verb, "none")


def test_channels_can_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    with pytest.raises(PipelineError, match=r"no channel is configured.*alerts\.webhook_url"):
        joule("alerts", "test")
    assert "'pager' is no channel" in joule("alerts", "test", "--channel", "pager", code=2).stderr
    with receiver(204, 500) as server:
        monkeypatch.setenv("JOULE_ALERTS_WEBHOOK_URL", server.url)
        assert told("alerts", "test") == [{"channel": "webhook", "taken": True, "problem": None}]
        assert server.posts[0].said["rule"] == "test"
        assert "answers 500" in joule("alerts", "test", code=1).stdout
        with pytest.raises(PipelineError, match=r"channel mail is not configured; set alerts\.smtp_host"):
            joule("alerts", "test", "--channel", "mail")


def test_the_service_of_the_stack_is_ready_and_works(
    db: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_budget(db, "cap", "run", "r", 5.0)
    set_run(db, "r", 4.1, last_event_at=datetime.now(timezone.utc))
    with receiver() as server:
        monkeypatch.setenv("JOULE_ALERTS_WEBHOOK_URL", server.url)
        service = alerts_service(load_settings(), tmp_path / "logs" / "alerts.log")
        with running(service) as (one,):
            assert server.wait(1)[0].said["budget"] == "cap"
            resident_mib = int(Path(f"/proc/{one.pid}/statm").read_text().split()[1]) * 4096 / 2**20
            began = time.monotonic()
            assert one.stop()
            assert time.monotonic() - began < 10
    assert resident_mib < 120


def test_a_request_to_stop_is_on_the_topic_under_the_runs_key(kafka_bootstrap: str) -> None:
    ensure_topics(Kafka(bootstrap=kafka_bootstrap))
    at = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    alert = {"_id": "a", "message": "used up", "raised_at": at, "evidence": {"stop_runs": ["run-x", "run-y"]}}
    channel = Stop(Kafka(bootstrap=kafka_bootstrap))
    channel.deliver(alert, "key")
    channel.deliver(alert, "key")
    consumer = KafkaConsumer(bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest")
    try:
        consumer.assign([TopicPartition(RUN_CONTROL, p) for p in consumer.partitions_for_topic(RUN_CONTROL)])
        found = []
        until = time.monotonic() + 20
        while len(found) < 4 and time.monotonic() < until:
            found += [
                r
                for records in consumer.poll(timeout_ms=500).values()
                for r in records
                if r.key in (b"run-x", b"run-y")
            ]
    finally:
        consumer.close()
    said = {(record.key, record.value) for record in found}
    assert {key for key, _ in said} == {b"run-x", b"run-y"}
    assert len(found) == 4
    assert len(said) == 2  # a repeat is the same message
    message = json.loads(next(value for key, value in said if key == b"run-x"))
    assert (message["run_id"], message["action"], message["reason"]) == ("run-x", "stop_requested", "used up")


def test_a_request_to_stop_waits_for_a_broker_that_is_away() -> None:
    alert = {"_id": "a", "raised_at": datetime.now(timezone.utc), "evidence": {"stop_runs": ["r"]}}
    with pytest.raises(RetryableError):
        Stop(Kafka(bootstrap="127.0.0.1:1")).deliver(alert, "key")
    Stop(Kafka(bootstrap="127.0.0.1:1")).deliver({**alert, "evidence": {}}, "key")
