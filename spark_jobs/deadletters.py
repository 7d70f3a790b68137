"""Rejected messages: never lost, never in the way.

The store keeps their bytes under their coordinates; the dead-letter topic carries them with Connect-style
headers. The topic is at least once: a batch that is run again sends again, with the same key.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from conf.clients import current_password, kafka_options
from conf.kafka_trouble import kafka_refusal
from conf.sections import Kafka
from schemas.documents import DOCUMENT_VERSION, coordinates_id
from schemas.errors import ContractError
from schemas.topics import DLQ

log = logging.getLogger(__name__)

KEPT_BYTES = 256 * 1024
MAX_REQUEST_BYTES = 17 * 1024**2


class Message(NamedTuple):
    """A Kafka record as the stream read it. `value` is cut where `length` is above what is parsed."""

    topic: str
    partition: int
    offset: int
    recorded_at: datetime
    key: bytes | None
    value: bytes | None
    length: int
    sha256: str | None

    @property
    def coordinates(self) -> str:
        """Where it stands in Kafka."""
        return coordinates_id(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message and why it was rejected."""

    message: Message
    error: ContractError

    def to_doc(self, now: datetime) -> dict[str, Any]:
        """The document of `rejected_events`."""
        message = self.message
        value = message.value or b""
        doc = {
            "_id": message.coordinates,
            "schema_version": DOCUMENT_VERSION,
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
            "key": message.key,
            "value": value[:KEPT_BYTES],
            "length": message.length,
            "sha256": message.sha256 or hashlib.sha256(value).hexdigest(),
            "truncated": message.length > KEPT_BYTES,
            "reason": self.error.code,
            "message": self.error.message[:2000],
            "first_seen_at": now,
            "recorded_at": message.recorded_at,
        }
        if self.error.field is not None:
            doc["field"] = self.error.field[:500]
        return doc

    def headers(self) -> list[tuple[str, bytes]]:
        """Kafka Connect's names for where a dead letter comes from and why."""
        message = self.message
        return [
            ("__connect.errors.topic", message.topic.encode()),
            ("__connect.errors.partition", str(message.partition).encode()),
            ("__connect.errors.offset", str(message.offset).encode()),
            ("__connect.errors.exception.class.name", self.error.code.encode()),
            ("__connect.errors.exception.message", self.error.message[:2000].encode("utf-8", "replace")),
            ("joulestream.length", str(message.length).encode()),
        ]


@lru_cache(maxsize=1)
def _held() -> dict[Kafka, tuple[str, KafkaProducer]]:
    """The producers of this process, each with the password that it was made with."""
    return {}


def _producer(kafka: Kafka) -> KafkaProducer:
    """The one for this broker; after a change of the password another one, since the first would only wait."""
    password, held = current_password(kafka), _held()
    if kafka in held and held[kafka][0] != password:
        _leave_producer(kafka)
    if kafka not in held:
        made = KafkaProducer(
            **kafka_options(kafka), acks="all", max_request_size=MAX_REQUEST_BYTES, linger_ms=5
        )
        held[kafka] = (password, made)
    return held[kafka][1]


def _leave_producer(kafka: Kafka) -> None:
    """Give up a producer whose broker is away, with what it holds: all of it is sent again by a new one."""
    found = _held().pop(kafka, None)
    if found is not None:
        found[1].close(timeout=0)


def send(kafka: Kafka, letters: Sequence[DeadLetter], pause_s: float = 1.0) -> None:
    """Send to the dead-letter topic and wait for the acknowledgement; waits for a broker that is away."""
    told = ""
    while True:
        try:
            producer = _producer(kafka)
            sent = [
                producer.send(
                    DLQ,
                    key=letter.message.coordinates.encode(),
                    value=letter.message.value or b"",
                    headers=letter.headers(),
                )
                for letter in letters
            ]
            for future in sent:
                future.get(timeout=60)
        except KafkaError as error:
            text = str(kafka_refusal(kafka, error) or f"dead-letter topic is away ({type(error).__name__})")
            if not told:
                log.warning("%s; waiting for it", text)
                told = text
            _leave_producer(kafka)
            time.sleep(pause_s)
        else:
            return
