"""Leases, generations and accounts on a real document server: one writer, and what the next one finds."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from threading import Event

import pytest

from schemas import documents
from schemas.errors import PipelineError
from spark_jobs import accounts, receipts
from spark_jobs.books import Books, RunPage
from spark_jobs.generation import (
    CheckpointMismatchError,
    WindowSettings,
    open_generation,
)
from spark_jobs.lease import LeaseLostError, acquire
from spark_jobs.parts import Moment, Parts
from spark_jobs.sources import TRAINING
from spark_jobs.store import Address, Db
from tests.messages import training
from tests.stream_steps import KWH, START_MS, WINDOW, WINDOW_MS, generation_of, message, page, task_of


def test_a_lease_passes_on_when_it_is_given_back_and_not_before(stream_db: Db) -> None:
    first = acquire(stream_db, "training", 20, Event())
    stop = Event()
    waited = []

    def tick(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            first.release()

    second = acquire(stream_db, "training", 20, stop, sleep=tick)
    assert (first.epoch, second.epoch, len(waited)) == (1, 2, 3)
    with pytest.raises(LeaseLostError):
        first.renew()
    second.renew()


def test_a_lease_that_is_not_renewed_runs_out(stream_db: Db) -> None:
    acquire(stream_db, "training", 20, Event())
    later = datetime.now(timezone.utc) + timedelta(seconds=21)
    assert acquire(stream_db, "training", 20, Event(), now=lambda: later).epoch == 2


def test_a_renewal_does_not_say_that_a_query_runs(stream_db: Db) -> None:
    lease = acquire(stream_db, "training", 20, Event())
    lease.renew()
    assert (stream_db[documents.LEASES].find_one({}) or {})["state"] == "starting"
    lease.renew("running")
    lease.renew()
    assert (stream_db[documents.LEASES].find_one({}) or {})["state"] == "running"


@pytest.mark.parametrize("epoch", [1, 2], ids=["first-start", "after-one-that-ran-out"])
def test_two_processes_cannot_take_one_lease(stream_db: Db, epoch: int) -> None:
    taken = []
    later = datetime.now(timezone.utc) + timedelta(seconds=21)
    if epoch == 2:
        acquire(stream_db, "training", 20, Event())
    start = threading.Barrier(4)

    def take() -> None:
        start.wait()
        stop = Event()
        with suppress(PipelineError):  # asked to stop at its first wait
            got = acquire(stream_db, "training", 20, stop, lambda: later, lambda seconds: stop.set())
            taken.append(got)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.epoch for lease in taken] == [epoch]


def test_a_writer_that_lost_its_lease_changes_no_document(stream_db: Db) -> None:
    old, new = Books(stream_db, 1, WINDOW_MS), Books(stream_db, 2, WINDOW_MS)
    old.write_windows(documents.WINDOWS, page(Parts(live=KWH, at=Moment(0, 0))))
    new.write_windows(documents.WINDOWS, page(Parts(live=KWH + KWH, at=Moment(1, 0))))
    with pytest.raises(LeaseLostError):
        old.write_windows(documents.WINDOWS, page(Parts(live=KWH, at=Moment(0, 1))))
    new.write_runs([RunPage("r")])
    with pytest.raises(LeaseLostError):
        old.write_runs([RunPage("r")])
    stored = stream_db[documents.WINDOWS].find_one({"_id": WINDOW}) or {}
    assert (stored["energy_kwh"], stored["writer"]) == (1.0, 2)


def test_a_process_that_opened_a_query_later_closes_accounts_and_generation_to_the_earlier(
    stream_db: Db,
) -> None:
    old = generation_of(stream_db, epoch=1)
    old.latch(0)
    new = generation_of(stream_db, epoch=2)
    head = {"partition": 0, "first": 0, "end": 5, "rejected": {}, **dict.fromkeys(receipts.COUNTS, 5)}
    accounts.post(stream_db, "training", TRAINING.topic, [head], 1)
    assert accounts.fences(stream_db, TRAINING.topic) == {0: 0}
    with pytest.raises(LeaseLostError):
        old.end_writing(0)
    accounts.post(stream_db, "training", TRAINING.topic, [head], 2)
    accounts.post(stream_db, "training", TRAINING.topic, [head], 2)
    assert accounts.fences(stream_db, TRAINING.topic) == {0: 5}
    assert (stream_db[documents.ACCOUNTS].find_one({}) or {})["accepted"] == 5
    assert new.number == 1


def test_a_batch_whose_documents_are_written_is_settled_by_the_next_process(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch, stream_address: Address
) -> None:
    old = generation_of(stream_db, epoch=1)
    old.latch(0)
    task = task_of(stream_db, monkeypatch, stream_address)
    task.judge([message(0, training(event_id="1")), message(1, b"")])
    task.write_receipt()
    old.begin_writing(0)
    old.end_writing(0)
    new = generation_of(stream_db, epoch=2)
    assert new.start == accounts.fences(stream_db, TRAINING.topic) == {0: 2}
    assert new.done_by_generation()[0] == 0
    assert new.watermark_ms == START_MS - 60_000


def test_a_checkpoint_of_another_time_is_not_taken_up(stream_db: Db) -> None:
    generation = generation_of(stream_db)
    generation.latch(0)
    generation.settle(0, None)
    for batch in (2, 7):
        with pytest.raises(CheckpointMismatchError):
            generation.latch(batch)
    generation.latch(1)
    with pytest.raises(CheckpointMismatchError):
        generation.latch(0)  # the store had begun batch 1


def test_a_folder_that_another_store_left_is_not_used(stream_db: Db) -> None:
    accounts.open_accounts(stream_db, "training", TRAINING.topic, {0: 0})
    made = open_generation(
        stream_db,
        "training",
        TRAINING.topic,
        WindowSettings(60, 60),
        lambda number: number < 3,
        lambda: {0: 0},
        1,
    )
    assert made.number == 3


def test_another_delay_begins_a_generation_that_inherits_the_watermark(stream_db: Db) -> None:
    first = generation_of(stream_db)
    first.latch(0)
    first.settle(0, START_MS)
    assert generation_of(stream_db, 2, exists=True).number == 0
    third = generation_of(stream_db, 3, exists=False, watermark_s=600)
    assert (third.number, third.watermark_ms, third.first_batch) == (1, START_MS - 60_000, 2)
