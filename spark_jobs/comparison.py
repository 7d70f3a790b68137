"""Documents compared with what the ledger says of them, and requests for those that differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import groupby, islice
from threading import Event
from typing import Any

from pyspark.sql import SparkSession

from conf.settings import Settings
from schemas import documents
from schemas.identity import identity_ranges
from spark_jobs.books import Books
from spark_jobs.cut import Cut, is_running, read_cut
from spark_jobs.facets import Facets, RunFacets
from spark_jobs.generation import WindowSettings, newest_generation
from spark_jobs.lease import acquire
from spark_jobs.packing import parts_in
from spark_jobs.parts import Amounts, Parts, total
from spark_jobs.repairs import request_doc, run_requests
from spark_jobs.sources import SOURCES, Key, Source, document_id
from spark_jobs.store import Address, Db, Doc, find_by_ids
from spark_jobs.summaries import amounts_of_row
from spark_jobs.truth import PARTS, ordered, true_windows

TOLERANCE = 1e-9
DOCS_PER_FIND = 512
STREAM_ANSWERS_S = 60.0
VISIBLE = (
    "energy_kwh",
    "emissions_kg",
    "attributed_kwh",
    "idle_kwh",
    "unattributed_kwh",
    "n_events",
    "n_samples",
)


@dataclass(slots=True)
class Truth:
    """What the ledger says that a document's parts are."""

    collection: str
    id: str
    parts: dict[str, Amounts] = field(default_factory=dict)

    @property
    def total(self) -> Amounts:
        """All parts together."""
        return total(self.parts.values())


def reconcile(
    spark: SparkSession, settings: Settings, db: Db, repair: bool, stop: Event
) -> dict[str, dict[str, int]]:
    """Compare both sources; per query how many documents were compared, differ, and are left differing."""
    return {query: _reconcile(spark, settings, db, source, repair, stop) for query, source in SOURCES.items()}


def _reconcile(
    spark: SparkSession, settings: Settings, db: Db, source: Source, repair: bool, stop: Event
) -> dict[str, int]:
    cut = read_cut(db, source)
    if cut is None:
        return {"compared": 0, "differing": 0, "moved_on": 0, "left": 0}
    rows = ordered(true_windows(spark, source, Address.of(settings), cut, settings.stream.window_s))
    comparison = Comparison(db, source, cut, _horizon(settings))
    comparison.run(truths(source, (row.asDict() for row in rows)))
    left = len(comparison.requests)
    if repair and comparison.requests:
        left = _ask(settings, db, source, comparison.requests, stop)
    return {
        "compared": comparison.compared,
        "differing": len(comparison.requests),
        "moved_on": comparison.moved_on,
        "left": left,
    }


def _horizon(settings: Settings) -> datetime | None:
    """Windows from before this time may have lost ledger rows to retention: they are sealed."""
    days = settings.stream.ledger_retention_days
    return None if days is None else datetime.now(timezone.utc) - timedelta(days=days - min(1.0, days / 2))


def truths(source: Source, rows: Iterable[Mapping[str, Any]]) -> Iterator[Truth]:
    """Truths of the window documents, and after the windows of a run that of its summary."""
    window_collection = documents.WINDOWS if source.has_facets else documents.NODE_WINDOWS
    by_key: Callable[[Mapping[str, Any]], Any] = lambda row: (row["dimension"], row["key"])  # noqa: E731
    for (dimension, name), of_key in groupby(rows, by_key):
        key = Key(dimension, name or None)
        summary = Truth(documents.RUN_SUMMARY, name)
        for start_ms, of_window in groupby(of_key, lambda row: row["start_ms"]):
            truth = Truth(window_collection, document_id(key, start_ms))
            for row in of_window:
                runs = {} if row["run_id"] is None else {row["run_id"]: row["attributed_kwh"]}
                amounts = Amounts({}, runs) if runs else amounts_of_row(row, source.sums)
                truth.parts[row["part"]] = truth.parts.get(row["part"], Amounts()) + amounts
            for part, amounts in truth.parts.items():
                summary.parts[part] = summary.parts.get(part, Amounts()) + amounts
            yield truth
        if dimension == "run":
            yield summary


class Comparison:
    """Holds documents against truths and gathers requests for those that differ."""

    def __init__(self, db: Db, source: Source, cut: Cut, horizon: datetime | None) -> None:
        self._db, self._source, self._cut, self._horizon = db, source, cut, horizon
        self._seen: set[tuple[str, str]] = set()
        self.requests: list[Doc] = []
        self.compared = 0
        self.moved_on = 0

    def run(self, found: Iterator[Truth]) -> None:
        """Compare all truths, then look for documents that no ledger row speaks for."""
        while chunk := list(islice(found, DOCS_PER_FIND)):
            for collection in {truth.collection for truth in chunk}:
                self._compare(collection, [truth for truth in chunk if truth.collection == collection])
        if self._horizon is None:
            self._strays()

    def _compare(self, collection: str, found: list[Truth]) -> None:
        fields = {"parts": 1, "window_start": 1, "started_at": 1, **dict.fromkeys(VISIBLE, 1)}
        ids = [truth.id for truth in found]
        docs = {doc["_id"]: doc for doc in find_by_ids(self._db[collection], ids, fields)}
        for truth in found:
            self._seen.add((collection, truth.id))
            self._hold_against(docs.get(truth.id, {"_id": truth.id}), truth)

    def _hold_against(self, doc: Mapping[str, Any], truth: Truth) -> None:
        parts = Parts.from_doc(parts_in(doc))
        since = doc.get("window_start") or doc.get("started_at")
        if self._horizon is not None and (since is None or since < self._horizon):
            return
        if not self._cut.covers(parts.at):
            self.moved_on += 1
            return
        self.compared += 1
        shown = {name: float(doc[name]) for name in VISIBLE if name in doc}
        true = truth.total
        if not (
            _same(parts.total.sums, true.sums) and _same(parts.total.runs, true.runs) and _shows(shown, true)
        ):
            self._request(truth, doc)

    def _strays(self) -> None:
        collections = [documents.WINDOWS, documents.RUN_SUMMARY]
        for collection in collections if self._source.has_facets else [documents.NODE_WINDOWS]:
            for doc in self._db[collection].find({}, {"parts.at": 1}):
                known = (collection, doc["_id"]) in self._seen
                if not known and self._cut.covers(Parts.from_doc(parts_in(doc)).at):
                    self.compared += 1
                    self._request(Truth(collection, doc["_id"]), doc)

    def _request(self, truth: Truth, doc: Mapping[str, Any]) -> None:
        at = (doc.get("parts") or {}).get("at")
        parts = {name: truth.parts.get(name, Amounts()) for name in PARTS}
        facets = None
        if truth.collection == documents.RUN_SUMMARY:
            facets = true_facets(self._db, self._source, self._cut, truth.id)
        self.requests.append(request_doc(self._source.query, truth.collection, truth.id, at, parts, facets))


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return all(_close(one.get(name, 0.0), other.get(name, 0.0)) for name in {*one, *other})


def _shows(shown: Mapping[str, float], true: Amounts) -> bool:
    """Whether the values that people read are the true ones, and none is missing or invented."""
    expected = {name: true.sums[name] for name in VISIBLE if name in true.sums}
    return shown.keys() == expected.keys() and _same(shown, expected)


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other), 1e-12)


def true_facets(db: Db, source: Source, cut: Cut, run_id: str) -> Facets:
    """A run's facets from its ledger rows below the cut."""
    gathered = RunFacets()
    ranges = [{"_id": {"$gte": low, "$lt": high}} for low, high in identity_ranges(run_id)]
    for query in (*ranges, {"run_ref": run_id}):
        for row in db[source.ledger].find(query):
            if cut.holds(row["ingest"]["partition"], row["ingest"]["offset"]):
                gathered.add(row["_id"], row)
    return gathered.to_facets()


def _ask(settings: Settings, db: Db, source: Source, requests: list[Doc], stop: Event) -> int:
    """Have the requests carried out; returns how many were not within the time."""
    for request in requests:
        db[documents.REPAIRS].replace_one({"_id": request["_id"]}, request, upsert=True)
    open_requests = {"query": source.query}
    deadline = time.monotonic() + STREAM_ANSWERS_S
    while time.monotonic() < deadline and is_running(db, source.query):
        if not db[documents.REPAIRS].count_documents(open_requests):
            return 0
        time.sleep(0.2)
    if is_running(db, source.query):
        return int(db[documents.REPAIRS].count_documents(open_requests))
    _repair_here(settings, db, source, stop)
    return int(db[documents.REPAIRS].count_documents(open_requests))


def _repair_here(settings: Settings, db: Db, source: Source, stop: Event) -> None:
    """No stream runs: take its lease for as long as the repairs take."""
    stream = settings.stream
    lease = acquire(db, source.query, stream.lease_s, stop)
    try:
        windows = WindowSettings(stream.window_s, stream.watermark_s)
        generation = newest_generation(db, source.query, windows)
        if generation is not None:
            books = Books(db, lease.epoch, windows.window_ms)
            while db[documents.REPAIRS].count_documents({"query": source.query}):
                run_requests(db, source, generation, books)
    finally:
        lease.release()
