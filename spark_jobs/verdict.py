"""The verdict: each message becomes new, late, duplicate or rejected, before any window sees it.

Runs on the executors, one task per Kafka partition, in order of offset. The ledger's `_id` decides: a message
is accepted if and only if the row of its identity carries the message's own coordinates. The first insert
settles that for ever, so a retry, a replay or another split into batches gives the same verdict.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyspark import TaskContext

from conf.sections import Kafka
from schemas import documents, reasons
from schemas.errors import ContractError, PipelineError
from schemas.parse import Parsed, too_large
from schemas.times import to_ms
from spark_jobs import deadletters, receipts
from spark_jobs.arrow import contributions_batch
from spark_jobs.deadletters import DeadLetter, Message
from spark_jobs.facets import RunFacets
from spark_jobs.ledger import insert_new, late_row, same_content, same_place
from spark_jobs.receipts import Tally
from spark_jobs.sources import SOURCES, Source, window_start_ms
from spark_jobs.store import Address, Db, Doc, Patience, connect, find_by_ids

INSERT_ROWS = 1000


@lru_cache(maxsize=4)
def _database(address: Address) -> Db:
    return connect(address)


@dataclass(slots=True)
class Candidate:
    """A well-formed message on its way to the ledger."""

    message: Message
    parsed: Parsed
    window_end_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The function that Spark runs on a partition's Arrow batches. Picklable."""

    query: str
    generation: int
    address: Address
    kafka: Kafka
    window_ms: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Messages in, contributions of the new ones out; all else goes to the store."""
        task: Task | None = None
        for batch in batches:
            for part in range(0, batch.num_rows, INSERT_ROWS):
                messages = messages_of(SOURCES[self.query].topic, batch.slice(part, INSERT_ROWS))
                if task is None:
                    task = Task.open(self, messages[0].partition)
                yield task.judge(messages)
        if task is not None:
            task.write_receipt()


def messages_of(topic: str, batch: pa.RecordBatch) -> list[Message]:
    """The rows of an Arrow batch with INPUT_COLUMNS as messages."""
    columns = (batch.column(name).to_pylist() for name in INPUT_COLUMNS)
    return [Message(topic, *row) for row in zip(*columns, strict=True)]


INPUT_COLUMNS = ("partition", "offset", "timestamp", "key", "value", "length", "sha256")


@dataclass(slots=True)
class Task:
    """One task's work on one partition of one batch."""

    spec: Verdict
    source: Source
    db: Db
    batch: int
    watermark_ms: int | None
    start: int
    fence: int
    tally: Tally
    patience: Patience

    @classmethod
    def open(cls, spec: Verdict, partition: int) -> Task:
        """Read what the driver latched for this batch. Raises PipelineError for a task of another batch."""
        source, db = SOURCES[spec.query], _database(spec.address)
        # That the store is away is for the driver to say, once.
        patience = Patience(level=logging.DEBUG, mongodb=spec.address.mongodb)
        generation = patience(
            lambda: db[documents.GENERATIONS].find_one({"_id": f"{spec.query}|{spec.generation}"})
        )
        account = patience(lambda: db[documents.ACCOUNTS].find_one({"_id": f"{source.topic}/{partition}"}))
        if generation is None:
            raise PipelineError(f"generation {spec.query}|{spec.generation} is not in the store; start again")
        batch = generation["current"]["batch"]
        context = TaskContext.get()
        ours = context.getLocalProperty("streaming.sql.batchId") if context else None
        if ours is not None and int(ours) != batch:
            raise PipelineError(f"a task of batch {ours} met batch {batch}: another stream took over")
        start = generation["start"].get(str(partition), 0)
        fence = account["next_offset"] if account else 0
        return cls(
            spec,
            source,
            db,
            batch,
            generation["current"]["watermark_ms"],
            start,
            fence,
            Tally(partition),
            patience,
        )

    def judge(self, messages: Sequence[Message]) -> pa.RecordBatch:
        """The contributions of the new messages among these."""
        ours = [message for message in messages if message.offset >= self.start]
        self._note_range(messages)
        good, bad = self._parse(ours)
        candidates, repeats = self._first_of_each(good)
        new: list[Candidate] = []
        late: list[Candidate] = []
        known = self._insert(candidates, repeats, bad)
        for candidate in candidates.values():
            stored = known.get(candidate.parsed.identity)
            verdict = self._verdict(candidate, stored)
            if verdict is not None:
                (late if verdict else new).append(candidate)
        for candidate in repeats:
            identity = candidate.parsed.identity
            self._count_duplicate(candidate, known.get(identity) or candidates[identity].parsed.doc)
        self._keep_late(late)
        self._reject(bad)
        docs = [candidate.parsed.doc for candidate in new]
        return contributions_batch(self.source, docs, window_ms=self.spec.window_ms)

    def _note_range(self, messages: Sequence[Message]) -> None:
        if self.tally.first is None:
            self.tally.first = messages[0].offset
        self.tally.end = messages[-1].offset + 1

    def _counts(self, message: Message) -> bool:
        return message.offset >= self.fence

    def _parse(self, messages: Iterable[Message]) -> tuple[list[Candidate], list[DeadLetter]]:
        good: list[Candidate] = []
        bad: list[DeadLetter] = []
        window_ms = self.spec.window_ms
        for message in messages:
            self.tally.consumed += self._counts(message)
            try:
                _too_large(message)
                parsed = self.source.parse(message.value or b"", message.recorded_at)
            except ContractError as error:
                bad.append(DeadLetter(message, error))
            else:
                end_ms = window_start_ms(parsed.doc["timestamp"], window_ms) + window_ms
                good.append(Candidate(message, parsed, end_ms))
        return good, bad

    def _first_of_each(self, good: Iterable[Candidate]) -> tuple[dict[str, Candidate], list[Candidate]]:
        first: dict[str, Candidate] = {}
        repeats = []
        for candidate in good:
            if first.setdefault(candidate.parsed.identity, candidate) is not candidate:
                repeats.append(candidate)
        return first, repeats

    def _row(self, candidate: Candidate) -> Doc:
        message = candidate.message
        ingest = {
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
            "recorded_at": message.recorded_at,
            "batch": self.batch,
        }
        row = {"_id": candidate.parsed.identity, **candidate.parsed.doc, "ingest": ingest}
        if self._is_late(candidate):
            row["late"] = True
        return row

    def _is_late(self, candidate: Candidate) -> bool:
        return self.watermark_ms is not None and candidate.window_end_ms <= self.watermark_ms

    def _insert(
        self, candidates: dict[str, Candidate], repeats: list[Candidate], bad: list[DeadLetter]
    ) -> dict[str, Doc]:
        """Insert what is not known; return the stored rows of what is. Below the fence: look first."""
        ledger = self.db[self.source.ledger]
        below = [i for i, c in candidates.items() if not self._counts(c.message)]
        known = {row["_id"]: row for row in self.patience(lambda: list(find_by_ids(ledger, below)))}
        rows = [self._row(c) for i, c in candidates.items() if i not in known]
        present, refused = self.patience(lambda: insert_new(self.db, self.source.ledger, rows, checked=True))
        for identity, why in refused.items():
            error = ContractError(reasons.NOT_STORABLE, f"the store refused the document: {why}")
            again = [c for c in repeats if c.parsed.identity == identity]
            bad.extend(DeadLetter(c.message, error) for c in (candidates.pop(identity), *again))
            repeats[:] = [c for c in repeats if c not in again]
        for row in self.patience(lambda: list(find_by_ids(ledger, present))):
            known[row["_id"]] = row
        return known

    def _verdict(self, candidate: Candidate, stored: Doc | None) -> bool | None:
        """True for late, False for new, None for a duplicate. A stored `late` stays."""
        message = candidate.message
        counts = self._counts(message)
        if stored is not None and not same_place(stored["ingest"], message):
            self._count_duplicate(candidate, stored)
            return None
        late = self._is_late(candidate)
        if stored is not None and (late or stored.get("late")):
            if not stored.get("late"):
                mark = {"$set": {"late": True}}
                self.patience(
                    lambda: self.db[self.source.ledger].update_one({"_id": candidate.parsed.identity}, mark)
                )
            late = True
        self.tally.accepted += counts
        self.tally.late += late and counts
        self._note_event(candidate, late)
        return late

    def _note_event(self, candidate: Candidate, late: bool) -> None:
        doc = candidate.parsed.doc
        if not late:
            event_ms = to_ms(doc["timestamp"])
            if self.tally.max_event_ms is None or event_ms > self.tally.max_event_ms:
                self.tally.max_event_ms = event_ms
        if self.source.has_facets:
            owner = doc[self.source.owner]
            facets = self.tally.facets.get(owner)
            if facets is None:
                facets = self.tally.facets[owner] = RunFacets()
            facets.add(candidate.parsed.identity, doc)

    def _count_duplicate(self, candidate: Candidate, stored: Mapping[str, Any]) -> None:
        if self._counts(candidate.message):
            self.tally.duplicate += 1
            self.tally.conflict += not same_content(stored, candidate.parsed.doc)

    def _keep_late(self, late: Sequence[Candidate]) -> None:
        if not late:
            return
        rows = []
        for candidate in late:
            row = late_row(self.source, candidate.parsed.identity, candidate.parsed.doc, self.spec.window_ms)
            self.tally.late_keys.update(row["keys"])
            rows.append(row)
        self.patience(lambda: insert_new(self.db, documents.LATE, rows))

    def _reject(self, bad: Sequence[DeadLetter]) -> None:
        if not bad:
            return
        now = datetime.now(timezone.utc)
        self.patience(lambda: insert_new(self.db, documents.REJECTED, [letter.to_doc(now) for letter in bad]))
        fresh = [letter for letter in bad if self._counts(letter.message)]
        for letter in fresh:
            self.tally.rejected[letter.error.code] = self.tally.rejected.get(letter.error.code, 0) + 1
        deadletters.send(self.spec.kafka, fresh)

    def write_receipt(self) -> None:
        """Tell the driver what this task did; a retry replaces it."""
        prefix = receipts.prefix_of(self.spec.query, self.spec.generation, self.batch)
        self.patience(lambda: receipts.write(self.db, prefix, self.tally))


def _too_large(message: Message) -> None:
    """Raise ContractError for a message whose bytes Spark cut because there are too many."""
    if message.sha256 is not None:
        raise too_large(message.length)
