"""A document store in memory that can fail at any write: only what the stream asks of the real one.

Documents go through BSON both ways, so what comes back is what MongoDB would give. A plan is asked before every
single document is written: it may raise (a kill, an outage), let a callback run, or pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

Doc = dict[str, Any]
OPTIONS: CodecOptions[Doc] = CodecOptions(tz_aware=True)


class Result:
    """What pymongo says of a write."""

    def __init__(self, matched: int) -> None:
        self.matched_count = matched
        self.deleted_count = matched


class Cursor:
    """Found documents; sorted and limited as asked."""

    def __init__(self, docs: list[Doc]) -> None:
        self._docs = docs

    def sort(self, name: str, order: int = 1) -> Cursor:
        return Cursor(sorted(self._docs, key=lambda doc: doc[name], reverse=order < 0))

    def limit(self, count: int) -> Cursor:
        return Cursor(self._docs[:count])

    def __iter__(self) -> Iterator[Doc]:
        return iter(self._docs)


class FakeCollection:
    """One collection. Unordered writes go on after an error, as on a server."""

    def __init__(self, store: FakeStore, journaled: bool = True) -> None:
        self._store = store
        self._journaled = journaled
        self.docs: dict[Any, bytes] = {}

    def unjournaled(self) -> FakeCollection:
        """The same documents, by writes that are not waited for until they are in the journal."""
        view = FakeCollection(self._store, journaled=False)
        view.docs = self.docs
        return view

    def find(self, query: Mapping[str, Any] | None = None, projection: Any = None) -> Cursor:
        query = query or {}
        wanted = query.get("_id")
        if isinstance(wanted, str):
            found: Iterable[bytes] = [self.docs[wanted]] if wanted in self.docs else []
        elif isinstance(wanted, dict) and "$in" in wanted:
            found = [self.docs[i] for i in wanted["$in"] if i in self.docs]
        else:
            found = list(self.docs.values())
        return Cursor([doc for doc in map(_decoded, found) if _matches(doc, query)])

    def find_one(self, query: Mapping[str, Any], projection: Any = None) -> Doc | None:
        return next(iter(self.find(query)), None)

    def count_documents(self, query: Mapping[str, Any]) -> int:
        return len(list(self.find(query)))

    def insert_one(self, doc: Doc) -> None:
        self._store.before_write()
        self._put(doc, new=True)

    def insert_many(
        self, docs: Sequence[Doc], ordered: bool = True, bypass_document_validation: bool = False
    ) -> None:
        self._each([lambda doc=doc: self.insert_one(doc) for doc in docs])  # type: ignore[misc]

    def bulk_write(self, writes: Sequence[UpdateOne], **options: Any) -> Result:
        done = self._each(
            [lambda w=w: self.update_one(w._filter, w._doc, upsert=bool(w._upsert)) for w in writes]  # type: ignore[misc]
        )
        return Result(sum(result.matched_count for result in done))

    def _each(self, writes: Sequence[Callable[[], Any]]) -> list[Any]:
        errors, done = [], []
        for index, write in enumerate(writes):
            try:
                done.append(write())
            except DuplicateKeyError as error:
                errors.append({"index": index, "code": error.code, "errmsg": str(error)})
        if errors:
            raise BulkWriteError({"writeErrors": errors, "writeConcernErrors": []})
        return done

    def replace_one(self, query: Mapping[str, Any], doc: Doc, upsert: bool = False) -> Result:
        self._store.before_write()
        found = self.find_one(query)
        if found is not None or upsert:
            self._put({**doc, "_id": (found or query)["_id"]}, new=found is None)
        return Result(found is not None)

    def update_one(self, query: Mapping[str, Any], change: Mapping[str, Any], upsert: bool = False) -> Result:
        self._store.before_write()
        found = self.find_one(query)
        if found is not None:
            self._put(_changed(found, change, inserting=False), new=False)
        elif upsert:
            self._put(_changed({"_id": query["_id"]}, change, inserting=True), new=True)
        return Result(found is not None)

    def update_many(self, query: Mapping[str, Any], change: Mapping[str, Any]) -> Result:
        ids = [doc["_id"] for doc in self.find(query)]
        return Result(sum(self.update_one({**query, "_id": i}, change).matched_count for i in ids))

    def delete_many(self, query: Mapping[str, Any]) -> Result:
        ids = [doc["_id"] for doc in self.find(query)]
        for i in ids:
            self._store.before_write()
            self._store.note(self._journaled)
            self.docs.pop(i, None)
            self._store.after_write()
        return Result(len(ids))

    def _put(self, doc: Mapping[str, Any], new: bool) -> None:
        if new and doc["_id"] in self.docs:
            raise DuplicateKeyError(f"{doc['_id']} is there already", 11000)
        self._store.note(self._journaled)
        self.docs[doc["_id"]] = bson.encode(doc)
        self._store.after_write()


class FakeStore:
    """Collections by name; `plan` is called with the number of each write before it happens, `ack` after."""

    def __init__(self) -> None:
        self._collections: dict[str, FakeCollection] = {}
        self.writes = 0
        self.life = 0
        self.plan: Callable[[int], None] = lambda number: None
        self.ack: Callable[[int], None] = lambda number: None
        # All documents as they are in the journal, where that is not as they are.
        self._journal: dict[str, dict[Any, bytes]] | None = None

    def __getitem__(self, name: str) -> FakeCollection:
        return self._collections.setdefault(name, FakeCollection(self))

    def get_collection(self, name: str, write_concern: Any = None) -> FakeCollection:
        journaled = write_concern is None or write_concern.document.get("j", False)
        return self[name] if journaled else self[name].unjournaled()

    def note(self, journaled: bool) -> None:
        """A write is about to be done. The journal is one sequence: it takes all earlier writes along."""
        if journaled:
            self._journal = None
        elif self._journal is None:
            self._journal = {name: dict(held.docs) for name, held in self._collections.items()}

    def die(self) -> None:
        """The server's process ends and another begins: what was not in the journal is gone."""
        self.life += 1
        if self._journal is not None:
            for name, held in self._collections.items():
                held.docs.clear()
                held.docs.update(self._journal.get(name, {}))
        self._journal = None

    def command(self, name: str) -> Doc:
        assert name == "hello", f"the fake store does not know {name}"
        return {"topologyVersion": {"processId": self.life}}

    def before_write(self) -> None:
        self.writes += 1
        self.plan(self.writes)

    def after_write(self) -> None:
        self.ack(self.writes)


def _decoded(data: bytes) -> Doc:
    return bson.decode(data, OPTIONS)


def _value(doc: Mapping[str, Any], path: str) -> Any:
    value: Any = doc
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _matches(doc: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    return all(_fits(_value(doc, path), wanted) for path, wanted in query.items())


def _fits(value: Any, wanted: Any) -> bool:
    if not (isinstance(wanted, dict) and any(name.startswith("$") for name in wanted)):
        return bool(value == wanted)
    return all(_TESTS[name](value, argument) for name, argument in wanted.items())


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gte": lambda value, limit: value is not None and value >= limit,
    "$gt": lambda value, limit: value is not None and value > limit,
    "$lt": lambda value, limit: value is not None and value < limit,
    "$in": lambda value, some: any(v in some for v in value) if isinstance(value, list) else value in some,
    "$not": lambda value, wanted: not _fits(value, wanted),
}


def _changed(doc: Mapping[str, Any], change: Mapping[str, Any], inserting: bool) -> Doc:
    made = dict(doc)
    unknown = set(change) - {"$set", "$inc", "$setOnInsert", "$max", "$unset"}
    assert not unknown, f"the fake store does not know {unknown}"
    for path in change.get("$unset", {}):
        made.pop(path, None)
    for path, value in change.get("$set", {}).items():
        _set(made, path, value)
    for path, value in change.get("$inc", {}).items():
        _set(made, path, (_value(made, path) or 0) + value)
    for path, value in change.get("$max", {}).items():
        held = _value(made, path)
        _set(made, path, value if held is None else max(held, value))
    if inserting:
        made.update(change.get("$setOnInsert", {}))
    return made


def _set(doc: Doc, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        doc[name] = dict(doc.get(name, {}))
        doc = doc[name]
    doc[last] = value
