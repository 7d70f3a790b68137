"""What the exporter reads of the stream: accounts, batches and leases as they are stored, and the lag of now."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from kafka import KafkaProducer

from conf.clients import kafka_options
from joulestream.exporter.kafka_part import KafkaPart
from joulestream.exporter.samples import Buckets
from joulestream.exporter.stream_part import StreamPart
from joulestream.local.topics import ensure_topics
from schemas import documents
from schemas.topics import TRAINING_EVENTS
from spark_jobs.store import Address, Db
from tests.contract.exporter import NOW, settings, values


def test_the_queries_are_as_their_documents_say(stream_address: Address, seeded_db: Db) -> None:
    found = values(StreamPart(seeded_db, settings(stream_address)).read(NOW + timedelta(seconds=4)))
    for account in seeded_db[documents.ACCOUNTS].find():
        place = (account["query"], account["topic"], str(account["partition"]))
        for name in ("consumed", "accepted", "duplicate", "conflict", "late"):
            assert found[(f"query_{name}_messages_total", *place)] == account[name]
        assert found[("query_settled_offset", *place)] == account["next_offset"]
    per_reason = 4 * 3  # of each of three partitions
    assert found["query_rejected_messages_total", "training", "training.events", "not_finite"] == per_reason
    assert found["query_rejected_messages_total", "training", "training.events", "too_deep"] == 0
    newest = seeded_db[documents.PROGRESS].find_one({"query": "node"}, sort=[("batch", -1)])
    assert newest is not None
    assert found["query_batches_total", "node"] == newest["batch"] + 1
    assert found["query_last_batch_duration_seconds", "node"] == newest["duration_s"]
    assert found["query_checkpoint_age_seconds", "node"] == 4
    assert found["query_watermark_age_seconds", "node"] == 604
    assert found["query_lease_age_seconds", "node"] == 4
    assert found["query_up", "node"] == 1
    assert found["query_lease_state", "node", "running"] == 1
    assert found["query_lease_state", "node", "released"] == 0
    assert (found["query_trigger_seconds", "training"], found["query_trigger_seconds", "node"]) == (0, 2)


@pytest.mark.parametrize(("state", "silent_s"), [("starting", 0), ("released", 0), ("running", 21)])
def test_a_query_that_nobody_drives_is_down(
    state: str, silent_s: int, stream_address: Address, stream_db: Db
) -> None:
    renewed = NOW - timedelta(seconds=silent_s)
    stream_db[documents.LEASES].insert_one({"_id": "node", "state": state, "epoch": 3, "renewed_at": renewed})
    found = values(StreamPart(stream_db, settings(stream_address)).read(NOW))
    assert found["query_up", "node"] == 0
    assert found["query_lease_epoch", "node"] == 3
    assert ("query_watermark_age_seconds", "node") not in found


def test_batches_count_from_the_first_look_on_and_once_each(stream_address: Address, stream_db: Db) -> None:
    part = StreamPart(stream_db, settings(stream_address))

    def batch(number: int, duration_s: float, errors: int) -> None:
        stream_db[documents.PROGRESS].insert_one(
            {"_id": f"node|{number}", "query": "node", "batch": number, "at": NOW}
            | {"duration_s": duration_s, "store_errors": errors, "rows_in": 5}
        )

    stream_db[documents.LEASES].insert_one({"_id": "node", "state": "running", "epoch": 1, "renewed_at": NOW})
    batch(0, 99.0, 9)
    assert values(part.read(NOW))["query_batch_duration_seconds", "node"].count == 0
    batch(1, 0.5, 0)
    batch(2, 7.0, 2)
    for _ in range(2):
        found = values(part.read(NOW))
        durations = found["query_batch_duration_seconds", "node"]
        assert isinstance(durations, Buckets)
        assert (durations.count, durations.sum) == (2, 7.5)
        at_most = dict(zip(durations.bounds, durations.counts, strict=True))
        assert (at_most[0.25], at_most[0.5], at_most[5.0], at_most[10.0]) == (0, 1, 1, 2)
        assert found["query_store_errors_total", "node"] == 2
        assert found["query_batches_total", "node"] == 3
    stream_db[documents.PROGRESS].delete_many({})
    batch(0, 3.0, 0)
    part.read(NOW)
    batch(1, 4.0, 0)
    durations = values(part.read(NOW))["query_batch_duration_seconds", "node"]
    assert durations.sum == 7.5 + 4.0, "numbers that begin anew are another database's"


def test_lag_is_what_the_broker_has_and_the_accounts_have_not_settled(
    kafka_bootstrap: str, stream_address: Address, stream_db: Db
) -> None:
    wanted = settings(stream_address, kafka__bootstrap=kafka_bootstrap)
    ensure_topics(wanted.kafka)
    with closing(KafkaProducer(**kafka_options(wanted.kafka))) as producer:
        sent = [producer.send(TRAINING_EVENTS, b"x", partition=1).get(20) for _ in range(5)]
    end = sent[-1].offset + 1
    account = {"query": "training", "topic": TRAINING_EVENTS, "partition": 1, "next_offset": end - 3}
    stream_db[documents.ACCOUNTS].insert_one({"_id": f"{TRAINING_EVENTS}/1", **account})
    part = KafkaPart(stream_db, wanted)
    try:
        for settled, lag in ((end - 3, 3), (end, 0)):
            stream_db[documents.ACCOUNTS].update_one({}, {"$set": {"next_offset": settled}})
            found = values(part.read())
            assert found["kafka_end_offset", TRAINING_EVENTS, "1"] == end
            lags = {key[1:]: value for key, value in found.items() if key[0] == "query_lag_messages"}
            assert lags == {("training", TRAINING_EVENTS, "1"): lag}
    finally:
        part.close()
