"""Exactly once in effect, on the real broker, store and Spark: whatever is killed, lost or sent again.

One stack and one traffic for all tests; each test adds to it and then holds all documents against the truth.
The stream runs in a zone with half-hour summer time.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread

import pytest
from kafka import KafkaProducer

from schemas import documents
from tests.e2e.auditing import audit, change_by_hand
from tests.e2e.live_stack import LiveStack, live_stack
from tests.e2e.traffic import Traffic, send
from tests.e2e.truth import check_everything

WINDOW_S, WATERMARK_S = 10, 20
SEED = 20_240_301

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """A stack with short windows and small batches."""
    folder = tmp_path_factory.mktemp("exactness")
    with live_stack(
        folder, window_s=WINDOW_S, watermark_s=WATERMARK_S, max_offsets_per_trigger=150, lease_s=5
    ) as live:
        yield live


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Event time begins two hours ago."""
    return Traffic(SEED, datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=2))


@pytest.fixture
def producer(stack: LiveStack) -> Iterator[KafkaProducer]:
    producer = stack.producer()
    yield producer
    producer.close()


def check(stack: LiveStack, traffic: Traffic) -> None:
    """Let the stream finish what was sent, and compare everything."""
    stack.drain()
    check_everything(stack, traffic, WINDOW_S)


def late_before(traffic: Traffic) -> datetime:
    """Windows that end before this time are closed once everything sent so far is settled."""
    newest = min(
        max(datetime.fromisoformat(fields["timestamp"]) for fields in known.values())
        for known in (traffic.runs, traffic.nodes)
    )
    return newest - timedelta(seconds=WATERMARK_S)


def test_a_mixture_over_a_restart_a_replay_and_a_lost_checkpoint(
    stack: LiveStack, traffic: Traffic, producer: KafkaProducer
) -> None:
    send(producer, traffic.mixture(300))
    stack.start_stream()
    check(stack, traffic)
    send(producer, traffic.mixture(200, late_before(traffic)))
    check(stack, traffic)
    assert stack.stop_stream() == 0
    send(producer, traffic.mixture(100, late_before(traffic)))
    send(producer, traffic.replay())
    shutil.rmtree(stack.checkpoints)
    stack.start_stream()
    check(stack, traffic)
    assert traffic.surely_late
    assert stack.db[documents.GENERATIONS].count_documents({"query": "training"}) == 2


def test_the_driver_is_killed_in_the_middle_of_batches(
    stack: LiveStack, traffic: Traffic, producer: KafkaProducer
) -> None:
    """Its Python, its JVM, all of it; once the checkpoint goes with it."""
    pick = random.Random(SEED)
    for what in ("driver", "jvm", "all"):
        send(producer, traffic.mixture(400))
        stack.wait_mid_batch()
        time.sleep(pick.random() * 1.5)
        stack.kill_stream(what)
        if what == "all":
            shutil.rmtree(stack.checkpoints)
        stack.start_stream()
    check(stack, traffic)


def test_the_store_is_killed_in_the_middle_of_a_batch(
    stack: LiveStack, traffic: Traffic, producer: KafkaProducer
) -> None:
    """The stream waits for it, says so once, and goes on; an outage is nobody's bad input."""
    assert stack.stream is not None
    pid = stack.stream.pid
    pick = random.Random(SEED + 1)
    for outage in range(2):
        away, back = len(stack.log_lines("store is away")), len(stack.log_lines("store is back"))
        send(producer, traffic.mixture(300))
        stack.wait_mid_batch("training" if outage else "node")
        time.sleep(pick.random())
        stack.kill_server("store")
        time.sleep(8)  # longer than the driver's patience with one server selection
        stack.begin("store")
        check(stack, traffic)
        assert len(stack.log_lines("store is away")) == away + 1
        assert len(stack.log_lines("store is back")) == back + 1
    assert stack.stream.pid == pid
    assert stack.stream.poll() is None


def test_the_broker_goes_away_and_comes_back(stack: LiveStack, traffic: Traffic) -> None:
    """While data flows; the stream waits for it and says so."""
    stop = Event()
    flow = Thread(target=_flow, args=(stack, traffic, stop))
    flow.start()
    stack.wait_mid_batch()
    away, back = len(stack.log_lines("Kafka is away")), len(stack.log_lines("Kafka is back"))
    stop.set()
    flow.join()
    stack.stop_server("broker")
    time.sleep(15)
    stack.begin("broker")
    producer = stack.producer()
    send(producer, traffic.mixture(100))
    producer.close()
    check(stack, traffic)
    assert len(stack.log_lines("Kafka is away")) - away <= 2  # one for each query
    assert len(stack.log_lines("Kafka is back")) - back <= 2


def _flow(stack: LiveStack, traffic: Traffic, stop: Event) -> None:
    producer = stack.producer()
    while not stop.is_set():
        send(producer, traffic.mixture(20))
    producer.close()


def test_an_audit_finds_what_was_changed_by_hand_and_its_repair_mends_it(
    stack: LiveStack, traffic: Traffic
) -> None:
    """The stream runs and does the repair itself; it alone writes documents."""
    check_audit_and_repair(stack, traffic)


def check_audit_and_repair(stack: LiveStack, traffic: Traffic) -> None:
    code, found = audit(stack)
    assert (code, found["verdict"]) == (0, "ok"), found
    change_by_hand(stack.db)
    code, found = audit(stack)
    assert (code, found["verdict"]) == (1, "broken"), found
    code, found = audit(stack, "--repair")
    assert (code, found["verdict"]) == (0, "ok"), found
    assert found["repair"]["training"]["differing"] == 3
    assert found["repair"]["node"]["differing"] == 1
    check_everything(stack, traffic, WINDOW_S)


def test_windows_of_another_length_are_refused_with_a_failing_exit_code(
    stack: LiveStack, traffic: Traffic, tmp_path: Path
) -> None:
    assert stack.stop_stream() == 0
    stack.launch_stream(JOULE_STREAM_WINDOW_S="30")
    assert stack.stream is not None
    code = stack.stream.wait(60)
    stack.stream = None
    assert code == 1
    assert stack.log_lines("set JOULE_STREAM_WINDOW_S=10")
    check_everything(stack, traffic, WINDOW_S)


def test_a_repair_without_a_stream_takes_the_lease_itself(stack: LiveStack, traffic: Traffic) -> None:
    assert stack.stream is None
    check_audit_and_repair(stack, traffic)
