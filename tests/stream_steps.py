"""Small builders for the tests of the streaming job on a real document server."""

from __future__ import annotations

from typing import Any

import pytest

from conf.sections import Kafka
from spark_jobs import accounts, deadletters, verdict
from spark_jobs.books import WindowPage
from spark_jobs.deadletters import Message
from spark_jobs.generation import (
    Generation,
    WindowSettings,
    open_generation,
)
from spark_jobs.parts import Amounts, Parts
from spark_jobs.sources import TRAINING, Key, document_id
from spark_jobs.store import Address, Db, Doc
from spark_jobs.verdict import Task, Verdict
from tests.messages import AT, RECORDED_AT

START_MS = int(AT.timestamp() * 1000)
WINDOW_MS = 60_000
RUN = Key("run", "r")
WINDOW = document_id(RUN, START_MS)
KWH = Amounts({"n_events": 1.0, "energy_kwh": 0.5})


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


def row(i: str, **fields: Any) -> Doc:
    """A row of the ledger of training events."""
    ingest = {"topic": TRAINING.topic, "partition": 0, "offset": 0, "recorded_at": AT, "batch": 0}
    return {"_id": i, "run_id": "r", "timestamp": AT, "ingest": ingest, **fields}


def task_of(db: Db, monkeypatch: pytest.MonkeyPatch, address: Address) -> Task:
    """A task of the latched batch; dead letters stay here."""
    monkeypatch.setattr(deadletters, "send", lambda kafka, letters: None)
    monkeypatch.setattr(verdict, "_database", lambda address: db)
    return Task.open(Verdict("training", 0, address, Kafka(), WINDOW_MS), 0)


def page(parts: Parts) -> dict[str, WindowPage]:
    return {WINDOW: WindowPage(RUN, START_MS, parts)}
