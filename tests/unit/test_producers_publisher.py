"""The publisher: nobody waits for the broker, nothing is lost while it is away, one log line per change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from conf.sections import Kafka
from producers import publisher as module
from producers.kafka_link import Delivery, KafkaLink
from producers.publisher import Publisher
from producers.spool import SUFFIX, Message, Spool
from schemas.errors import RetryableError
from tests.waiting import until


class Broker:
    """A broker that can be away, answer in part, or refuse; it keeps what it took, in order."""

    def __init__(self) -> None:
        self.up = True
        self.taken: list[bytes] = []
        self.connects = 0
        self.fail_after: int | None = None

    def connect(self) -> Broker:
        self.connects += 1
        if not self.up:
            raise RetryableError("no broker")
        return self

    def deliver(self, messages: Sequence[Message]) -> Delivery:
        if not self.up:
            raise RetryableError("broker went away")
        refused = [message for message in messages if message.value == b"huge"]
        good = [message for message in messages if message.value != b"huge"]
        if self.fail_after is not None:
            good, self.fail_after = good[: self.fail_after], None
            self.taken += [message.value for message in good]
            return Delivery(good, refused, "cut off")
        self.taken += [message.value for message in good]
        return Delivery(good, refused)

    def close(self) -> None:
        pass


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(module, "MAX_BACKOFF_S", 0.05)


@pytest.fixture
def start(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Publisher]]:
    started: list[Publisher] = []

    def make(name: str = "p1", max_mib: float = 1.0) -> Publisher:
        started.append(Publisher(broker.connect, tmp_path, name, max_mib))
        return started[-1]

    yield make
    for one in started:
        one.close(0.1)


def test_messages_arrive_in_order_and_leave_no_file(
    start: Callable[..., Publisher], broker: Broker, tmp_path: Path
) -> None:
    one = start()
    sent = [b"%d" % n for n in range(1200)]
    for value in sent:
        one.send("t", "k", value)
    assert one.close(5.0)
    assert broker.taken == sent
    assert list(tmp_path.iterdir()) == []


def test_broker_away_costs_nothing_but_time_and_two_log_lines(
    start: Callable[..., Publisher], broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="producers")
    broker.up = False
    one = start()
    for n in range(20):
        one.send("t", "k", b"%d" % n)
    until(lambda: one.away and broker.connects > 3)
    broker.up = True
    until(lambda: len(broker.taken) == 20 and not one.away)
    assert broker.taken == [b"%d" % n for n in range(20)]
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "no broker",
        "the broker takes events again",
    ]


def test_batch_cut_off_in_the_middle_is_continued_in_order(
    start: Callable[..., Publisher], broker: Broker, tmp_path: Path
) -> None:
    waiting = Spool(tmp_path / f"p1{SUFFIX}", 1)
    for n in range(10):
        waiting.append("t", "k", b"%d" % n)
    waiting.close()
    broker.fail_after = 4
    one = start()
    one.send("t", "k", b"last")
    until(lambda: len(broker.taken) == 11)
    assert broker.taken == [b"%d" % n for n in range(10)] + [b"last"]


def test_close_returns_soon_while_the_broker_is_away_and_keeps_the_events(
    start: Callable[..., Publisher], broker: Broker, tmp_path: Path
) -> None:
    broker.up = False
    one = start()
    one.send("t", "k", b"v")
    until(lambda: one.away)
    began = time.monotonic()
    assert not one.close(30.0)
    assert time.monotonic() - began < 2.0
    left = Spool(tmp_path / f"p1{SUFFIX}", 1)
    assert [message.value for message in left.peek(9)] == [b"v"]
    left.remove(left.peek(9))
    left.close()


def test_close_tries_once_more_where_the_broker_was_away(
    start: Callable[..., Publisher], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_BACKOFF_S", 60.0)
    monkeypatch.setattr(module, "MAX_BACKOFF_S", 60.0)
    broker.up = False
    one = start()
    one.send("t", "k", b"v")
    until(lambda: one.away)
    broker.up = True
    assert one.close(5.0)
    assert broker.taken == [b"v"]


def test_close_does_not_wait_longer_than_told_for_a_broker_that_hangs(tmp_path: Path) -> None:
    hang = threading.Event()

    def connect() -> Broker:
        hang.wait(60)
        raise RetryableError("never")

    one = Publisher(connect, tmp_path, "p1", 1.0)
    one.send("t", "k", b"v")
    began = time.monotonic()
    assert not one.close(0.3)
    assert time.monotonic() - began < 20
    hang.set()
    one._thread.join(5)


def test_leftovers_of_ended_processes_are_adopted(
    start: Callable[..., Publisher], broker: Broker, tmp_path: Path
) -> None:
    dead = Spool(tmp_path / f"dead{SUFFIX}", 1)
    for n in range(5):
        dead.append("t", "k", b"%d" % n)
    dead.close()
    one = start()
    until(lambda: len(broker.taken) == 5)
    until(lambda: not (tmp_path / f"dead{SUFFIX}").exists())
    assert broker.taken == [b"%d" % n for n in range(5)]
    assert one.close(5.0)


def test_message_that_the_broker_never_takes_is_counted_and_does_not_block(
    start: Callable[..., Publisher], broker: Broker
) -> None:
    one = start()
    for value in (b"a", b"huge", b"b"):
        one.send("t", "k", value)
    until(lambda: broker.taken == [b"a", b"b"])
    until(lambda: one.dropped == 1)


def test_dropped_messages_show_in_the_counter(start: Callable[..., Publisher], broker: Broker) -> None:
    broker.up = False
    one = start(max_mib=0.001)
    for _ in range(20):
        one.send("t", "k", b"x" * 200)
    assert one.dropped > 10


# the adapter, on a fake of the third-party producer


class Future:
    def __init__(self, error: Exception | None = None, done: bool = True) -> None:
        self.exception, self._done = error, done

    def succeeded(self) -> bool:
        return self._done and self.exception is None

    def failed(self) -> bool:
        return self._done and self.exception is not None


class VendorProducer:
    def __init__(self, answers: dict[bytes, Any], **config: Any) -> None:
        self.answers, self.config, self.closed = answers, config, False

    def send(self, topic: str, key: bytes, value: bytes) -> Future:
        answer = self.answers.get(value, Future())
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Future)
        return answer

    def flush(self, timeout: float) -> None:
        if b"flush" in self.answers:
            raise self.answers[b"flush"]

    def close(self, timeout: float) -> None:
        self.closed = True


def link(**answers: Any) -> KafkaLink:
    by_value = {name.encode(): answer for name, answer in answers.items()}
    return KafkaLink(Kafka(bootstrap="h:1"), "c", lambda **config: VendorProducer(by_value, **config))


BATCH = [Message(n, "t", "k", value) for n, value in enumerate((b"a", b"b", b"c"))]


def test_all_acknowledged() -> None:
    delivery = link().deliver(BATCH)
    assert (delivery.acknowledged, list(delivery.refused), delivery.problem) == (BATCH, [], None)


def test_what_follows_an_unacknowledged_message_is_sent_again() -> None:
    delivery = link(b=Future(KafkaTimeoutError("slow"))).deliver(BATCH)
    assert delivery.acknowledged == BATCH[:1]
    assert "slow" in (delivery.problem or "")


def test_timeout_of_the_flush_keeps_what_is_pending() -> None:
    delivery = link(b=Future(done=False), flush=KafkaTimeoutError("flush")).deliver(BATCH)
    assert delivery.acknowledged == BATCH[:1]
    assert delivery.problem


def test_too_large_messages_are_refused_alone() -> None:
    delivery = link(a=MessageSizeTooLargeError("1"), c=Future(MessageSizeTooLargeError("2"))).deliver(BATCH)
    assert (delivery.acknowledged, delivery.refused) == ([BATCH[1]], [BATCH[0], BATCH[2]])
    assert delivery.problem is None


def test_nothing_sent_is_retryable() -> None:
    with pytest.raises(RetryableError, match="no topic"):
        link(a=KafkaTimeoutError("no topic")).deliver(BATCH)


def test_broker_that_is_not_there_is_retryable_and_says_where() -> None:
    with pytest.raises(RetryableError, match=r"127\.0\.0\.1:1;"):
        KafkaLink(Kafka(bootstrap="127.0.0.1:1"), "c")


def test_producer_is_idempotent_with_all_acknowledgements() -> None:
    made: list[VendorProducer] = []

    def factory(**config: Any) -> VendorProducer:
        made.append(VendorProducer({}, **config))
        return made[0]

    KafkaLink(Kafka(bootstrap="a:1,b:2"), "c", factory).close()
    config = made[0].config
    assert (config["acks"], config["enable_idempotence"]) == ("all", True)
    assert config["allow_auto_create_topics"] is False
    assert config["bootstrap_servers"] == ["a:1", "b:2"]
    assert made[0].closed
