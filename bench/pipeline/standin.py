"""What the stream does without a store: parsing alone, and the verdict with a dictionary for the ledger.

Both run the project's own code on the workers; only what would talk to the store is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from schemas.derive import spark_schema
from schemas.errors import ContractError
from schemas.events import TrainingEvent
from schemas.parse import parse_training
from spark_jobs.deadletters import DeadLetter
from spark_jobs.ledger import same_place
from spark_jobs.receipts import Tally
from spark_jobs.sources import TRAINING
from spark_jobs.store import Doc, Patience
from spark_jobs.verdict import INSERT_ROWS, Candidate, Task, Verdict, messages_of

FREE = ("hyperparameters", "extra")  # objects of any shape travel as JSON

# A worker's memory of what it has seen, for as long as the worker lives: identity -> coordinates.
_SEEN: dict[str, Doc] = {}

_ARROW: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "double": pa.float64(),
    "long": pa.int64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "array<string>": pa.list_(pa.string()),
}


def parsed_columns() -> dict[str, str]:
    """What parsing hands to Spark: every field of the contract by its Spark type, and what else there was."""
    fields = {field["name"]: field["type"] for field in spark_schema(TrainingEvent)["fields"]}
    flat = {name: kind if isinstance(kind, str) else "array<string>" for name, kind in fields.items()}
    return {"identity": "string", "reason": "string", **flat, "extra": "string"}


def parse_only(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each message parsed and validated: out come all its fields, or why it is rejected."""
    columns = parsed_columns()
    for batch in batches:
        rows = zip(*(batch.column(name).to_pylist() for name in ("value", "timestamp")), strict=True)
        docs = [_parsed(value, recorded_at) for value, recorded_at in rows]
        arrays = [pa.array([doc.get(name) for doc in docs], _ARROW[kind]) for name, kind in columns.items()]
        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _parsed(value: bytes | None, recorded_at: datetime) -> Doc:
    try:
        parsed = parse_training(value, recorded_at)
    except ContractError as error:
        return {"reason": error.code}
    doc = {**parsed.doc, "identity": parsed.identity}
    for name in FREE:
        if name in doc:
            doc[name] = json.dumps(doc[name])
    return doc


class StorelessTask(Task):
    """A task whose ledger is this process's memory: it parses, deduplicates and sums as the real one."""

    def _insert(
        self, candidates: dict[str, Candidate], repeats: list[Candidate], bad: list[DeadLetter]
    ) -> dict[str, Doc]:
        known = {}
        for identity, candidate in candidates.items():
            ingest = self._row(candidate)["ingest"]
            stored = _SEEN.setdefault(identity, ingest)
            if stored is not ingest and not same_place(stored, candidate.message):
                known[identity] = {**candidate.parsed.doc, "ingest": stored}
        return known

    def _reject(self, bad: Sequence[DeadLetter]) -> None:
        for letter in bad:
            self.tally.rejected[letter.error.code] = self.tally.rejected.get(letter.error.code, 0) + 1


@dataclass(frozen=True, slots=True)
class StorelessVerdict:
    """Takes the place of `Verdict`: the same rows in, the same contributions out, no store."""

    spec: Verdict

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Messages in, contributions of the new ones out."""
        task: StorelessTask | None = None
        for batch in batches:
            for part in range(0, batch.num_rows, INSERT_ROWS):
                messages = messages_of(TRAINING.topic, batch.slice(part, INSERT_ROWS))
                if task is None:
                    tally = Tally(messages[0].partition)
                    task = StorelessTask(self.spec, TRAINING, None, 0, None, 0, 0, tally, Patience())  # type: ignore[arg-type]
                yield task.judge(messages)
