"""Sends bytes to a topic and waits until the broker has them: `replay`, `simulate --send`, `dlq replay`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, KafkaTimeoutError

from conf.clients import kafka_options
from conf.sections import Kafka
from joulestream.reaching import PATIENCE_MS, need_broker, no_broker, trouble
from schemas.errors import PipelineError, RetryableError

MAX_REQUEST_BYTES = 64 * 2**20  # above any topic's limit, which is what counts
BATCH_BYTES = 128 * 1024
OVERHEAD_BYTES = 128  # of a record and its batch, without key and value
LIMIT = "max.message.bytes"
IN_FLIGHT_BYTES = 32 * 2**20
IN_FLIGHT_MESSAGES = 20_000
SHOWN_FAILURES = 5


class Outbox:
    """Messages on their way. `sent` are acknowledged by all replicas, `failed` were refused.

    Bounded: `send` waits while too much is in flight. A message keeps its place behind those before it.
    """

    def __init__(self, producer: Any, kafka: Kafka, limits: Mapping[str, int]) -> None:
        self._producer = producer
        self._limits = limits
        self._kafka = kafka
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
        limit = self._limits.get(topic)
        if limit is not None and len(value) + len(key or b"") + OVERHEAD_BYTES > limit:
            # Refused here: after the broker's refusal the messages behind it would be out of sequence.
            self._settle(len(value), label, _too_large(len(value), topic, limit))
            return
        try:
            future = self._producer.send(topic, value=value, key=key)
        except KafkaTimeoutError as error:
            self._settle(len(value), label, error)
            raise RetryableError(
                f"the broker at {self._kafka.bootstrap} takes no more messages ({error}); look at: joule status"
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


def _too_large(size: int, topic: str, limit: int) -> PipelineError:
    return PipelineError(
        f"the message has {size} bytes; topic {topic} takes at most {limit} (max.message.bytes)"
    )


@contextmanager
def outbox(kafka: Kafka, topics: tuple[str, ...]) -> Iterator[Outbox]:
    """An open way to these topics; at the end it waits for what is in flight.

    Raises RetryableError where no broker answers, Refused where it does not let us in, PipelineError where a
    topic is not there.
    """
    need_broker(kafka)
    limits = size_limits(kafka, topics)
    try:
        producer = KafkaProducer(
            **kafka_options(kafka),
            bootstrap_timeout_ms=PATIENCE_MS,
            max_request_size=MAX_REQUEST_BYTES,
            linger_ms=5,
            batch_size=min(BATCH_BYTES, *limits.values()),
            max_block_ms=20_000,
        )
    except (KafkaError, OSError) as error:
        raise no_broker(kafka, error) from error
    try:
        box = Outbox(producer, kafka, limits)
        yield box
        box.finish()
    finally:
        producer.close(timeout=10)


def size_limits(kafka: Kafka, topics: tuple[str, ...]) -> dict[str, int]:
    """`max.message.bytes` of each topic. Raises RetryableError, PipelineError where a topic is not there."""
    try:
        admin = KafkaAdminClient(**kafka_options(kafka), bootstrap_timeout_ms=PATIENCE_MS)
    except (KafkaError, OSError) as error:
        raise no_broker(kafka, error) from error
    try:
        missing = sorted(set(topics) - set(admin.list_topics()))
        if missing:
            raise PipelineError(
                f"topic {missing[0]!r} is not on the broker at {kafka.bootstrap}; ./joule up creates the topics, or "
                "create it with message.timestamp.type=LogAppendTime"
            )
        wanted = [ConfigResource(ConfigResourceType.TOPIC, topic, {LIMIT: None}) for topic in topics]
        answer = admin.describe_configs(wanted, config_filter="All")
        return {name: int(configs[LIMIT]["value"]) for name, configs in answer["topic"].items()}
    except KafkaError as error:
        raise trouble(kafka, error, "did not tell of its topics") from error
    finally:
        admin.close()
