"""What makes the stream wait or interrupts it: outages, holds, and requests to set a document right."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from joulestream.local.ports import HOST, any_free
from joulestream.local.process import running
from joulestream.local.store import find_document_server, store_service
from schemas import documents
from spark_jobs import holds
from spark_jobs.books import Books
from spark_jobs.generation import (
    WindowSettings,
    newest_generation,
)
from spark_jobs.ledger import insert_new
from spark_jobs.parts import Moment, Parts
from spark_jobs.repairs import request_doc, run_requests
from spark_jobs.sources import TRAINING
from spark_jobs.store import Address, Db, Patience, Stopped, connect
from tests.stream_steps import KWH, WINDOW, WINDOW_MS, generation_of, page, row


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


def test_a_hold_keeps_the_stream_waiting_until_it_is_released(stream_db: Db) -> None:
    released = Event()

    def wait() -> None:
        holds.wait_while_held(stream_db, "training", Event())
        released.set()

    with holds.hold(stream_db, ("training", "node")):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not released.wait(0.4)
    assert released.wait(60)
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
            waiting.join(60)
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
