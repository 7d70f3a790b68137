"""Receipts: what each task of a batch did, for the driver; replaced when a task runs again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from pymongo.write_concern import WriteConcern

from schemas import documents
from schemas.errors import PipelineError
from spark_jobs.facets import Facets, RunFacets, merge
from spark_jobs.ledger import insert_new
from spark_jobs.packing import decoded
from spark_jobs.store import Db, Doc

PAGE = 2000
COUNTS = ("consumed", "accepted", "duplicate", "conflict", "late")


@dataclass(slots=True)
class Tally:
    """What one task did with its partition: counts of rows at or above the fence, and what follows."""

    partition: int
    first: int | None = None
    end: int = 0
    consumed: int = 0
    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    late: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    max_event_ms: int | None = None
    late_keys: set[str] = field(default_factory=set)
    facets: dict[str, RunFacets] = field(default_factory=dict)


def pages(prefix: str, tally: Tally) -> list[Doc]:
    """The receipt of one task, in documents of bounded size."""
    base = f"{prefix}{tally.partition}"
    counts = {name: getattr(tally, name) for name in (*COUNTS, "rejected", "max_event_ms")}
    head = {"first": tally.first, "end": tally.end, "partition": tally.partition, **counts}
    facets = [{"key": run, "facets": entry.to_facets()} for run, entry in tally.facets.items()]
    contents: list[Doc] = [
        {"_id": base, "head": head},
        *({"_id": f"{base}|k{i}", "late_keys": keys} for i, keys in _chunks(sorted(tally.late_keys))),
        *({"_id": f"{base}|f{i}", "facets": bson.encode({"runs": chunk})} for i, chunk in _chunks(facets)),
    ]
    return [{"schema_version": documents.DOCUMENT_VERSION, **page} for page in contents]


def _chunks(values: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
    for start in range(0, len(values), PAGE):
        yield start, list(values[start : start + PAGE])


def prefix_of(query: str, generation: int, batch: int) -> str:
    """What the ids of a batch's receipts begin with."""
    return f"{query}|{generation}|{batch}|"


def _range(prefix: str) -> Mapping[str, Any]:
    return {"_id": {"$gte": prefix, "$lt": prefix[:-1] + "}"}}


def write(db: Db, prefix: str, tally: Tally) -> None:
    """Store a task's receipt in one write; one of an earlier attempt is replaced. Raises PipelineError."""
    found = {page["_id"]: page for page in pages(prefix, tally)}
    present, refused = insert_new(db, documents.RECEIPTS, list(found.values()))
    if refused:
        why = next(iter(refused.values()))
        raise PipelineError(f"the store refused the receipt of a task: {why}; look at its log")
    for i in present:
        db[documents.RECEIPTS].replace_one({"_id": i}, found[i], upsert=True)


def clear(db: Db, prefix: str, durably: bool = True) -> None:
    """Remove a batch's receipts. Of a settled batch nobody reads them again, so that may be lost."""
    concern = WriteConcern(w="majority", j=True) if durably else WriteConcern(w="majority")
    db.get_collection(documents.RECEIPTS, write_concern=concern).delete_many(_range(prefix))


@dataclass(frozen=True, slots=True)
class Receipts:
    """All that the tasks of one batch did."""

    heads: tuple[Mapping[str, Any], ...]
    late_keys: tuple[str, ...]
    facets: Mapping[str, Facets]

    @property
    def max_event_ms(self) -> int | None:
        """The latest event time among the new rows."""
        return max((h["max_event_ms"] for h in self.heads if h["max_event_ms"] is not None), default=None)

    def count(self, name: str) -> int:
        """Sum of a count over the tasks."""
        return sum(int(head[name]) for head in self.heads)

    @property
    def rejected(self) -> dict[str, int]:
        """Rejected messages by reason code."""
        totals: dict[str, int] = {}
        for head in self.heads:
            for code, count in head["rejected"].items():
                totals[code] = totals.get(code, 0) + count
        return totals


def read(db: Db, prefix: str) -> Receipts:
    """The receipts of a batch."""
    return gather(db[documents.RECEIPTS].find(_range(prefix)))


def gather(docs: Iterable[Mapping[str, Any]]) -> Receipts:
    """Receipts from their documents."""
    heads: list[Mapping[str, Any]] = []
    late_keys: set[str] = set()
    facets: dict[str, Facets] = {}
    for doc in docs:
        if "head" in doc:
            heads.append(doc["head"])
        late_keys.update(doc.get("late_keys", ()))
        for entry in decoded(doc["facets"])["runs"] if "facets" in doc else ():
            held = facets.get(entry["key"])
            facets[entry["key"]] = entry["facets"] if held is None else merge(held, entry["facets"])
    return Receipts(tuple(heads), tuple(sorted(late_keys)), facets)
