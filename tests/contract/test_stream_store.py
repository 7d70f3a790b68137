"""The streaming job's steps on a real document server (the embedded one, or JOULE_TEST_MONGODB_URI)."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from conf.settings import load_settings
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import running
from joulestream.local.store import find_document_server, store_service
from schemas import documents
from schemas.identity import identity_ranges
from spark_jobs import accounts, holds, receipts, retention
from spark_jobs.books import LATE_KEYS_PER_FIND, Books
from spark_jobs.generation import (
    WindowSettings,
    newest_generation,
)
from spark_jobs.ledger import insert_new, late_row
from spark_jobs.parts import Moment, Parts
from spark_jobs.repairs import request_doc, run_requests
from spark_jobs.retention import Expiry
from spark_jobs.sources import NODE, TRAINING, Source
from spark_jobs.store import Address, Db, Patience, Stopped, connect, ensure_collections, scans_for_ranges
from tests.messages import AT, training
from tests.stream_steps import KWH, START_MS, WINDOW, WINDOW_MS, generation_of, message, page, task_of


def contract_of(db: Db) -> dict[str, Any]:
    """Names, indexes and options of all collections."""
    return {
        entry["name"]: (sorted(db[entry["name"]].index_information()), entry["options"])
        for entry in db.list_collections()
    }


def test_ensuring_the_collections_twice_changes_nothing(stream_db: Db) -> None:
    before = contract_of(stream_db)
    ensure_collections(stream_db, load_settings())
    assert contract_of(stream_db) == before
    assert before.keys() >= {collection.name for collection in documents.COLLECTIONS}


def test_indexes_of_earlier_versions_are_dropped_and_others_stay(stream_db: Db) -> None:
    summaries = stream_db[documents.RUN_SUMMARY]
    summaries.create_index([("user_id", 1), ("last_event_at", -1)])
    summaries.create_index([("project", 1)], name="of_theirs")
    ensure_collections(stream_db, load_settings())
    assert set(summaries.index_information()) == {"_id_", "last_event_at_-1", "of_theirs"}


@pytest.mark.parametrize("source", [TRAINING, NODE], ids=["training", "node"])
def test_a_range_of_identities_does_not_look_at_every_row(stream_db: Db, source: Source) -> None:
    """One run's rows are read without the others', whatever the server uses its index of `_id` for."""
    rows = [f"e|run-{run}|{place:03}" for run in range(9) for place in range(20)]
    assert insert_new(stream_db, source.ledger, [row(i, node_id="n") for i in rows]) == ([], {})
    low, high = identity_ranges("run-4")[0]
    query = {"_id": {"$gte": low, "$lt": high}}
    assert [doc["_id"] for doc in stream_db[source.ledger].find(query).sort("_id", 1)] == rows[80:100]
    assert not scans_for_ranges(stream_db, source.ledger)
    stats = stream_db.command("explain", {"find": source.ledger, "filter": query}, verbosity="executionStats")
    assert stats["executionStats"]["totalDocsExamined"] == 20


def test_a_server_that_uses_the_index_of_ids_gets_no_other(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_db.drop_collection(documents.NODE_METRICS)
    monkeypatch.setattr("spark_jobs.store.scans_for_ranges", lambda _db, _name: False)
    ensure_collections(stream_db, load_settings())
    assert set(stream_db[documents.NODE_METRICS].index_information()) == {"_id_", "node_ref_1"}


def ttl_of_windows(db: Db) -> Any:
    return db[documents.WINDOWS].index_information().get("window_end_ttl", {}).get("expireAfterSeconds")


def test_a_retention_may_be_set_changed_and_taken_back(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "is_embedded", lambda _db: False)
    for days, seconds in ((2, 172_800), (1, 86_400), (None, None)):
        ensure_collections(stream_db, load_settings({"stream.windows_retention_days": days}))
        assert ttl_of_windows(stream_db) == seconds


def test_the_embedded_server_gets_no_ttl_index_and_loses_those_of_earlier_versions(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"stream.windows_retention_days": 2})
    with monkeypatch.context() as patch:
        patch.setattr(retention, "is_embedded", lambda _db: False)
        ensure_collections(stream_db, settings)
        assert ttl_of_windows(stream_db) == 172_800
    monkeypatch.setattr(retention, "is_embedded", lambda _db: True)
    ensure_collections(stream_db, settings)
    assert ttl_of_windows(stream_db) is None


def test_what_has_expired_is_removed_and_the_rest_stays(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(timezone.utc)
    windows, progress = stream_db[documents.WINDOWS], stream_db[documents.PROGRESS]
    windows.insert_many([{"_id": days, "window_end": now - timedelta(days=days)} for days in (1, 3, 400)])
    progress.insert_many([{"_id": days, "at": now - timedelta(days=days)} for days in (6, 8)])
    monkeypatch.setattr(retention, "is_embedded", lambda _db: True)
    stop = threading.Event()
    stop.set()  # one turn
    Expiry(stream_db, load_settings({"stream.windows_retention_days": 2}), stop).run()
    assert [doc["_id"] for doc in windows.find()] == [1]
    assert [doc["_id"] for doc in progress.find()] == [6]
    Expiry(stream_db, load_settings(), stop).run()
    assert windows.count_documents({}) == 1  # no retention: for ever


def test_a_server_with_ttl_indexes_is_left_to_itself(stream_db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    stream_db[documents.PROGRESS].insert_one({"_id": 1, "at": datetime(2020, 1, 1, tzinfo=timezone.utc)})
    monkeypatch.setattr(retention, "is_embedded", lambda _db: False)
    Expiry(stream_db, load_settings(), threading.Event()).run()  # ends at once
    assert stream_db[documents.PROGRESS].count_documents({}) == 1


def row(i: str, **fields: Any) -> dict[str, Any]:
    """A ledger row."""
    ingest = {"topic": TRAINING.topic, "partition": 0, "offset": 0, "recorded_at": AT, "batch": 0}
    return {"_id": i, "run_id": "r", "timestamp": AT, "ingest": ingest, **fields}


def test_new_rows_go_in_beside_known_and_bad_ones(stream_db: Db) -> None:
    ledger = documents.TRAINING_METRICS
    assert insert_new(stream_db, ledger, [row("a")]) == ([], {})
    rows = [row("b"), row("a"), row("too-far", timestamp="words"), row("c")]
    present, refused = insert_new(stream_db, ledger, rows)
    assert present == ["a"]
    assert list(refused) == ["too-far"]
    assert sorted(doc["_id"] for doc in stream_db[ledger].find()) == ["a", "b", "c"]


def test_a_row_that_bson_refuses_does_not_fail_its_neighbours(stream_db: Db) -> None:
    rows = [row("a"), row("bad", sequence=2**64), row("c"), row("a")]
    present, refused = insert_new(stream_db, documents.TRAINING_METRICS, rows)
    assert present == ["a"]
    assert list(refused) == ["bad"]
    assert stream_db[documents.TRAINING_METRICS].count_documents({}) == 2


@pytest.mark.parametrize("code", [11600, 91, 189], ids=["interrupted", "shutting-down", "stepped-down"])
def test_a_servers_trouble_with_some_rows_is_an_outage_and_no_fault_of_theirs(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As a primary that steps down in the middle of a bulk write says it."""
    trouble = {"writeErrors": [{"index": 0, "code": code, "errmsg": "x"}], "writeConcernErrors": []}
    answers = [
        BulkWriteError(trouble),
        BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}),
    ]

    def insert_many(self: Collection[Any], rows: Any, **options: Any) -> None:
        if answers:
            raise answers.pop()

    monkeypatch.setattr(Collection, "insert_many", insert_many)
    patience = Patience(sleep=lambda seconds: None)
    assert patience(lambda: insert_new(stream_db, documents.TRAINING_METRICS, [row("a")])) == ([], {})
    assert not answers


def sums_of(*batches: pa.RecordBatch) -> dict[str, float]:
    """What a task hands on to Spark, added up."""
    rows = [row for batch in batches for row in batch.to_pylist()]
    return {name: sum(row[name] or 0.0 for row in rows) for name in ("n_events", "energy_kwh")}


def test_the_verdict_of_a_batch_is_the_same_when_it_is_run_again(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch, stream_address: Address
) -> None:
    generation = generation_of(stream_db)
    generation.latch(0)
    values = [
        training(event_id="1", energy_kwh=1.0),
        training(event_id="1", energy_kwh=1.0),
        training(event_id="1", energy_kwh=2.0),
        b"nonsense",
        training(event_id="2"),
    ]
    messages = [message(offset, value) for offset, value in enumerate(values)]
    first, again = (task_of(stream_db, monkeypatch, stream_address) for _ in range(2))
    made = sums_of(first.judge(messages))
    assert made == {"n_events": 2.0, "energy_kwh": 1.0}
    assert sums_of(again.judge(messages[:2]), again.judge(messages[2:])) == made
    for tally in (first.tally, again.tally):
        assert (tally.consumed, tally.accepted, tally.duplicate, tally.conflict) == (5, 2, 2, 1)
        assert tally.rejected == {"malformed_json": 1}
        assert (tally.first, tally.end) == (0, 5)
    assert [doc["_id"] for doc in stream_db[documents.REJECTED].find()] == [f"{TRAINING.topic}/0/3"]
    assert {doc["_id"] for doc in stream_db[documents.TRAINING_METRICS].find()} == {"e|r|1", "e|r|2"}


def test_a_batch_that_is_settled_counts_nothing_when_it_is_run_again(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch, stream_address: Address
) -> None:
    generation = generation_of(stream_db)
    generation.latch(0)
    messages = [message(0, training(event_id="1")), message(1, b"nonsense")]
    for _ in range(2):
        task = task_of(stream_db, monkeypatch, stream_address)
        made = task.judge(messages)
        task.write_receipt()
        found = receipts.read(stream_db, receipts.prefix_of("training", 0, 0))
        for head in found.heads:
            accounts.post(stream_db, "training", TRAINING.topic, [head], 1)
        assert made.num_rows == 1
    account = stream_db[documents.ACCOUNTS].find_one({"_id": f"{TRAINING.topic}/0"}) or {}
    assert (account["consumed"], account["accepted"], account["rejected"]) == (2, 1, {"malformed_json": 1})


def test_an_event_behind_the_watermark_is_late_and_stays_late(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch, stream_address: Address
) -> None:
    generation = generation_of(stream_db)
    generation.watermark_ms = START_MS + WINDOW_MS
    generation.latch(0)
    task = task_of(stream_db, monkeypatch, stream_address)
    assert task.judge([message(0, training(event_id="1", energy_kwh=0.25))]).num_rows == 0
    assert task.tally.late == task.tally.accepted == 1
    task.watermark_ms = None
    assert task.judge([message(0, training(event_id="1", energy_kwh=0.25))]).num_rows == 0
    late = Books(stream_db, 1, WINDOW_MS).late([WINDOW, "summary||r", "run|other|2024-03-01T12:00:00Z"])
    assert late[WINDOW].sums["energy_kwh"] == late["summary||r"].sums["energy_kwh"] == 0.25
    assert not late["run|other|2024-03-01T12:00:00Z"]


def test_a_row_of_ours_that_has_become_late_is_flagged_in_the_ledger(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch, stream_address: Address
) -> None:
    generation_of(stream_db).latch(0)
    task = task_of(stream_db, monkeypatch, stream_address)
    assert task.judge([message(0, training(event_id="1"))]).num_rows == 1
    task.watermark_ms = START_MS + WINDOW_MS
    assert task.judge([message(0, training(event_id="1"))]).num_rows == 0
    assert stream_db[documents.TRAINING_METRICS].count_documents({"late": True}) == 1
    assert stream_db[documents.LATE].count_documents({}) == 1


def test_messages_from_before_the_generation_contribute_nothing(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch, stream_address: Address
) -> None:
    generation_of(stream_db).latch(0)
    task = task_of(stream_db, monkeypatch, stream_address)
    task.start = 1
    assert task.judge([message(0, training(event_id="1")), message(1, training(event_id="2"))]).num_rows == 1
    assert [doc["_id"] for doc in stream_db[documents.TRAINING_METRICS].find()] == ["e|r|2"]


def test_a_hold_keeps_the_stream_waiting_until_it_is_released(stream_db: Db) -> None:
    released = Event()

    def wait() -> None:
        holds.wait_while_held(stream_db, "training", Event())
        released.set()

    with holds.hold(stream_db, ("training", "node")):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not released.wait(0.4)
    assert released.wait(5)
    thread.join()


def test_a_forgotten_hold_runs_out(stream_db: Db) -> None:
    past = datetime.now(timezone.utc) - timedelta(seconds=1)
    stream_db[documents.HOLDS].insert_one({"_id": "training", "until": past})
    holds.wait_while_held(stream_db, "training", Event())


def test_a_repair_sets_a_document_right_and_leaves_one_that_moved_on(stream_db: Db) -> None:
    generation_of(stream_db)
    generation = newest_generation(stream_db, "training", WindowSettings(60, 60))
    assert generation is not None
    books = Books(stream_db, 1, WINDOW_MS)
    books.write_windows(documents.WINDOWS, page(Parts(live=KWH, at=Moment(0, -1))))
    truth = {"live": KWH + KWH}
    stored = stream_db[documents.WINDOWS].find_one({"_id": WINDOW}) or {}
    for at, energy_kwh in (({"generation": 0, "batch": 5}, 0.5), (stored["parts"]["at"], 1.0)):
        stream_db[documents.REPAIRS].insert_one(
            request_doc("training", documents.WINDOWS, WINDOW, at, truth, None)
        )
        run_requests(stream_db, TRAINING, generation, books)
        assert (stream_db[documents.WINDOWS].find_one({"_id": WINDOW}) or {})["energy_kwh"] == energy_kwh
        assert stream_db[documents.REPAIRS].count_documents({}) == 0


def test_an_outage_of_the_server_is_waited_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server stops while rows are on their way: nothing is refused, nothing is lost, nothing is doubled."""
    service = store_service(tmp_path, any_free(), find_document_server(), tmp_path / "store.log")
    db = connect(Address.at(f"mongodb://{HOST}:{service.port}", "outage", 0.5))
    rows = [row(str(number)) for number in range(20)]
    patience = Patience(longest_s=0.2)
    with running(service):
        assert patience(lambda: insert_new(db, "ledger", rows[:10])) == ([], {})
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(patience(lambda: insert_new(db, "ledger", rows))))
    with caplog.at_level(logging.WARNING):
        waiting.start()
        waiting.join(2.5)
        assert waiting.is_alive()
        with running(service):
            waiting.join(20)
            assert db["ledger"].count_documents({}) == 20
    assert found == [([row["_id"] for row in rows[:10]], {})]
    said = [record.message.partition(" (")[0] for record in caplog.records]
    assert said == ["document store is away", "document store is back"]
    db.client.close()


def test_a_stop_ends_the_wait_for_a_server_that_is_away() -> None:
    db = connect(Address.at(f"mongodb://{HOST}:{any_free()}", "nowhere", 0.2))
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        Patience(stop)(lambda: db["ledger"].find_one({}))
    db.client.close()


def test_an_error_that_is_not_an_outage_is_raised_at_once(stream_db: Db) -> None:
    calls = []

    def wrong() -> None:
        calls.append(1)
        stream_db["x"].update_one({}, {"$nonsense": 1})

    with pytest.raises(Exception, match="nonsense"):
        Patience()(wrong)
    assert calls == [1]


def test_messages_of_a_run_and_a_node_of_one_name_do_not_meet(stream_db: Db) -> None:
    run = late_row(TRAINING, "e|x|1", {"run_id": "x", "timestamp": AT, "energy_kwh": 1.0}, WINDOW_MS)
    node = late_row(NODE, "e|x|1", {"node_id": "summary", "timestamp": AT, "cpu_energy_j": 3.6e6}, WINDOW_MS)
    assert insert_new(stream_db, documents.LATE, [run, node]) == ([], {})
    books = Books(stream_db, 1, WINDOW_MS)
    assert books.late(run["keys"])["summary||x"].sums["energy_kwh"] == 1.0
    assert books.late(node["keys"])[node["keys"][0]].sums["energy_kwh"] == 1.0


def test_late_sums_count_an_event_once_however_many_of_its_documents_are_asked_for(stream_db: Db) -> None:
    """The keys of one event fall into several finds."""
    keys = [f"run|r{n:03}|x" for n in range(3 * LATE_KEYS_PER_FIND)]
    stream_db[documents.LATE].insert_one({"_id": "training|e|r|1", "keys": keys, "sums": {"energy_kwh": 0.5}})
    found = Books(stream_db, 1, WINDOW_MS).late(keys)
    assert {key: amounts.sums for key, amounts in found.items()} == {key: {"energy_kwh": 0.5} for key in keys}
