"""Offsets of a topic, straight from the broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConfigurationError, KafkaError

from conf.clients import kafka_options
from conf.kafka_trouble import kafka_knock, kafka_refusal
from conf.sections import Kafka
from conf.trouble import Refused
from schemas.errors import PipelineError, RetryableError
from spark_jobs.store import Stopped

log = logging.getLogger(__name__)

PATIENCE_MS = 15_000  # how long a client may look for a broker; then we say why, and go on looking
T = TypeVar("T")


def earliest(kafka: Kafka, topic: str) -> dict[int, int]:
    """First offset that Kafka still has, by partition.

    Raises RetryableError, Refused where Kafka does not let us in, or PipelineError (no topic).
    """
    return _offsets(kafka, topic, "beginning_offsets")


def latest(kafka: Kafka, topic: str) -> dict[int, int]:
    """End offset (the next to be written), by partition. Raises as `earliest`."""
    return _offsets(kafka, topic, "end_offsets")


def _offsets(kafka: Kafka, topic: str, which: str) -> dict[int, int]:
    kafka_knock(kafka)
    try:
        consumer = KafkaConsumer(
            **kafka_options(kafka), bootstrap_timeout_ms=PATIENCE_MS, enable_auto_commit=False
        )
    except (KafkaError, OSError) as error:
        raise _translated(kafka, error) from None
    try:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise PipelineError(
                f"topic {topic} is not on {kafka.bootstrap}; `./joule up` creates it, the stream never does"
            )
        found = getattr(consumer, which)([TopicPartition(topic, p) for p in partitions])
        return {tp.partition: int(offset) for tp, offset in found.items()}
    except KafkaError as error:
        raise _translated(kafka, error) from None
    finally:
        consumer.close()


def _translated(kafka: Kafka, error: Exception) -> PipelineError:
    if isinstance(error, KafkaConfigurationError):
        return PipelineError(f"JOULE_KAFKA_BOOTSTRAP {kafka.bootstrap} cannot be used: {error}")
    return kafka_refusal(kafka, error) or RetryableError(
        f"Kafka at {kafka.bootstrap} does not answer ({type(error).__name__})"
    )


def patiently(call: Callable[[], T], stop: Event, pause_s: float = 1.0, *, first: bool = False) -> T:
    """The call's result, waiting while the broker is away; one log line per change of state.

    `first`: a broker that does not let us in is an error, and not waited for: nothing has worked yet.
    """
    told = ""
    while True:
        try:
            result = call()
        except RetryableError as error:
            if first and isinstance(error, Refused):
                raise
            if told != str(error):
                told = str(error)
                log.warning("%s; waiting for it", told)
        else:
            if told:
                log.warning("Kafka is back")
            return result
        if stop.is_set():
            raise Stopped("stopped while Kafka was away; nothing is lost")
        time.sleep(pause_s)
