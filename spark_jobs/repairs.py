"""Repairs: documents that differ from the ledger are set right by the one process that writes them.

A reconciliation compares and asks; the stream does it between two batches. A request names the moment of the
document that was compared: where the document has moved on since, the request is dropped and the next
reconciliation looks again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from schemas import documents
from spark_jobs.books import Books, RunPage, WindowPage
from spark_jobs.generation import Generation
from spark_jobs.packing import parts_in
from spark_jobs.parts import Amounts, Folded, Parts
from spark_jobs.sources import Source, parse_document_id
from spark_jobs.store import Db, Doc

log = logging.getLogger(__name__)
REQUESTS_PER_TURN = 500


def request_doc(
    query: str,
    collection: str,
    i: str,
    at: Any,
    truth: Mapping[str, Amounts],
    facets: Mapping[str, Any] | None,
) -> Doc:
    """A request: what the ledger says that the parts of a document are, as of the moment `at`."""
    return {
        "_id": f"{collection}|{i}",
        "schema_version": documents.DOCUMENT_VERSION,
        "query": query,
        "collection": collection,
        "document": i,
        "at": at,
        "truth": {name: amounts.to_doc() for name, amounts in truth.items()},
        **({"facets": dict(facets)} if facets is not None else {}),
    }


def run_requests(db: Db, source: Source, generation: Generation, books: Books) -> int:
    """Carry out what is asked of this query and return how many documents changed.

    Called by the holder of the lease, between two batches only.
    """
    asked = list(db[documents.REPAIRS].find({"query": source.query}).limit(REQUESTS_PER_TURN))
    if not asked:
        return 0
    books.forget()
    done = sum(_repair(db, source, generation, books, request) for request in asked)
    books.forget()
    db[documents.REPAIRS].delete_many({"_id": {"$in": [request["_id"] for request in asked]}})
    log.warning("query %s: %d document(s) set right from the ledger", source.query, done)
    return done


def _repair(db: Db, source: Source, generation: Generation, books: Books, request: Mapping[str, Any]) -> bool:
    collection, i = request["collection"], request["document"]
    stored: Doc = db[collection].find_one({"_id": i}) or {}
    held = parts_in(stored)
    if held.get("at") != request["at"]:
        return False
    truth = {name: Amounts.from_doc(request["truth"].get(name)) for name in ("carried", "live", "late")}
    if not any(truth.values()):
        return db[collection].delete_one({"_id": i}).deleted_count > 0  # nothing in the ledger speaks for it
    live = truth["live"]
    at = Parts.from_doc(held).at or generation.now(generation.done)
    parts = Parts(truth["carried"], live, live, truth["late"], at)
    # Fields that the ledger does not know must not stay behind.
    strange = {name: "" for name in stored if name not in _NOT_OURS}
    if strange:
        db[collection].update_one({"_id": i}, {"$unset": strange})
    if collection == documents.RUN_SUMMARY:
        folded = _refolded(Folded.from_doc(held.get("folded")), live)
        books.write_runs([RunPage(i, parts, folded, dict(request["facets"]))])
    else:
        key, start_ms = parse_document_id(source, i)
        books.write_windows(collection, {i: WindowPage(key, start_ms, parts)})
    return True


_NOT_OURS = frozenset({"_id", "writer", "forecast"})


def _refolded(folded: Folded, live: Amounts) -> Folded:
    """The same open windows, and a closed sum that makes the total what the ledger says."""
    opened = folded.opened
    closed = {name: value - opened.sums.get(name, 0.0) for name, value in live.sums.items()}
    return replace(folded, closed=Amounts(closed))
