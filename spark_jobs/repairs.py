"""Repairs: documents that differ from the ledger are set right by the one process that writes them.

A reconciliation compares and asks; the stream does it between two batches. A request names the moment of the
document that was compared: where the document has moved on since, the request is dropped and the next
reconciliation looks again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from schemas import documents
from spark_jobs.books import RunPage, WindowPage
from spark_jobs.parts import Amounts, Folded, Parts
from spark_jobs.sources import Source, parse_document_id
from spark_jobs.store import Db, Doc

if TYPE_CHECKING:
    from spark_jobs.writer import BatchWriter

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


def run_requests(db: Db, source: Source, writer: BatchWriter | None) -> None:
    """Carry out what is asked of this query; called between two batches only."""
    if writer is None:
        return
    asked = list(db[documents.REPAIRS].find({"query": source.query}).limit(REQUESTS_PER_TURN))
    if not asked:
        return
    writer.books.forget()
    done = sum(_repair(db, source, writer, request) for request in asked)
    db[documents.REPAIRS].delete_many({"_id": {"$in": [request["_id"] for request in asked]}})
    log.warning("query %s: %d document(s) set right from the ledger", source.query, done)


def _repair(db: Db, source: Source, writer: BatchWriter, request: Mapping[str, Any]) -> bool:
    collection, i = request["collection"], request["document"]
    stored = db[collection].find_one({"_id": i})
    held = (stored or {}).get("parts") or {}
    if held.get("at") != request["at"]:
        return False
    truth = {name: Amounts.from_doc(request["truth"].get(name)) for name in ("carried", "live", "late")}
    now = writer.generation.now(writer.generation.done)
    parts = Parts.from_doc(held) if held else Parts()
    parts = replace(
        parts,
        carried=truth["carried"],
        live=truth["live"],
        before=truth["live"],
        late=truth["late"],
        at=parts.at or now,
    )
    if collection == documents.RUN_SUMMARY:
        folded = _refolded(Folded.from_doc(held.get("folded")), truth["live"])
        facets = dict(request.get("facets") or (stored or {}).get("facets") or {})
        writer.books.write_runs([RunPage(i, parts, folded, facets)])
    else:
        key, start_ms = parse_document_id(source, i)
        writer.books.write_windows(collection, {i: WindowPage(key, start_ms, parts)})
    return True


def _refolded(folded: Folded, live: Amounts) -> Folded:
    """The same open windows, and a closed sum that makes the total what the ledger says."""
    opened = Folded(open=folded.open).total
    closed = {name: value - opened.sums.get(name, 0.0) for name, value in live.sums.items()}
    return replace(folded, closed=Amounts(closed))
