"""The verdict on a batch against a real ledger: the same when it is run again; late behind the watermark."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas import documents
from spark_jobs import accounts, receipts
from spark_jobs.books import LATE_KEYS_PER_FIND, Books
from spark_jobs.ledger import insert_new, late_row
from spark_jobs.sources import NODE, TRAINING
from spark_jobs.store import Address, Db
from tests.messages import AT, training
from tests.stream_steps import START_MS, WINDOW, WINDOW_MS, generation_of, message, row, task_of


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
