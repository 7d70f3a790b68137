"""The books of a query: documents as parts, cached while they change, written with the lease's epoch.

Only the holder of the lease writes them, so what it wrote last is what is stored; the cache spares the reads, and of
a document that is known to be stored only the fields that have changed are set.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any, TypeVar

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from schemas import documents
from spark_jobs.facets import Facets
from spark_jobs.lease import LeaseLostError
from spark_jobs.packing import WORKING, facets_in, packed, parts_in
from spark_jobs.parts import Amounts, Folded, Parts
from spark_jobs.sources import Key
from spark_jobs.store import DUPLICATE_KEY, Db, Doc, find_by_ids
from spark_jobs.summaries import node_window_doc, summary_doc, window_doc

T = TypeVar("T")

WRITES_PER_CALL = 500
LATE_KEYS_PER_FIND = 32
# Documents whose stored fields are kept in memory: about 4 kB each.
STORED = 5_000


@dataclass(frozen=True, slots=True)
class WindowPage:
    """A window document's parts."""

    key: Key
    start_ms: int
    parts: Parts


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run summary's parts, its live windows and its facets."""

    run_id: str
    parts: Parts = field(default_factory=Parts)
    folded: Folded = field(default_factory=Folded)
    facets: Facets = field(default_factory=dict)


class Cache(OrderedDict[str, T]):
    """The newest entries, at most `size`; what falls out is read from the store again."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def keep(self, key: str, value: T) -> None:
        """Add or renew an entry."""
        self[key] = value
        self.move_to_end(key)
        while len(self) > self._size:
            self.popitem(last=False)


class Books:
    """Reads and writes the documents of one query."""

    def __init__(self, db: Db, epoch: int, window_ms: int, cache_size: int = 50_000) -> None:
        self._db = db
        self._epoch = epoch
        self.window_ms = window_ms
        self._windows: Cache[Parts] = Cache(cache_size)
        self._runs: Cache[RunPage] = Cache(cache_size)
        # Fields of documents: as they are in the store's journal, and as they were written since.
        self._stored: Cache[Doc] = Cache(STORED)
        self._written: dict[str, Doc] = {}
        # Told of what was written, with its `_id`; what follows from the documents starts here.
        self.on_written: Callable[[str, Mapping[str, Doc]], None] = lambda _collection, _docs: None

    def forget(self) -> None:
        """Drop the cache: the store may say otherwise now."""
        self._windows.clear()
        self._runs.clear()
        self._stored.clear()
        self._written.clear()

    def journaled(self) -> None:
        """What was written is known to outlive the store's process: from now on only changes to it are set."""
        for name, doc in self._written.items():
            self._stored.keep(name, doc)
        self._written.clear()

    def windows(self, collection: str, ids: Sequence[str]) -> Mapping[str, Parts]:
        """Parts of the windows with these ids; absent where there is no document yet."""
        found = {i: self._windows[i] for i in ids if i in self._windows}
        unknown = [i for i in ids if i not in found]
        # Gathered apart from the cache, which may be smaller than a batch.
        for doc in find_by_ids(self._db[collection], unknown, {"parts": 1}):
            found[doc["_id"]] = Parts.from_doc(parts_in(doc))
            self._windows.keep(doc["_id"], found[doc["_id"]])
        return found

    def runs(self, ids: Sequence[str]) -> Mapping[str, RunPage]:
        """Pages of these runs; a fresh one where there is no document yet."""
        found = {i: self._runs[i] for i in ids if i in self._runs}
        unknown = [i for i in ids if i not in found]
        fields = {"parts": 1, "facets": 1}
        for doc in find_by_ids(self._db[documents.RUN_SUMMARY], unknown, fields):
            found[doc["_id"]] = run_page(doc)
            self._runs.keep(doc["_id"], found[doc["_id"]])
        return {i: found.get(i, RunPage(i)) for i in ids}

    def late(self, keys: Sequence[str]) -> Mapping[str, Amounts]:
        """The sum of the late events of each document, from `late_events`; exact in any order."""
        found: dict[str, list[Amounts]] = {key: [] for key in keys}
        for start in range(0, len(keys), LATE_KEYS_PER_FIND):
            chunk = set(keys[start : start + LATE_KEYS_PER_FIND])
            for doc in self._db[documents.LATE].find({"keys": {"$in": sorted(chunk)}}):
                amounts = Amounts.from_doc(doc)
                # An event changes several documents, whose keys may be asked for in several finds.
                for key in chunk.intersection(doc["keys"]):
                    found[key].append(amounts)
        return {key: summed(amounts) for key, amounts in found.items()}

    def write_windows(self, collection: str, pages: Mapping[str, WindowPage]) -> None:
        """Set window documents."""
        build = node_window_doc if collection == documents.NODE_WINDOWS else window_doc
        docs = {i: build(page.key, page.start_ms, self.window_ms, page.parts) for i, page in pages.items()}
        self._write(collection, docs, self._windows)
        for i, page in pages.items():
            self._windows.keep(i, page.parts)

    def write_runs(self, pages: Iterable[RunPage]) -> None:
        """Set run summaries."""
        kept = {page.run_id: page for page in pages}
        docs = {i: summary_doc(i, page.parts, page.folded, page.facets) for i, page in kept.items()}
        self._write(documents.RUN_SUMMARY, docs, self._runs)
        for i, page in kept.items():
            self._runs.keep(i, page)

    def _write(self, collection: str, docs: Mapping[str, Doc], known: Cache[Any]) -> None:
        """Set the fields of documents. Raises LeaseLostError where a later writer has been.

        Not journaled one by one, which costs a lone server a flush per document: who calls makes them durable and
        says so (`journaled`).
        """
        target = self._db.get_collection(collection, write_concern=WriteConcern(w="majority"))
        new = {i: {**packed(doc), "writer": self._epoch} for i, doc in docs.items()}
        fresh = [{"_id": i, **doc} for i, doc in new.items() if i not in known]
        there = {i for chunk in _chunks(fresh) for i in _insert(target, chunk)}
        rest = [i for i in new if i in known or i in there]
        stored = {i: held for i in rest if (held := self._stored.get(f"{collection}|{i}")) is not None}
        try:
            gone = [
                i
                for some in _chunks(list(stored))
                if not self._change(target, stored, new, some)
                for i in some
            ]
            for chunk in _chunks([*gone, *(i for i in rest if i not in stored)]):
                target.bulk_write([self._set(i, new[i], upsert=True) for i in chunk], ordered=False)
        except BulkWriteError as error:
            self.forget()
            if all(e["code"] == DUPLICATE_KEY for e in error.details.get("writeErrors", [])):
                raise LeaseLostError(f"a later process has written {collection}; this one stops") from None
            raise
        for i, doc in new.items():
            self._written[f"{collection}|{i}"] = {n: v for n, v in doc.items() if n not in WORKING}
        self.on_written(collection, docs)

    def _change(
        self, target: Collection[Doc], stored: Mapping[str, Doc], new: Mapping[str, Doc], ids: Sequence[str]
    ) -> bool:
        """Set what has changed; False where a document is not there any more, or not this writer's."""
        changes = [self._set(i, _changed(stored[i], new[i]), upsert=False) for i in ids]
        return bool(target.bulk_write(changes, ordered=False).matched_count == len(changes))

    def _set(self, i: str, fields: Doc, upsert: bool) -> UpdateOne:
        return UpdateOne(
            {"_id": i, "writer": {"$not": {"$gt": self._epoch}}}, {"$set": fields}, upsert=upsert
        )


def _changed(stored: Doc, new: Doc) -> Doc:
    """The fields of a document that are not stored as they are now."""
    return {name: value for name, value in new.items() if name not in stored or stored[name] != value}


def _chunks(writes: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(writes), WRITES_PER_CALL):
        yield writes[start : start + WRITES_PER_CALL]


def _insert(target: Collection[Doc], docs: Sequence[Doc]) -> list[str]:
    """Insert documents, which costs much less than to update them; the ids of those that were there."""
    try:
        target.insert_many(docs, ordered=False)
    except BulkWriteError as error:
        failed = error.details.get("writeErrors", [])
        if error.details.get("writeConcernErrors") or any(e["code"] != DUPLICATE_KEY for e in failed):
            raise
        return [docs[e["index"]]["_id"] for e in failed]
    return []


def run_page(doc: Doc) -> RunPage:
    """A run's page from its document."""
    parts = parts_in(doc)
    return RunPage(doc["_id"], Parts.from_doc(parts), Folded.from_doc(parts.get("folded")), facets_in(doc))


def summed(amounts: Sequence[Amounts]) -> Amounts:
    """The sum of amounts, rounded once, so that their order cannot show."""
    return Amounts(_fsum([a.sums for a in amounts]), _fsum([a.runs for a in amounts]))


def _fsum(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for entry in values for name in entry})
    return {name: _rounded_once([entry[name] for entry in values if name in entry]) for name in names}


def _rounded_once(values: Sequence[float]) -> float:
    """The sum; infinite where finite values add up to more than a float can hold."""
    try:
        return fsum(values)
    except (OverflowError, ValueError):
        return sum(values)
