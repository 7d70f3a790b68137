"""A run is asked to stop over a real broker, by the command line, and obeys if it was told to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from conf.settings import Kafka
from joulestream.cli import app
from joulestream.local.topics import ensure_topics
from joulestream.stopping import request_stop
from producers.control import ControlReader, KafkaControl
from producers.exits import Shield
from producers.tracker import Tracker
from schemas.errors import ContractError, PipelineError, RetryableError
from schemas.topics import RUN_CONTROL
from tests.kafka_topics import events_of
from tests.trackers import RunSink
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0
LONG = "import time\nfor _ in range(600): time.sleep(0.1)\n"


@pytest.fixture
def kafka(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A broker with the topics, which producers find through the environment."""
    ensure_topics(Kafka(bootstrap=kafka_bootstrap))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", kafka_bootstrap)
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "data"))
    return kafka_bootstrap


@pytest.fixture
def run_id() -> str:
    return f"run-{uuid.uuid4().hex[:12]}"


def now() -> datetime:
    return datetime.now(timezone.utc)


def reader(bootstrap: str, run_id: str, since: datetime) -> ControlReader:
    def fail(_: str, error: BaseException) -> None:
        raise error

    made = ControlReader(
        run_id, lambda: KafkaControl(Kafka(bootstrap=bootstrap), "test", since), Shield(fail)
    )
    made.start()
    return made


def test_a_tracked_run_stops_when_the_command_line_asks(kafka: str, run_id: str) -> None:
    sink = RunSink()
    with Tracker(run_id, sink=sink, meters="simulated", on_budget="stop") as run:
        for step in range(10_000):
            run.log(step=step)
            if step == 3:
                asked = CliRunner().invoke(app, ["runs", "stop", run_id, "--reason", "enough"])
                assert asked.exit_code == 0, asked.output
            time.sleep(0.02)
        pytest.fail("the run did not stop")
    assert sink.events[-1]["status"] == "stopped"
    assert sink.events[-1]["stop_reason"] == "enough"


def test_a_run_that_ignores_budgets_is_not_stopped(kafka: str, run_id: str) -> None:
    sink = RunSink()
    with Tracker(run_id, sink=sink, meters="simulated") as run:
        request_stop(Kafka(bootstrap=kafka), run_id, None, now())
        for step in range(20):
            run.log(step=step)
            time.sleep(0.05)
    assert sink.events[-1]["status"] == "completed"


def test_an_old_request_stops_no_new_run_of_the_same_name(kafka: str, run_id: str) -> None:
    request_stop(Kafka(bootstrap=kafka), run_id, "old", now())
    time.sleep(1.1)
    since = now()
    old = reader(kafka, run_id, since)
    time.sleep(2.0)
    assert old.request is None
    request_stop(Kafka(bootstrap=kafka), run_id, "new", now())
    until(lambda: old.request)
    assert old.request is not None
    assert old.request.reason == "new"
    assert old.close(WAIT_S)


def test_a_request_from_before_the_reader_connected_still_counts(kafka: str, run_id: str) -> None:
    since = now()
    request_stop(Kafka(bootstrap=kafka), run_id, "early", now())
    late = reader(kafka, run_id, since)
    until(lambda: late.request)
    assert late.close(WAIT_S)


def test_only_the_named_run_is_stopped_whatever_else_is_on_the_topic(
    kafka: str, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = reader(kafka, f"{run_id}x", now())
    this = reader(kafka, run_id, now())
    producer = KafkaProducer(bootstrap_servers=kafka)
    for key, value in [  # without a key a compacted topic takes nothing
        (run_id.encode(), b"\xff"),
        (run_id.encode(), b"{}"),
        (run_id.encode(), None),
        (b"\xff", b"{}"),
    ]:
        producer.send(RUN_CONTROL, key=key, value=value).get(timeout=20)
    producer.close()
    request_stop(Kafka(bootstrap=kafka), run_id, "mine", now())
    until(lambda: this.request)
    assert other.request is None
    assert other.close(WAIT_S)
    assert this.close(WAIT_S)
    told = [record for record in caplog.records if record.name == "producers.control"]
    assert len(told) == 1
    assert "is ignored" in told[0].getMessage()


def test_a_tracked_command_gets_sigterm_and_its_run_ends_stopped(kafka: str, run_id: str) -> None:
    command = [sys.executable, "-m", "joulestream", "track", "--run-id", run_id, "--meters", "simulated"]
    process = subprocess.Popen(
        [*command, "--on-budget", "stop", "--", sys.executable, "-c", LONG],
        cwd=ROOT,
        env=os.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    until(lambda: "measuring run" in process.stderr.readline())  # type: ignore[union-attr]
    request_stop(Kafka(bootstrap=kafka), run_id, "budget ann is broken", now())
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + 15
    assert "was asked to stop: budget ann is broken" in said
    last: dict[str, Any] = events_of(kafka, {run_id})[run_id][-1]
    assert (last["event_type"], last["status"]) == ("run_finished", "stopped")
    assert last["stop_reason"] == "budget ann is broken"


def test_what_cannot_be_sent_is_refused_in_words(kafka: str) -> None:
    with pytest.raises(ContractError, match="run_id"):
        request_stop(Kafka(bootstrap=kafka), "a|b", None, now())
    with pytest.raises(ContractError, match="reason has 1001 characters"):
        request_stop(Kafka(bootstrap=kafka), "r", "x" * 1001, now())
    with pytest.raises(RetryableError, match="no Kafka broker answers"):
        request_stop(Kafka(bootstrap="127.0.0.1:1"), "r", None, now())


def test_a_broker_without_the_topic_is_said_and_waited_for(
    kafka: str, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.control.RUN_CONTROL", f"absent-{run_id}")
    with pytest.raises(PipelineError, match="is not on the broker"):
        KafkaControl(Kafka(bootstrap=kafka), "test", now())
