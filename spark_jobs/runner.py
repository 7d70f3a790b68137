"""One query's life: open its generation, start it, watch it, start it again after an outage, stop it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

from pymongo.errors import PyMongoError
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from conf.settings import Settings
from conf.trouble import RIGHTS
from schemas.errors import PipelineError
from spark_jobs import accounts, io, offsets, recovery, transforms
from spark_jobs.beside import Beside
from spark_jobs.books import Books
from spark_jobs.forecast.models.in_use import Models
from spark_jobs.forecast.wiring import followers_of
from spark_jobs.generation import CheckpointMismatchError, Generation, WindowSettings, open_generation
from spark_jobs.lease import Lease
from spark_jobs.progress import LAG, add_spark_figures
from spark_jobs.repairs import run_requests
from spark_jobs.sources import Source
from spark_jobs.store import Address, Db, Patience, is_away
from spark_jobs.verdict import Verdict
from spark_jobs.writer import BatchWriter, require_no_dropped_rows

log = logging.getLogger(__name__)

STARTS_WITHOUT_PROGRESS = 5
# How long their last turn may take when the query ends.
FOLLOWERS_STOP_S = 20.0

# What Spark's and Kafka's messages say when messages are gone, when a disk is full, when the broker is away.
_LOST = ("KAFKA_DATA_LOSS", "OffsetOutOfRange", "may have been lost", "data was aged out", "was changed from")
_FULL = "No space left on device"
_AWAY = (
    "org.apache.kafka.common.errors.TimeoutException",
    "org.apache.kafka.common.errors.DisconnectException",
    "org.apache.kafka.common.errors.NetworkException",
    "java.util.concurrent.TimeoutException",
    "Cannot fetch record for offset",
    "TimeoutException: Timeout",
    "LeaderNotAvailable",
    "NotLeaderOrFollower",
    "UnknownTopicOrPartition",
)
# And when it does not let us in (any more): a password that was changed, a certificate that has expired.
_REFUSED = ("SaslAuthenticationException", "SslAuthenticationException", "AuthorizationException")


@dataclass(slots=True)
class Runner:
    """A source's query and all that belongs to it."""

    spark: SparkSession
    settings: Settings
    source: Source
    db: Db
    lease: Lease
    stop: Event
    patience: Patience
    query: StreamingQuery | None = None
    writer: BatchWriter | None = None
    seen_at: str = ""
    starts: int = 0
    generation: Generation | None = field(default=None)
    models: Models | None = None
    beside: Beside | None = None

    def start(self, force_new: bool = False) -> None:
        """Open the generation and start Spark's query. Raises PipelineError."""
        io.require_writable(self.spark, self.settings.checkpoint_root)
        generation = self.patience(lambda: self._open(force_new))
        books = Books(self.db, self.lease.epoch, generation.settings.window_ms)
        self.writer = BatchWriter(self.db, self.source, generation, books, self.stop, self.patience)
        self._follow(books, self.writer)
        self.patience(partial(self._adopt, self.writer))
        self.generation = generation
        self.query = io.write_batches(
            self._frame(generation),
            self.writer,
            self.source,
            self._checkpoint(generation.number),
            self.settings.stream.trigger_s,
        )
        self.starts += 1
        log.info("query %s runs as generation %d", self.source.query, generation.number)

    def _follow(self, books: Books, writer: BatchWriter) -> None:
        """Let the forecasts follow what is written."""
        if self.models is None:
            return
        if self.beside is not None:
            self.beside.end(FOLLOWERS_STOP_S)
        query, epoch = self.source.query, self.lease.epoch
        self.beside = Beside(
            query, followers_of(query, self.db, self.settings, self.models, books.window_ms, epoch)
        )
        books.on_written, writer.after_batch = self.beside.written, self.beside.settled
        self.beside.start()

    def _open(self, force_new: bool) -> Generation:
        stream = self.settings.stream
        return open_generation(
            self.db,
            self.source.query,
            self.source.topic,
            WindowSettings(stream.window_s, stream.watermark_s),
            lambda number: io.path_exists(self.spark, self._checkpoint(number)),
            self._start_offsets,
            self.lease.epoch,
            force_new,
        )

    def _start_offsets(self) -> Mapping[int, int]:
        kafka, topic = self.settings.kafka, self.source.topic
        first = offsets.patiently(lambda: offsets.earliest(kafka, topic), self.stop)
        last = offsets.patiently(lambda: offsets.latest(kafka, topic), self.stop)
        return recovery.start_offsets(self.db, self.source, first, last)

    def _adopt(self, writer: BatchWriter) -> None:
        generation = writer.generation
        found, heads = recovery.adopt_lost(
            self.db, self.source, generation.settings.window_ms, generation.start
        )
        if heads:
            writer.take_in(found)
            accounts.post(self.db, self.source.query, self.source.topic, heads, self.lease.epoch)

    def _frame(self, generation: Generation) -> Any:
        stream, source = self.settings.stream, self.source
        verdict = Verdict(
            source.query,
            generation.number,
            Address.of(self.settings),
            self.settings.kafka,
            generation.settings.window_ms,
        )
        records = io.read_topic(self.spark, self.settings, source.topic, generation.start)
        new = transforms.judged(transforms.bounded(records), source, verdict)
        timely = transforms.watermarked(new, stream.watermark_s)
        return transforms.windows(transforms.by_dimension(timely, source), source, stream.window_s)

    def _checkpoint(self, number: int) -> str:
        return f"{self.settings.checkpoint_root.rstrip('/')}/{self.source.query}/{number}"

    def watch(self) -> None:
        """Note progress, run repairs, start again after an outage. Raises PipelineError at its death."""
        assert self.query is not None  # noqa: S101 - start() comes first
        assert self.writer is not None  # noqa: S101
        if not self.query.isActive:
            self._ended()
            return
        self._note_news(self.query)
        self.writer.idle(partial(self._between_batches, self.writer))

    def _note_news(self, query: StreamingQuery) -> None:
        """Note what Spark has reported since. All that it keeps is asked for only where the last is new."""
        newest = query.lastProgress
        if newest is not None and newest["timestamp"] > self.seen_at:
            for progress in query.recentProgress:
                self._note_progress(progress)

    def _between_batches(self, writer: BatchWriter) -> None:
        """Repairs that were asked for."""
        self.patience(lambda: run_requests(self.db, self.source, writer.generation, writer.books))
        writer.after_batch()

    def _note_progress(self, progress: Any) -> None:
        """Spark reports each batch, and every ten seconds that nothing came."""
        as_json = json.loads(progress.json) if hasattr(progress, "json") else progress
        if self.generation is None or as_json["timestamp"] <= self.seen_at:
            return
        self.seen_at = as_json["timestamp"]
        self.starts = 1
        figures = self.patience(
            partial(add_spark_figures, self.db, self.source.query, self.generation, as_json)
        )
        if self.writer is not None:
            self.writer.lag = {name: figures[name] for name in LAG}
        require_no_dropped_rows(self.source.query, figures.get("dropped_by_watermark", 0))

    def _ended(self) -> None:
        """Say why the query ended, and start it again where that can help."""
        if self.stop.is_set():
            return
        failure = self.writer.failure if self.writer else None
        text = _why(self.query)
        if isinstance(failure, CheckpointMismatchError):
            log.warning("%s", failure)
            self.start(force_new=True)
        elif isinstance(failure, PipelineError):
            raise failure
        elif any(word in text for word in _LOST):
            log.warning(
                "query %s: Kafka lost messages before they were read; a new generation", self.source.query
            )
            self.start(force_new=True)
        elif any(word in text for word in (*_AWAY, *_REFUSED)) and self.starts <= STARTS_WITHOUT_PROGRESS:
            self._wait_for_kafka(text)
            self.start()
        else:
            raise self._death(text)

    def _wait_for_kafka(self, text: str) -> None:
        """Until the broker answers us again; what it says meanwhile is said, once."""
        how = "does not let us in" if any(word in text for word in _REFUSED) else "is away"
        log.warning("query %s: Kafka %s; it goes on when the broker is back", self.source.query, how)
        kafka, topic = self.settings.kafka, self.source.topic
        offsets.patiently(lambda: offsets.latest(kafka, topic), self.stop)

    def _death(self, text: str) -> PipelineError:
        query, denied = self.source.query, re.search(r"Not authorized to access (?:topics|group): \S+", text)
        if denied is None:
            return PipelineError(f"query {query} died: {text[:2000]}")
        return PipelineError(f"query {query}: Kafka says {denied[0]!r} to our user; grant it: {RIGHTS}")

    def close(self, patience_s: float = 60.0) -> None:
        """Stop after the batch under way, and give the lease back."""
        if self.writer is not None and self.writer.busy.acquire(timeout=patience_s):
            self.writer.busy.release()
        if self.query is not None and self.query.isActive:
            self.query.stop()
        if self.beside is not None:
            self.beside.end(FOLLOWERS_STOP_S)
        try:
            self.lease.release()
        except PyMongoError as error:
            if not is_away(error):
                raise
            log.warning("query %s: the store is away, so its lease runs out by itself", self.source.query)
        log.info("query %s stopped", self.source.query)


def _why(query: StreamingQuery | None) -> str:
    """All that Spark says of a query's end."""
    error: StreamingQueryException | None = query.exception() if query is not None else None
    if error is None:
        return "it ended without an error"
    return str(error)
