"""The local broker and document server are real."""

from __future__ import annotations

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from pymongo import MongoClient

from conf.settings import Kafka
from joulestream.local.topics import ensure_topics, wrong_timestamp_types
from schemas import topics


def test_topics_are_created_once_and_stamp_the_append_time(kafka_bootstrap: str) -> None:
    kafka = Kafka(bootstrap=kafka_bootstrap)
    ensure_topics(kafka)
    assert ensure_topics(kafka) == []
    assert wrong_timestamp_types(kafka) == {}


def test_a_message_comes_back_byte_for_byte(kafka_bootstrap: str) -> None:
    ensure_topics(Kafka(bootstrap=kafka_bootstrap))
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap)
    sent = producer.send(topics.RUN_CONTROL, key=b"r1", value=b"\xff\x00{").get(timeout=20)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=kafka_bootstrap)
    place = TopicPartition(topics.RUN_CONTROL, sent.partition)
    consumer.assign([place])
    consumer.seek(place, sent.offset)
    record = next(consumer)
    consumer.close()
    assert (record.key, record.value) == (b"r1", b"\xff\x00{")


def test_a_document_comes_back(mongodb_uri: str) -> None:
    with MongoClient[dict[str, str]](mongodb_uri) as client:
        collection = client["joule_test_servers"]["documents"]
        collection.insert_one({"_id": "a", "text": "b"})
        assert collection.find_one({"_id": "a"}) == {"_id": "a", "text": "b"}
        client.drop_database("joule_test_servers")
