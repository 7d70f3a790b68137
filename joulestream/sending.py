"""Sends bytes to a topic and waits until the broker has them: `replay`, `simulate --send`, `dlq replay`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from joulestream.reaching import need_broker, no_broker
from schemas.errors import PipelineError, RetryableError

MAX_REQUEST_BYTES = 64 * 2**20  # far above any topic's limit: whether a message is too large, the broker says
IN_FLIGHT_BYTES = 32 * 2**20
IN_FLIGHT_MESSAGES = 20_000
SHOWN_FAILURES = 5


class Outbox:
    """Messages on their way. `sent` are acknowledged by all replicas, `failed` were refused.

    Bounded: `send` waits while too much is in flight. A message keeps its place behind those before it.
    """

    def __init__(self, producer: Any, bootstrap: str) -> None:
        self._producer = producer
        self._bootstrap = bootstrap
        self._changed = threading.Condition()
        self._waiting = 0
        self._waiting_bytes = 0
        self.sent = 0
        self.failed = 0
        self.failures: list[str] = []

    def send(self, topic: str, key: bytes | None, value: bytes, label: str) -> None:
        """Send one message. `label` names it if it fails, such as `line 7`. Raises RetryableError."""
        with self._changed:
            while self._waiting and (
                self._waiting >= IN_FLIGHT_MESSAGES or self._waiting_bytes + len(value) > IN_FLIGHT_BYTES
            ):
                self._changed.wait()
            self._waiting += 1
            self._waiting_bytes += len(value)
        try:
            future = self._producer.send(topic, value=value, key=key)
        except KafkaTimeoutError as error:
            self._settle(len(value), label, error)
            raise RetryableError(
                f"the broker at {self._bootstrap} takes no more messages ({error}); look at: joule status"
            ) from error
        except KafkaError as error:
            self._settle(len(value), label, error)
            return
        future.add_callback(partial(self._acknowledged, len(value)))
        future.add_errback(partial(self._settle, len(value), label))

    def finish(self) -> None:
        """Wait until every message is acknowledged or refused."""
        self._producer.flush()
        with self._changed:
            while self._waiting:
                self._changed.wait()

    def _acknowledged(self, size: int, _: Any) -> None:
        self._settle(size, "", None)

    def _settle(self, size: int, label: str, error: BaseException | None) -> None:
        with self._changed:
            self._waiting -= 1
            self._waiting_bytes -= size
            if error is None:
                self.sent += 1
            else:
                self.failed += 1
                if len(self.failures) < SHOWN_FAILURES:
                    self.failures.append(f"{label}: {type(error).__name__}: {error}")
            self._changed.notify_all()


@contextmanager
def outbox(bootstrap: str, topics: tuple[str, ...]) -> Iterator[Outbox]:
    """An open way to these topics; at the end it waits for what is in flight.

    Raises RetryableError where no broker answers, PipelineError where a topic is not there.
    """
    need_broker(bootstrap)
    try:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            max_request_size=MAX_REQUEST_BYTES,
            linger_ms=5,
            batch_size=128 * 1024,
            max_block_ms=20_000,
        )
    except (KafkaError, OSError) as error:
        raise no_broker(bootstrap) from error
    try:
        for topic in topics:
            _need(producer, topic, bootstrap)
        box = Outbox(producer, bootstrap)
        yield box
        box.finish()
    finally:
        producer.close(timeout=10)


def _need(producer: Any, topic: str, bootstrap: str) -> None:
    try:
        found = producer.partitions_for(topic)
    except KafkaError:
        found = None
    if not found:
        raise PipelineError(
            f"topic {topic!r} is not on the broker at {bootstrap}; ./joule up and ./joule stream create the "
            "topics, or create it with message.timestamp.type=LogAppendTime"
        )
