"""Creates the topics, idempotently; broker-side auto-creation is off."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from conf.clients import kafka_options
from conf.settings import Kafka
from joulestream.reaching import PATIENCE_MS, need_broker, no_broker, trouble
from schemas import topics

# Larger than the contract allows: the stream rejects such a message with its reason, a broker could not.
MAX_MESSAGE_BYTES = 16 * 2**20
DAY_MS = 86_400_000


def topic_options(name: str, kafka: Kafka) -> dict[str, Any]:
    """Partitions, replication and configuration of one topic."""
    configs = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "min.insync.replicas": str(min_insync(kafka.replication_factor)),
    }
    if name in topics.COMPACTED:
        configs["cleanup.policy"] = "compact"
    else:
        configs["retention.ms"] = str(int(kafka.retention_days * DAY_MS))
    return {
        "num_partitions": kafka.partitions if name in topics.STREAMED else 1,
        "replication_factor": kafka.replication_factor,
        "configs": configs,
    }


def min_insync(replicas: int) -> int:
    """Replicas that must have a message before it counts as written: two, where one more may then be away."""
    return max(1, min(2, replicas - 1))


def ensure_topics(kafka: Kafka) -> list[str]:
    """Create the topics that are not there; returns those created. Raises RetryableError, Refused."""
    need_broker(kafka)
    try:
        admin = KafkaAdminClient(**kafka_options(kafka), bootstrap_timeout_ms=PATIENCE_MS)
    except (KafkaError, OSError) as error:
        raise no_broker(kafka, error) from error
    try:
        have = set(admin.list_topics())
        wanted = {name: topic_options(name, kafka) for name in topics.ALL if name not in have}
        for name, options in wanted.items():
            _create(admin, name, options)
        if wanted:
            admin.wait_for_topics(list(wanted))
        return list(wanted)
    except KafkaError as error:
        raise trouble(kafka, error, "could not create the topics") from error
    finally:
        admin.close()


def wrong_timestamp_types(kafka: Kafka) -> dict[str, str]:
    """The topics of ours on a server whose `message.timestamp.type` is not LogAppendTime, with what it is."""
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = KafkaAdminClient(**kafka_options(kafka), bootstrap_timeout_ms=PATIENCE_MS)
    try:
        have = set(admin.list_topics()) & set(topics.ALL)
        wanted = {"message.timestamp.type": None}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in sorted(have)]
        answer = admin.describe_configs(resources, config_filter="All") if have else {"topic": {}}
    finally:
        admin.close()
    kinds = {
        name: str(configs["message.timestamp.type"]["value"]) for name, configs in answer["topic"].items()
    }
    return {name: kind for name, kind in kinds.items() if kind != "LogAppendTime"}


def _create(admin: Any, name: str, options: dict[str, Any]) -> None:
    try:
        admin.create_topics({name: options})
    except TopicAlreadyExistsError:
        return  # somebody else was faster
