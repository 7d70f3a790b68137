"""The adapter to kafka-python: messages in, a count of acknowledged ones out. Vendor errors end here."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from conf import knocking
from conf.clients import kafka_options
from conf.kafka_trouble import kafka_knock, kafka_refusal, told_by_client
from conf.sections import Kafka
from producers.spool import Message
from schemas.errors import RetryableError

CONNECT_TIMEOUT_MS = 3_000
ACK_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a batch.

    What the broker has, and what it will never take. The rest is to be tried again.
    """

    acknowledged: Sequence[Message]
    refused: Sequence[Message] = ()
    problem: str | None = None


class Link(Protocol):
    """A connection to a broker.

    `deliver` keeps the order, and raises RetryableError where nothing was sent.
    """

    def deliver(self, messages: Sequence[Message]) -> Delivery: ...
    def close(self) -> None: ...


Connect = Callable[[], Link]


class KafkaLink:
    """An idempotent producer with acks=all. Raises RetryableError where the broker is away."""

    def __init__(self, kafka: Kafka, client_id: str, factory: Callable[..., Any] | None = None) -> None:
        quiet_vendor_log()
        if factory is None:
            need_listener(kafka)
        self._kafka = kafka
        kafka_knock(kafka)
        # Loaded here, in the publisher's thread: half a second that no training waits for.
        self._errors = importlib.import_module("kafka.errors")
        self._refusals = (self._errors.MessageSizeTooLargeError, self._errors.RecordListTooLargeError)
        try:
            self._producer = (factory or importlib.import_module("kafka").KafkaProducer)(
                **kafka_options(kafka),
                client_id=client_id,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=CONNECT_TIMEOUT_MS,
                max_block_ms=CONNECT_TIMEOUT_MS,
                delivery_timeout_ms=int(ACK_TIMEOUT_S * 1000),
                request_timeout_ms=10_000,
                metrics_enabled=False,
            )
        except (self._errors.KafkaError, OSError, RuntimeError) as error:
            raise no_answer(kafka, error) from error

    def deliver(self, messages: Sequence[Message]) -> Delivery:
        """Send in order and wait for the acknowledgements.

        What follows an unacknowledged one counts as unsent.
        """
        sent: list[tuple[Message, Any]] = []
        refused: list[Message] = []
        problem: Exception | None = None
        try:
            for message in messages:
                self._send(message, sent, refused)
            self._producer.flush(timeout=ACK_TIMEOUT_S)
        except self._errors.KafkaError as error:
            problem = error
        acknowledged: list[Message] = []
        for message, future in sent:
            if future.succeeded():
                acknowledged.append(message)
            elif future.failed() and isinstance(future.exception, self._refusals):
                refused.append(message)
            else:
                problem = problem or future.exception
                break
        if problem is not None and not acknowledged and not refused:
            why = RetryableError(f"Kafka did not take the messages: {words(problem)}")
            raise told_by_client(self._kafka, problem) or why from problem
        return Delivery(acknowledged, refused, None if problem is None else words(problem))

    def _send(self, message: Message, sent: list[tuple[Message, Any]], refused: list[Message]) -> None:
        try:
            future = self._producer.send(message.topic, key=message.key.encode(), value=message.value)
        except self._refusals:
            refused.append(message)
        else:
            sent.append((message, future))

    def close(self) -> None:
        """Let go; what is not acknowledged stays in the spool."""
        try:
            self._producer.close(timeout=0.5)
        except (self._errors.KafkaError, OSError):
            # It could not flush and so did not close: without this its thread would go on, and send late.
            sender = getattr(self._producer, "_sender", None)
            if sender is not None:
                sender.force_close()


def listens(address: str) -> bool:
    """Whether something takes connections at `host:port`."""
    return knocking.listens(address, CONNECT_TIMEOUT_MS / 1000)


def need_listener(kafka: Kafka, probe: Callable[[str], bool] = listens) -> None:
    """Raises RetryableError where nothing takes connections.

    Asked before the library is, as it leaves a socket open for each connection that is refused.
    """
    if not any(probe(address) for address in kafka.bootstrap.split(",")):
        raise RetryableError(
            f"no Kafka broker listens at {kafka.bootstrap}; start it, or set JOULE_KAFKA_BOOTSTRAP"
        )


def no_answer(kafka: Kafka, error: BaseException) -> RetryableError:
    """The error for a broker that takes connections and did not let us in, or went away meanwhile."""
    return kafka_refusal(kafka, error) or RetryableError(
        f"no Kafka broker answers at {kafka.bootstrap}: {words(error)}"
    )


def words(error: BaseException) -> str:
    """An error in one line, with its class."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def quiet_vendor_log() -> None:
    """The library logs each try; the publisher logs each change of state. A level the user set stands."""
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
