"""What happens with a batch: Spark's windows become documents, the accounts move, the batch is settled.

Every step may be repeated: documents are set, never incremented, and the fence moves last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from threading import Event, RLock
from typing import Any

from pymongo.write_concern import WriteConcern
from pyspark.sql import DataFrame

from conf import logs
from schemas import documents
from schemas.errors import PipelineError
from spark_jobs import accounts, receipts
from spark_jobs.books import Books, RunPage, WindowPage
from spark_jobs.facets import merge
from spark_jobs.generation import Generation
from spark_jobs.holds import wait_while_held
from spark_jobs.ledger import SUMMARY_KEY
from spark_jobs.parts import Amounts, Moment
from spark_jobs.progress import batch_doc
from spark_jobs.receipts import Receipts
from spark_jobs.sources import Key, Source, document_id, parse_document_id
from spark_jobs.store import Db, Doc, Patience, Stopped, life_of
from spark_jobs.summaries import amounts_of_row

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Touched:
    """What a batch says of windows: Spark's sums by document, and which documents late events changed."""

    live: dict[str, tuple[Key, int, Amounts]] = field(default_factory=dict)
    late: tuple[str, ...] = ()

    @property
    def windows(self) -> list[str]:
        """Ids of all windows that the batch changes."""
        late = [key for key in self.late if not key.startswith(SUMMARY_KEY)]
        return sorted({*self.live, *late})


def touched_by(source: Source, rows: Sequence[Mapping[str, Any]], late_keys: Sequence[str]) -> Touched:
    """Gather Spark's output rows (of a node's window: one row per run besides) by document."""
    touched = Touched(late=tuple(late_keys))
    for row in rows:
        key = Key(row["dimension"], row["key"] or None)
        start_ms = row["start_ms"]
        i = document_id(key, start_ms)
        if row["run_id"] is None:
            amounts = amounts_of_row(row, source.sums)
        else:
            amounts = Amounts({}, {row["run_id"]: row["attributed_kwh"]})
        held = touched.live.get(i)
        touched.live[i] = (key, start_ms, amounts if held is None else held[2] + amounts)
    return touched


@dataclass(slots=True)
class BatchWriter:
    """The function that Spark calls with each batch. `busy` is held while a batch is under way."""

    db: Db
    source: Source
    generation: Generation
    books: Books
    stop: Event
    patience: Patience
    busy: RLock = field(default_factory=RLock)
    failure: Exception | None = None
    # As Spark last reported it: of this batch it says so a moment after the batch.
    lag: Doc = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    # What follows from a settled batch and never changes it: the forecasts.
    after_batch: Callable[[], None] = lambda: None
    # Unanswered calls of the store, as last reported.
    failures: int = 0
    # Only the first batch may have been tried before, and have receipts.
    first: bool = True

    def __call__(self, frame: DataFrame, batch: int) -> None:
        """Run one batch; an error ends the query and is kept in `failure`."""
        number = self.generation.first_batch + batch
        with self.busy, logs.fields(query=self.source.query, batch=number):
            try:
                self._run(frame, batch)
            except Exception as error:
                self.failure = error
                raise

    def _run(self, frame: DataFrame, batch: int) -> None:
        if self.stop.is_set():
            raise Stopped(f"query {self.source.query} was asked to stop before batch {batch}")
        began = time.monotonic()
        prefix = receipts.prefix_of(self.source.query, self.generation.number, batch)
        self.patience(lambda: self.generation.latch(batch))
        if self.first:
            self.patience(lambda: receipts.clear(self.db, prefix))
        self.first = False
        latched = time.monotonic()
        rows = [row.asDict() for row in frame.collect()]
        judged = time.monotonic()
        done = self.patience(lambda: receipts.read(self.db, prefix))
        touched = touched_by(self.source, rows, done.late_keys)
        if done.heads or rows:
            self.patience(lambda: wait_while_held(self.db, self.source.query, self.stop))
            self.patience(lambda: self._write_durably(touched, done, batch))
        written = time.monotonic()
        seconds = {
            "latch": latched - began,
            "verdict_and_windows": judged - latched,
            "documents": written - judged,
            "total": written - began,
        }
        self.patience(lambda: self._report(batch, done, seconds))
        if done.heads or rows:
            self.patience(lambda: self.generation.end_writing(batch))
            query, topic, epoch = self.source.query, self.source.topic, self.generation.epoch
            self.patience(partial(accounts.post, self.db, query, topic, done.heads, epoch))
        self.patience(lambda: self.generation.settle(batch, done.max_event_ms))
        self.patience(lambda: receipts.clear(self.db, prefix, durably=False))
        self.after_batch()

    def take_in(self, found: Receipts) -> None:
        """Write late sums and facets outside of a batch (before the first one)."""
        self._write_durably(touched_by(self.source, (), found.late_keys), found, -1)

    def _write_durably(self, touched: Touched, done: Receipts, batch: int) -> None:
        """Write the documents until they are in the journal.

        A lone server's journal is one sequence: a journaled write takes all before it along, unless the server
        ended in between, and another life of it answers.
        """
        while True:
            life = life_of(self.db)
            if batch >= 0:
                self.generation.begin_writing(batch)
            self._write(touched, done, batch)
            self.generation.flush()
            if life_of(self.db) == life:
                self.books.journaled()
                return

    def _write(self, touched: Touched, done: Receipts, batch: int) -> None:
        """Runs first: their summaries are what people watch."""
        now = self.generation.now(batch)
        if self.source.has_facets:
            self._write_runs(touched, done, now)
        self._write_windows(touched, now)

    def _write_windows(self, touched: Touched, now: Moment) -> None:
        collection = documents.NODE_WINDOWS if self.source.query == "node" else documents.WINDOWS
        ids = touched.windows
        stored = self.books.windows(collection, ids)
        late = self.books.late([key for key in touched.late if not key.startswith(SUMMARY_KEY)])
        settled = self.generation.done_by_generation()
        pages: dict[str, WindowPage] = {}
        for i in ids:
            parts = stored.get(i, EMPTY).into(now, settled)
            if i in touched.live:
                parts = replace(parts, live=_updated(parts.live, touched.live[i][2]))
            if i in late:
                parts = replace(parts, late=late[i])
            key, start_ms = touched.live[i][:2] if i in touched.live else parse_document_id(self.source, i)
            pages[i] = WindowPage(key, start_ms, parts)
        self.books.write_windows(collection, pages)

    def _write_runs(self, touched: Touched, done: Receipts, now: Moment) -> None:
        """Fold the windows of each touched run into its summary, with its late sum and its facets."""
        windows: dict[str, dict[int, Amounts]] = {}
        for key, start_ms, amounts in touched.live.values():
            if key.dimension == "run" and key.key is not None:
                windows.setdefault(key.key, {})[start_ms] = amounts
        late_keys = [key for key in touched.late if key.startswith(SUMMARY_KEY)]
        late = {key.removeprefix(SUMMARY_KEY): amounts for key, amounts in self.books.late(late_keys).items()}
        runs = sorted({*windows, *late, *done.facets})
        pages = self.books.runs(runs)
        settled = self.generation.done_by_generation()
        window_ms, watermark_ms = self.generation.settings.window_ms, self.generation.watermark_ms
        written: list[RunPage] = []
        for run in runs:
            page = pages[run]
            parts = page.parts.into(now, settled)
            fresh = page.parts.at is None or page.parts.at.generation != now.generation
            folded = (EMPTY_RUN.folded if fresh else page.folded).with_windows(
                windows.get(run, {}), watermark_ms, window_ms
            )
            parts = replace(parts, live=folded.total, late=late.get(run, parts.late))
            facets = merge(page.facets, done.facets.get(run, {}))
            written.append(RunPage(run, parts, folded, facets))
        self.books.write_runs(written)

    def _report(self, batch: int, done: Receipts, seconds: Mapping[str, float]) -> None:
        """Before the accounts move: run again after that, the batch counts nothing, and says nothing."""
        doc = self.lag | batch_doc(self.source.query, self.generation, batch, done, seconds, self.clock())
        doc["store_errors"], self.failures = self.patience.failures - self.failures, self.patience.failures
        again = batch <= self.generation.done
        change = {"$setOnInsert" if again else "$set": doc}
        # Not journaled: what follows is, and takes it along.
        progress = self.db.get_collection(documents.PROGRESS, write_concern=WriteConcern(w="majority"))
        progress.update_one({"_id": doc["_id"]}, change, upsert=True)

    def idle(self, work: Callable[[], None]) -> bool:
        """Do some work between two batches; False where a batch is under way or has failed."""
        if not self.busy.acquire(blocking=False):
            return False
        try:
            if self.failure is not None:
                return False
            work()
            return True
        finally:
            self.busy.release()


def _updated(held: Amounts, output: Amounts) -> Amounts:
    """Spark puts out what changed: a window's sums always, the energy of a run on it only when it grew."""
    return Amounts(output.sums or held.sums, {**held.runs, **output.runs})


EMPTY_RUN = RunPage("")
EMPTY = EMPTY_RUN.parts


def require_no_dropped_rows(query: str, dropped: int) -> None:
    """Raise PipelineError where Spark's watermark dropped rows: the verdict must have judged them late."""
    if dropped:
        raise PipelineError(
            f"query {query}: Spark dropped {dropped} rows that the verdict passed as new; nothing is lost "
            "(they are in the ledger): run `joule audit --repair` and report this"
        )
