"""`joule drain` and `joule status`: how far the stream is behind what is in the topics."""

from __future__ import annotations

import json

from conf.settings import Kafka
from joulestream.context import context
from joulestream.progress import query_progress
from joulestream.sending import outbox
from joulestream.verbs.status import _lag_now
from schemas import documents
from schemas.topics import STREAMED, TRAINING_EVENTS
from tests.contract.verbs import AT, joule
from tests.kafka_topics import ends


def test_drain_waits_for_what_was_there_and_names_the_lag(kafka, db, tmp_path):
    file = tmp_path / "trace.ndjson"
    file.write_bytes(b'{"run_id":"r1"}\n')
    joule("replay", file, "--topic", TRAINING_EVENTS)
    settled = {f"{tp.topic}/{tp.partition}": (tp, offset) for tp, offset in ends(kafka, *STREAMED).items()}
    for name, (tp, offset) in settled.items():
        db[documents.ACCOUNTS].insert_one(
            {"_id": name, "topic": tp.topic, "partition": tp.partition, "next_offset": offset}
        )
    joule("drain", "--timeout", 20)
    name, (_, offset) = next((n, v) for n, v in settled.items() if v[1] and n.startswith(TRAINING_EVENTS))
    db[documents.ACCOUNTS].update_one({"_id": name}, {"$set": {"next_offset": offset - 1}})
    result = joule("drain", "--timeout", 0.5, "--json", code=4)
    found = json.loads(result.stdout)
    assert (found["drained"], found["lag"]) == (False, {name: 1})
    assert f"{name}: 1 behind" in result.stderr


def test_drain_waits_for_the_batch_that_is_being_written(kafka, db):
    for tp, offset in ends(kafka, *STREAMED).items():
        where = {"_id": f"{tp.topic}/{tp.partition}", "topic": tp.topic, "partition": tp.partition}
        db[documents.ACCOUNTS].insert_one(where | {"next_offset": offset})
    generation = {"_id": "training|1", "query": "training", "number": 1, "writing": 3, "done": 2}
    db[documents.GENERATIONS].insert_one(generation)
    assert "training" in joule("drain", "--timeout", 0.5, code=4).stderr
    db[documents.GENERATIONS].update_one({"_id": "training|1"}, {"$set": {"done": 3}})
    joule("drain", "--timeout", 20)


def test_status_tells_the_lag_of_this_moment_and_not_that_of_the_last_batch(kafka, db, monkeypatch):
    for tp, offset in ends(kafka, *STREAMED).items():
        account = {"_id": f"{tp.topic}/{tp.partition}", "topic": tp.topic, "partition": tp.partition}
        query = "training" if tp.topic == TRAINING_EVENTS else "node"
        db[documents.ACCOUNTS].insert_one(account | {"query": query, "next_offset": offset})
    db[documents.PROGRESS].insert_one({"query": "training", "batch": 1, "at": AT, "lag": 0})
    with outbox(Kafka(bootstrap=kafka), (TRAINING_EVENTS,)) as box:
        for number in range(3):
            box.send(TRAINING_EVENTS, b"r1", b"{}", f"message {number}")
    queries, _ = query_progress(context().settings)
    told = [query["lag"] for query in queries]
    _lag_now(context(), queries)
    assert {query["query"]: query["lag"] for query in queries} == {"node": 0, "training": 3}
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    queries, _ = query_progress(context().settings)
    _lag_now(context(), queries)
    assert [query["lag"] for query in queries] == told == [None, 0]


def test_drain_with_the_store_away_times_out(kafka, db, monkeypatch):
    monkeypatch.setenv("JOULE_MONGODB_URI", "mongodb://127.0.0.1:1")
    monkeypatch.setenv("JOULE_MONGODB_TIMEOUT_S", "0.3")
    assert "does not answer" in joule("drain", "--timeout", 0.5, code=4).stderr
