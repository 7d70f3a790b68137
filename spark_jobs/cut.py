"""A cut: one place in every partition below which all is settled, in ledger, documents and accounts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from schemas import documents
from schemas.errors import RetryableError
from spark_jobs.parts import Moment
from spark_jobs.sources import Source
from spark_jobs.store import Db, Doc


@dataclass(frozen=True, slots=True)
class Cut:
    """Fences of a query's partitions, as of a settled batch. `start` is where its generation began."""

    generation: int
    done: int
    fences: Mapping[int, int]
    start: Mapping[int, int]
    settled: Mapping[int, int]
    accounts: tuple[Doc, ...] = field(default=(), repr=False)

    def holds(self, partition: int, offset: int) -> bool:
        """Whether a message is below the cut."""
        return offset < self.fences.get(partition, 0)

    def covers(self, at: Moment | None) -> bool:
        """Whether a document that was last written at this moment holds nothing from after the cut."""
        return at is None or at.batch <= {**self.settled, self.generation: self.done}.get(at.generation, -1)


def newest_generation(db: Db, query: str) -> Doc | None:
    """The newest generation's document, None before the first start."""
    return next(iter(db[documents.GENERATIONS].find({"query": query}).sort("number", -1).limit(1)), None)


def state_of(db: Db, query: str) -> tuple[int, int, int] | None:
    """(generation, settled batch, batch whose documents are being written)."""
    newest = newest_generation(db, query)
    return None if newest is None else (newest["number"], newest["done"], newest["writing"])


def read_cut(db: Db, source: Source, timeout_s: float = 30.0, pause_s: float = 0.05) -> Cut | None:
    """The cut of a query now; None before its first start.

    Raises RetryableError where no batch is settled within the time: the stream ended in the middle of one.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        before = state_of(db, source.query)
        if before is None:
            return None
        number, done, writing = before
        accounts = list(db[documents.ACCOUNTS].find({"topic": source.topic}))
        if writing == done and state_of(db, source.query) == before:
            generations = list(db[documents.GENERATIONS].find({"query": source.query}))
            newest = next(doc for doc in generations if doc["number"] == number)
            return Cut(
                number,
                done,
                {doc["partition"]: doc["next_offset"] for doc in accounts},
                {int(p): offset for p, offset in newest["start"].items()},
                {doc["number"]: doc["done"] for doc in generations if doc["number"] != number},
                tuple(accounts),
            )
        if time.monotonic() > deadline:
            raise RetryableError(
                f"query {source.query} is in the middle of batch {writing}; start the stream "
                "(`./joule up`), which finishes it, and try again"
            )
        time.sleep(pause_s)


def is_running(db: Db, query: str) -> bool:
    """Whether a process holds the query's lease and renews it."""
    lease = db[documents.LEASES].find_one({"_id": query})
    if lease is None or lease["state"] == "released":
        return False
    age_s = (datetime.now(timezone.utc) - lease["renewed_at"]).total_seconds()
    return bool(age_s < lease.get("seconds", 20.0))
