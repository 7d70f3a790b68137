"""The ledger: one row per identity, inserted once; what a row says of a message that comes again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson.errors import InvalidDocument
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure

from schemas import documents
from spark_jobs.deadletters import Message
from spark_jobs.sources import Source, document_id, window_start_ms
from spark_jobs.store import DUPLICATE_KEY, Db, Doc

# What the key of a run's summary begins with among `late_events.keys`. No window's id does: a node's has one
# `|`, and no dimension is called so.
SUMMARY_KEY = "summary||"

# Errors that blame the document (MongoDB error code table): bad, unparsable, of a wrong type, overflowing,
# invalid BSON, field names with `$` or `.` or empty, refused by the validator, too large, id too long.
_THE_DOCUMENT = frozenset({2, 9, 14, 15, 16, 22, 52, 56, 57, 121, 10334, 17280, 17419, 17420})


UNAUTHORIZED = 13


def late_row(source: Source, identity: str, doc: Mapping[str, Any], window_ms: int) -> Doc:
    """What a late event adds to which documents: the row of `late_events`."""
    start_ms = window_start_ms(doc["timestamp"], window_ms)
    keys = [document_id(key, start_ms) for key in source.keys(doc)]
    if source.has_facets:
        keys.append(SUMMARY_KEY + doc[source.owner])
    # A run and a node may have the same name, and so may their events.
    return {
        "_id": f"{source.query}|{identity}",
        "schema_version": documents.DOCUMENT_VERSION,
        "query": source.query,
        "keys": keys,
        **source.amounts(doc).to_doc(),
    }


def insert_new(
    db: Db, collection: str, rows: Sequence[Doc], checked: bool = False
) -> tuple[list[str], dict[str, str]]:
    """Insert rows; return the ids that were there already, and those that the store refused with why.

    One bad document does not fail its neighbours. `checked` rows have passed the very rules that the
    collection's validator is derived from, so the store need not apply it again.
    """
    if not rows:
        return [], {}
    try:
        db[collection].insert_many(rows, ordered=False, bypass_document_validation=checked)
    except BulkWriteError as error:
        failed = error.details.get("writeErrors", [])
        blamed = {e["code"] for e in failed} - {DUPLICATE_KEY}
        if error.details.get("writeConcernErrors") or not blamed <= _THE_DOCUMENT:
            raise  # the server's trouble is not the document's fault
        present = [rows[e["index"]]["_id"] for e in failed if e["code"] == DUPLICATE_KEY]
        refused = {
            rows[e["index"]]["_id"]: str(e["errmsg"])[:500] for e in failed if e["code"] != DUPLICATE_KEY
        }
        return present, refused
    except OperationFailure as error:
        if not (checked and error.code == UNAUTHORIZED):
            raise
        # The role `readWrite` may not leave the validator out.
        return insert_new(db, collection, rows)
    except (InvalidDocument, DocumentTooLarge, OverflowError, UnicodeEncodeError) as error:
        if len(rows) == 1:
            return [], {rows[0]["_id"]: str(error)[:500]}
        return _insert_singly(db, collection, rows, checked)
    return [], {}


def _insert_singly(
    db: Db, collection: str, rows: Sequence[Doc], checked: bool
) -> tuple[list[str], dict[str, str]]:
    present: list[str] = []
    refused: dict[str, str] = {}
    for row in rows:
        there, no = insert_new(db, collection, [row], checked)
        present += there
        refused.update(no)
    return present, refused


def same_place(ingest: Mapping[str, Any], message: Message) -> bool:
    """Whether a ledger row was written from this very message."""
    stored = (ingest["topic"], ingest["partition"], ingest["offset"])
    return stored == (message.topic, message.partition, message.offset)


_NOT_CONTENT = frozenset({"_id", "ingest", "late"})


def same_content(stored: Mapping[str, Any], doc: Mapping[str, Any]) -> bool:
    """Whether a ledger row (or another event's document) says the same as a document."""
    return {k: v for k, v in stored.items() if k not in _NOT_CONTENT} == doc
