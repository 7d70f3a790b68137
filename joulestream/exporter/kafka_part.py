"""Kafka: where the topics end, and how far the stream is behind."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from pymongo.errors import PyMongoError

from conf.clients import kafka_options
from conf.settings import Settings
from joulestream.exporter.samples import Sample, Samples
from joulestream.reaching import need_broker, trouble
from schemas import documents, topics
from spark_jobs.store import Db

PATIENCE_MS = 3000


class KafkaPart:
    """Asks the broker, with one client for as long as that works. For one thread at a time."""

    def __init__(self, db: Db, settings: Settings) -> None:
        self._db, self._settings = db, settings
        self._consumer: Any = None
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it is in our own message

    def read(self) -> list[Sample]:
        """Ends of the topics, and the lag where the accounts can be read. Raises RetryableError."""
        try:
            ends = self._ends()
        except (KafkaError, OSError) as error:
            self.close()
            raise trouble(self._settings.kafka, error, "does not answer") from None
        out = Samples()
        for (topic, partition), end in ends.items():
            out.add("kafka_end_offset", end, topic=topic, partition=str(partition))
        with suppress(PyMongoError):  # the store is a part of its own, and says so itself
            self._lag(out, ends)
        return out.found

    def _ends(self) -> dict[tuple[str, int], int]:
        if self._consumer is None:
            need_broker(self._settings.kafka)
            self._consumer = KafkaConsumer(
                **kafka_options(self._settings.kafka),
                bootstrap_timeout_ms=PATIENCE_MS,
                enable_auto_commit=False,
            )
        places = [
            TopicPartition(topic, number)
            for topic in topics.STREAMED
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        found = self._consumer.end_offsets(places, timeout_ms=PATIENCE_MS) if places else {}
        return {(place.topic, place.partition): int(end) for place, end in found.items()}

    def _lag(self, out: Samples, ends: dict[tuple[str, int], int]) -> None:
        """Settled offsets are read after the ends, so that what the stream does meanwhile counts for it."""
        for account in self._db[documents.ACCOUNTS].find():
            topic, partition = account["topic"], account["partition"]
            end = ends.get((topic, partition))
            if end is not None:
                place = {"query": account["query"], "topic": topic, "partition": str(partition)}
                out.add("query_lag_messages", max(0, end - account["next_offset"]), **place)

    def close(self) -> None:
        """Leave the broker."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError, OSError):
                consumer.close()
