"""What is in the topics and not yet in the documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from conf.clients import kafka_options
from conf.sections import Kafka
from dashboard.store import Reader
from joulestream.reaching import PATIENCE_MS, need_broker, no_broker, trouble
from schemas.documents import ACCOUNTS, GENERATIONS
from schemas.errors import PipelineError
from schemas.topics import STREAMED


@dataclass(frozen=True, slots=True)
class End:
    """Where a partition begins and ends on the broker. It holds nothing where they are equal."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Generation:
    """The life of a checkpoint that a query is in: the batch that it writes, and the last settled one."""

    number: int
    writing: int
    done: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """Per `topic/partition`: what is on the broker, and what has been settled; per query: its generation."""

    ends: Mapping[str, End]
    settled: Mapping[str, int] = field(default_factory=dict)
    generations: Mapping[str, Generation] = field(default_factory=dict)

    @property
    def lag(self) -> dict[str, int]:
        """Messages that are not settled, by partition; those without are left out."""
        lags = {
            name: at.end - max(self.settled.get(name, at.begin), at.begin) for name, at in self.ends.items()
        }
        return {name: lag for name, lag in lags.items() if lag > 0}

    @property
    def total(self) -> int:
        """Messages that are not settled."""
        return sum(self.lag.values())

    def unsettled(self, goal: Mapping[str, Generation]) -> tuple[str, ...]:
        """The queries that still write the batch that they wrote at `goal`; a later one is not waited for."""
        return tuple(
            query
            for query, now in sorted(self.generations.items())
            if query in goal and now.number == goal[query].number and now.done < goal[query].writing
        )


def read_ends(kafka: Kafka) -> dict[str, End]:
    """Begin and end of every partition of both topics, now. Raises RetryableError, PipelineError."""
    need_broker(kafka)
    try:
        consumer = KafkaConsumer(**kafka_options(kafka), bootstrap_timeout_ms=PATIENCE_MS)
    except (KafkaError, OSError) as error:
        raise no_broker(kafka, error) from error
    try:
        return _ends(consumer, kafka.bootstrap)
    except KafkaError as error:
        raise trouble(kafka, error, "did not tell its offsets") from error
    finally:
        consumer.close()


def _ends(consumer: KafkaConsumer, bootstrap: str) -> dict[str, End]:
    found: list[TopicPartition] = []
    for topic in STREAMED:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise PipelineError(f"topic {topic} is not on the broker at {bootstrap}; ./joule up creates it")
        found += [TopicPartition(topic, partition) for partition in sorted(partitions)]
    begins, ends = consumer.beginning_offsets(found), consumer.end_offsets(found)
    return {f"{tp.topic}/{tp.partition}": End(begins[tp], ends[tp]) for tp in found}


def read_backlog(reader: Reader, ends: Mapping[str, End]) -> Backlog:
    """How far the stream is. Raises RetryableError where the store does not answer."""
    accounts = reader.find(ACCOUNTS, {}, ["topic", "partition", "next_offset"])
    settled = {f"{doc['topic']}/{doc['partition']}": int(doc["next_offset"]) for doc in accounts}
    newest: dict[str, Generation] = {}
    for doc in reader.find(GENERATIONS, {}, ["query", "number", "writing", "done"]):
        found = Generation(int(doc["number"]), int(doc["writing"]), int(doc["done"]))
        query = str(doc["query"])
        if query not in newest or newest[query].number < found.number:
            newest[query] = found
    return Backlog(dict(ends), settled, newest)
