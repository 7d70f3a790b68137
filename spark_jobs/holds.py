"""Holds: an audit asks a query to pause between two batches while it reads the documents."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from threading import Event

from schemas import documents
from spark_jobs.store import Db

LONGEST_S = 30.0


def wait_while_held(db: Db, query: str, stop: Event, pause_s: float = 0.05) -> None:
    """Return when no hold is asked of the query; a forgotten one runs out by itself."""
    while not stop.is_set():
        hold = db[documents.HOLDS].find_one({"_id": query})
        if hold is None or hold["until"] < datetime.now(timezone.utc):
            return
        time.sleep(pause_s)


@contextmanager
def hold(db: Db, queries: tuple[str, ...], seconds: float = LONGEST_S) -> Iterator[None]:
    """Ask the queries to write no documents until the block ends, for `seconds` at most."""
    until = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    for query in queries:
        asked = {"_id": query, "schema_version": documents.DOCUMENT_VERSION, "until": until}
        db[documents.HOLDS].replace_one({"_id": query}, asked, upsert=True)
    try:
        yield
    finally:
        for query in queries:
            db[documents.HOLDS].delete_one({"_id": query, "until": until})
