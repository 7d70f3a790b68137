"""The streaming job's steps on a real document server (the embedded one, or JOULE_TEST_MONGODB_URI)."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from conf.settings import load_settings
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import running
from joulestream.local.store import find_document_server, store_service
from schemas import documents
from schemas.errors import PipelineError
from spark_jobs import accounts, deadletters, holds, receipts, verdict
from spark_jobs.books import Books, RunPage, WindowPage
from spark_jobs.deadletters import Message
from spark_jobs.generation import (
    CheckpointMismatchError,
    Generation,
    WindowSettings,
    newest_generation,
    open_generation,
)
from spark_jobs.lease import LeaseLostError, acquire
from spark_jobs.ledger import insert_new, late_row
from spark_jobs.parts import Amounts, Moment, Parts
from spark_jobs.repairs import request_doc, run_requests
from spark_jobs.sources import NODE, TRAINING, Key, document_id
from spark_jobs.store import Address, Db, Patience, Stopped, connect, ensure_collections
from spark_jobs.verdict import Task, Verdict
from tests.messages import AT, RECORDED_AT, training

START_MS = int(AT.timestamp() * 1000)
WINDOW_MS = 60_000
RUN = Key("run", "r")
WINDOW = document_id(RUN, START_MS)
KWH = Amounts({"n_events": 1.0, "energy_kwh": 0.5})


@pytest.fixture
def address(mongodb_uri: str) -> Iterator[Address]:
    """A database of its own, removed afterwards."""
    made = Address(mongodb_uri, f"joule_test_{uuid.uuid4().hex[:12]}", 5.0)
    yield made
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(made.database)


@pytest.fixture
def db(address: Address) -> Iterator[Db]:
    """The database with the contract's collections."""
    made = connect(address)
    ensure_collections(made, load_settings())
    yield made
    made.client.close()


def contract_of(db: Db) -> dict[str, Any]:
    """Names, indexes and options of all collections."""
    return {
        entry["name"]: (sorted(db[entry["name"]].index_information()), entry["options"])
        for entry in db.list_collections()
    }


def test_ensuring_the_collections_twice_changes_nothing(db: Db) -> None:
    before = contract_of(db)
    ensure_collections(db, load_settings())
    assert contract_of(db) == before
    assert before.keys() >= {collection.name for collection in documents.COLLECTIONS}


def test_a_retention_may_be_set_changed_and_taken_back(db: Db) -> None:
    def ttl() -> Any:
        return db[documents.WINDOWS].index_information().get("window_end_ttl", {}).get("expireAfterSeconds")

    for days, seconds in ((2, 172_800), (1, 86_400), (None, None)):
        ensure_collections(db, load_settings({"stream.windows_retention_days": days}))
        assert ttl() == seconds


def row(i: str, **fields: Any) -> dict[str, Any]:
    """A ledger row."""
    ingest = {"topic": TRAINING.topic, "partition": 0, "offset": 0, "recorded_at": AT, "batch": 0}
    return {"_id": i, "run_id": "r", "timestamp": AT, "ingest": ingest, **fields}


def test_new_rows_go_in_beside_known_and_bad_ones(db: Db) -> None:
    ledger = documents.TRAINING_METRICS
    assert insert_new(db, ledger, [row("a")]) == ([], {})
    rows = [row("b"), row("a"), row("too-far", timestamp="words"), row("c")]
    present, refused = insert_new(db, ledger, rows)
    assert present == ["a"]
    assert list(refused) == ["too-far"]
    assert sorted(doc["_id"] for doc in db[ledger].find()) == ["a", "b", "c"]


def test_a_row_that_bson_refuses_does_not_fail_its_neighbours(db: Db) -> None:
    rows = [row("a"), row("bad", sequence=2**64), row("c"), row("a")]
    present, refused = insert_new(db, documents.TRAINING_METRICS, rows)
    assert present == ["a"]
    assert list(refused) == ["bad"]
    assert db[documents.TRAINING_METRICS].count_documents({}) == 2


@pytest.mark.parametrize("code", [11600, 91, 189], ids=["interrupted", "shutting-down", "stepped-down"])
def test_a_servers_trouble_with_some_rows_is_an_outage_and_no_fault_of_theirs(
    db: Db, monkeypatch: pytest.MonkeyPatch, code: int
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
    assert patience(lambda: insert_new(db, documents.TRAINING_METRICS, [row("a")])) == ([], {})
    assert not answers


def generation_of(db: Db, epoch: int = 1, exists: bool = False, watermark_s: int = 60) -> Generation:
    """The training query's generation, opened on one partition."""
    accounts.open_accounts(db, "training", TRAINING.topic, {0: 0})
    return open_generation(
        db,
        "training",
        TRAINING.topic,
        WindowSettings(60, watermark_s),
        lambda number: exists,
        lambda: accounts.fences(db, TRAINING.topic),
        epoch,
    )


def message(offset: int, value: bytes) -> Message:
    return Message(TRAINING.topic, 0, offset, RECORDED_AT, b"r", value, len(value), None)


def task_of(db: Db, monkeypatch: pytest.MonkeyPatch, address: Address) -> Task:
    """A task of the latched batch; dead letters stay here."""
    monkeypatch.setattr(deadletters, "send", lambda bootstrap, letters: None)
    monkeypatch.setattr(verdict, "_database", lambda address: db)
    return Task.open(Verdict("training", 0, address, "", WINDOW_MS), 0)


def test_the_verdict_of_a_batch_is_the_same_when_it_is_run_again(
    db: Db, monkeypatch: pytest.MonkeyPatch, address: Address
) -> None:
    generation = generation_of(db)
    generation.latch(0)
    values = [
        training(event_id="1", energy_kwh=1.0),
        training(event_id="1", energy_kwh=1.0),
        training(event_id="1", energy_kwh=2.0),
        b"nonsense",
        training(event_id="2"),
    ]
    messages = [message(offset, value) for offset, value in enumerate(values)]
    first, again = (task_of(db, monkeypatch, address) for _ in range(2))
    made = first.judge(messages)
    assert again.judge(messages[:2]).to_pylist() + again.judge(messages[2:]).to_pylist() == made.to_pylist()
    for tally in (first.tally, again.tally):
        assert (tally.consumed, tally.accepted, tally.duplicate, tally.conflict) == (5, 2, 2, 1)
        assert tally.rejected == {"malformed_json": 1}
        assert (tally.first, tally.end) == (0, 5)
    assert [doc["_id"] for doc in db[documents.REJECTED].find()] == [f"{TRAINING.topic}/0/3"]
    assert {doc["_id"] for doc in db[documents.TRAINING_METRICS].find()} == {"e|r|1", "e|r|2"}


def test_a_batch_that_is_settled_counts_nothing_when_it_is_run_again(
    db: Db, monkeypatch: pytest.MonkeyPatch, address: Address
) -> None:
    generation = generation_of(db)
    generation.latch(0)
    messages = [message(0, training(event_id="1")), message(1, b"nonsense")]
    for _ in range(2):
        task = task_of(db, monkeypatch, address)
        made = task.judge(messages)
        task.write_receipt()
        found = receipts.read(db, receipts.prefix_of("training", 0, 0))
        for head in found.heads:
            accounts.post(db, "training", TRAINING.topic, head, 1)
        assert made.num_rows == 1
    account = db[documents.ACCOUNTS].find_one({"_id": f"{TRAINING.topic}/0"}) or {}
    assert (account["consumed"], account["accepted"], account["rejected"]) == (2, 1, {"malformed_json": 1})


def test_an_event_behind_the_watermark_is_late_and_stays_late(
    db: Db, monkeypatch: pytest.MonkeyPatch, address: Address
) -> None:
    generation = generation_of(db)
    generation.watermark_ms = START_MS + WINDOW_MS
    generation.latch(0)
    task = task_of(db, monkeypatch, address)
    assert task.judge([message(0, training(event_id="1", energy_kwh=0.25))]).num_rows == 0
    assert task.tally.late == task.tally.accepted == 1
    task.watermark_ms = None
    assert task.judge([message(0, training(event_id="1", energy_kwh=0.25))]).num_rows == 0
    late = Books(db, 1, WINDOW_MS).late([WINDOW, "summary||r", "run|other|2024-03-01T12:00:00Z"])
    assert late[WINDOW].sums["energy_kwh"] == late["summary||r"].sums["energy_kwh"] == 0.25
    assert not late["run|other|2024-03-01T12:00:00Z"]


def test_a_row_of_ours_that_has_become_late_is_flagged_in_the_ledger(
    db: Db, monkeypatch: pytest.MonkeyPatch, address: Address
) -> None:
    generation_of(db).latch(0)
    task = task_of(db, monkeypatch, address)
    assert task.judge([message(0, training(event_id="1"))]).num_rows == 1
    task.watermark_ms = START_MS + WINDOW_MS
    assert task.judge([message(0, training(event_id="1"))]).num_rows == 0
    assert db[documents.TRAINING_METRICS].count_documents({"late": True}) == 1
    assert db[documents.LATE].count_documents({}) == 1


def test_messages_from_before_the_generation_contribute_nothing(
    db: Db, monkeypatch: pytest.MonkeyPatch, address: Address
) -> None:
    generation_of(db).latch(0)
    task = task_of(db, monkeypatch, address)
    task.start = 1
    assert task.judge([message(0, training(event_id="1")), message(1, training(event_id="2"))]).num_rows == 1
    assert [doc["_id"] for doc in db[documents.TRAINING_METRICS].find()] == ["e|r|2"]


def test_a_lease_passes_on_when_it_is_given_back_and_not_before(db: Db) -> None:
    first = acquire(db, "training", 20, Event())
    stop = Event()
    waited = []

    def tick(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            first.release()

    second = acquire(db, "training", 20, stop, sleep=tick)
    assert (first.epoch, second.epoch, len(waited)) == (1, 2, 3)
    with pytest.raises(LeaseLostError):
        first.renew()
    second.renew()


def test_a_lease_that_is_not_renewed_runs_out(db: Db) -> None:
    acquire(db, "training", 20, Event())
    later = datetime.now(timezone.utc) + timedelta(seconds=21)
    assert acquire(db, "training", 20, Event(), now=lambda: later).epoch == 2


def test_a_renewal_does_not_say_that_a_query_runs(db: Db) -> None:
    lease = acquire(db, "training", 20, Event())
    lease.renew()
    assert (db[documents.LEASES].find_one({}) or {})["state"] == "starting"
    lease.renew("running")
    lease.renew()
    assert (db[documents.LEASES].find_one({}) or {})["state"] == "running"


@pytest.mark.parametrize("epoch", [1, 2], ids=["first-start", "after-one-that-ran-out"])
def test_two_processes_cannot_take_one_lease(db: Db, epoch: int) -> None:
    taken = []
    later = datetime.now(timezone.utc) + timedelta(seconds=21)
    if epoch == 2:
        acquire(db, "training", 20, Event())
    start = threading.Barrier(4)

    def take() -> None:
        start.wait()
        stop = Event()
        with suppress(PipelineError):  # asked to stop at its first wait
            got = acquire(db, "training", 20, stop, lambda: later, lambda seconds: stop.set())
            taken.append(got)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.epoch for lease in taken] == [epoch]


def page(parts: Parts) -> dict[str, WindowPage]:
    return {WINDOW: WindowPage(RUN, START_MS, parts)}


def test_a_writer_that_lost_its_lease_changes_no_document(db: Db) -> None:
    old, new = Books(db, 1, WINDOW_MS), Books(db, 2, WINDOW_MS)
    old.write_windows(documents.WINDOWS, page(Parts(live=KWH, at=Moment(0, 0))))
    new.write_windows(documents.WINDOWS, page(Parts(live=KWH + KWH, at=Moment(1, 0))))
    with pytest.raises(LeaseLostError):
        old.write_windows(documents.WINDOWS, page(Parts(live=KWH, at=Moment(0, 1))))
    new.write_runs([RunPage("r")])
    with pytest.raises(LeaseLostError):
        old.write_runs([RunPage("r")])
    stored = db[documents.WINDOWS].find_one({"_id": WINDOW}) or {}
    assert (stored["energy_kwh"], stored["writer"]) == (1.0, 2)


def test_a_process_that_opened_a_query_later_closes_accounts_and_generation_to_the_earlier(db: Db) -> None:
    old = generation_of(db, epoch=1)
    old.latch(0)
    new = generation_of(db, epoch=2)
    head = {"partition": 0, "first": 0, "end": 5, "rejected": {}, **dict.fromkeys(receipts.COUNTS, 5)}
    accounts.post(db, "training", TRAINING.topic, head, 1)
    assert accounts.fences(db, TRAINING.topic) == {0: 0}
    with pytest.raises(LeaseLostError):
        old.end_writing(0)
    accounts.post(db, "training", TRAINING.topic, head, 2)
    accounts.post(db, "training", TRAINING.topic, head, 2)
    assert accounts.fences(db, TRAINING.topic) == {0: 5}
    assert (db[documents.ACCOUNTS].find_one({}) or {})["accepted"] == 5
    assert new.number == 1


def test_a_batch_whose_documents_are_written_is_settled_by_the_next_process(
    db: Db, monkeypatch: pytest.MonkeyPatch, address: Address
) -> None:
    old = generation_of(db, epoch=1)
    old.latch(0)
    task = task_of(db, monkeypatch, address)
    task.judge([message(0, training(event_id="1")), message(1, b"")])
    task.write_receipt()
    old.begin_writing(0)
    old.end_writing(0)
    new = generation_of(db, epoch=2)
    assert new.start == accounts.fences(db, TRAINING.topic) == {0: 2}
    assert new.done_by_generation()[0] == 0
    assert new.watermark_ms == START_MS - 60_000


def test_a_checkpoint_of_another_time_is_not_taken_up(db: Db) -> None:
    generation = generation_of(db)
    generation.latch(0)
    generation.settle(0, None)
    for batch in (2, 7):
        with pytest.raises(CheckpointMismatchError):
            generation.latch(batch)
    generation.latch(1)
    with pytest.raises(CheckpointMismatchError):
        generation.latch(0)  # the store had begun batch 1


def test_a_folder_that_another_store_left_is_not_used(db: Db) -> None:
    accounts.open_accounts(db, "training", TRAINING.topic, {0: 0})
    made = open_generation(
        db, "training", TRAINING.topic, WindowSettings(60, 60), lambda number: number < 3, lambda: {0: 0}, 1
    )
    assert made.number == 3


def test_another_delay_begins_a_generation_that_inherits_the_watermark(db: Db) -> None:
    first = generation_of(db)
    first.latch(0)
    first.settle(0, START_MS)
    assert generation_of(db, 2, exists=True).number == 0
    third = generation_of(db, 3, exists=False, watermark_s=600)
    assert (third.number, third.watermark_ms, third.first_batch) == (1, START_MS - 60_000, 2)


def test_a_hold_keeps_the_stream_waiting_until_it_is_released(db: Db) -> None:
    released = Event()

    def wait() -> None:
        holds.wait_while_held(db, "training", Event())
        released.set()

    with holds.hold(db, ("training", "node")):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not released.wait(0.4)
    assert released.wait(5)
    thread.join()


def test_a_forgotten_hold_runs_out(db: Db) -> None:
    past = datetime.now(timezone.utc) - timedelta(seconds=1)
    db[documents.HOLDS].insert_one({"_id": "training", "until": past})
    holds.wait_while_held(db, "training", Event())


def test_a_repair_sets_a_document_right_and_leaves_one_that_moved_on(db: Db) -> None:
    generation_of(db)
    generation = newest_generation(db, "training", WindowSettings(60, 60))
    assert generation is not None
    books = Books(db, 1, WINDOW_MS)
    books.write_windows(documents.WINDOWS, page(Parts(live=KWH, at=Moment(0, -1))))
    truth = {"live": KWH + KWH}
    stored = db[documents.WINDOWS].find_one({"_id": WINDOW}) or {}
    for at, energy_kwh in (({"generation": 0, "batch": 5}, 0.5), (stored["parts"]["at"], 1.0)):
        db[documents.REPAIRS].insert_one(request_doc("training", documents.WINDOWS, WINDOW, at, truth, None))
        run_requests(db, TRAINING, generation, books)
        assert (db[documents.WINDOWS].find_one({"_id": WINDOW}) or {})["energy_kwh"] == energy_kwh
        assert db[documents.REPAIRS].count_documents({}) == 0


def test_an_outage_of_the_server_is_waited_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server stops while rows are on their way: nothing is refused, nothing is lost, nothing is doubled."""
    service = store_service(tmp_path, any_free(), find_document_server(), tmp_path / "store.log")
    db = connect(Address(f"mongodb://{HOST}:{service.port}", "outage", 0.5))
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
    db = connect(Address(f"mongodb://{HOST}:{any_free()}", "nowhere", 0.2))
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        Patience(stop)(lambda: db["ledger"].find_one({}))
    db.client.close()


def test_an_error_that_is_not_an_outage_is_raised_at_once(db: Db) -> None:
    calls = []

    def wrong() -> None:
        calls.append(1)
        db["x"].update_one({}, {"$nonsense": 1})

    with pytest.raises(Exception, match="nonsense"):
        Patience()(wrong)
    assert calls == [1]


def test_messages_of_a_run_and_a_node_of_one_name_do_not_meet(db: Db) -> None:
    run = late_row(TRAINING, "e|x|1", {"run_id": "x", "timestamp": AT, "energy_kwh": 1.0}, WINDOW_MS)
    node = late_row(NODE, "e|x|1", {"node_id": "summary", "timestamp": AT, "cpu_energy_j": 3.6e6}, WINDOW_MS)
    assert insert_new(db, documents.LATE, [run, node]) == ([], {})
    books = Books(db, 1, WINDOW_MS)
    assert books.late(run["keys"])["summary||x"].sums["energy_kwh"] == 1.0
    assert books.late(node["keys"])[node["keys"][0]].sums["energy_kwh"] == 1.0
