"""Offsets of a topic, straight from the broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConfigurationError, KafkaError

from schemas.errors import PipelineError, RetryableError
from spark_jobs.store import Stopped

log = logging.getLogger(__name__)
T = TypeVar("T")


def earliest(bootstrap: str, topic: str) -> dict[int, int]:
    """First offset that Kafka still has, by partition. Raises RetryableError, or PipelineError (no topic)."""
    return _offsets(bootstrap, topic, "beginning_offsets")


def latest(bootstrap: str, topic: str) -> dict[int, int]:
    """End offset (the next to be written), by partition. Raises as `earliest`."""
    return _offsets(bootstrap, topic, "end_offsets")


def _offsets(bootstrap: str, topic: str, which: str) -> dict[int, int]:
    try:
        consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), enable_auto_commit=False)
    except KafkaConfigurationError as error:
        raise PipelineError(f"JOULE_KAFKA_BOOTSTRAP {bootstrap} cannot be used: {error}") from None
    except KafkaError as error:
        raise RetryableError(f"Kafka at {bootstrap} does not answer ({type(error).__name__})") from None
    try:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise PipelineError(
                f"topic {topic} is not on {bootstrap}; `./joule up` creates it, the stream never does"
            )
        found = getattr(consumer, which)([TopicPartition(topic, p) for p in partitions])
        return {tp.partition: int(offset) for tp, offset in found.items()}
    except KafkaConfigurationError as error:
        raise PipelineError(f"JOULE_KAFKA_BOOTSTRAP {bootstrap} cannot be used: {error}") from None
    except KafkaError as error:
        raise RetryableError(f"Kafka at {bootstrap} does not answer ({type(error).__name__})") from None
    finally:
        consumer.close()


def patiently(call: Callable[[], T], stop: Event, pause_s: float = 1.0) -> T:
    """The call's result, waiting while the broker is away; one log line per change of state."""
    away = False
    while True:
        try:
            result = call()
        except RetryableError as error:
            if not away:
                log.warning("%s; waiting for it", error)
                away = True
        else:
            if away:
                log.warning("Kafka is back")
            return result
        if stop.is_set():
            raise Stopped("stopped while Kafka was away; nothing is lost")
        time.sleep(pause_s)
