"""The lease: one process writes the documents of a query; a later one fences the earlier off.

Every lease has an epoch, one higher than the last. Documents carry the epoch of their writer, and a write
matches only documents of its own or an earlier epoch, so a writer that was thought dead cannot undo anything.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from threading import Event

import psutil
from pymongo.errors import DuplicateKeyError

from schemas import documents
from schemas.errors import PipelineError
from spark_jobs.store import Db, Doc

log = logging.getLogger(__name__)


class LeaseLostError(PipelineError):
    """Another process took over the query."""


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(slots=True)
class Lease:
    """The right to write a query's documents, to be renewed while it is held."""

    db: Db
    query: str
    epoch: int
    seconds: float

    def renew(self, state: str | None = None) -> None:
        """Say that the holder lives, and in which state where that has changed. Raises LeaseLostError."""
        said = {"renewed_at": _utc_now(), **({} if state is None else {"state": state})}
        result = self.db[documents.LEASES].update_one(
            {"_id": self.query, "epoch": self.epoch}, {"$set": said}
        )
        if not result.matched_count:
            raise LeaseLostError(f"another process took over query {self.query}; this one stops")

    def release(self) -> None:
        """Give it back, so that the next holder need not wait."""
        self.db[documents.LEASES].update_one(
            {"_id": self.query, "epoch": self.epoch},
            {"$set": {"state": "released", "renewed_at": _utc_now()}},
        )


def acquire(
    db: Db,
    query: str,
    seconds: float,
    stop: Event,
    now: Callable[[], datetime] = _utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Take the lease of a query, waiting while another process holds it.

    It is free when released, not renewed for `seconds`, or held by a process of this host that is gone.
    Raises PipelineError when asked to stop meanwhile.
    """
    said = False
    while not stop.is_set():
        held = db[documents.LEASES].find_one({"_id": query})
        if held is None or _is_free(held, seconds, now()):
            lease = _take(db, query, held, seconds, now())
            if lease is not None:
                return lease
        elif not said:
            log.warning(
                "query %s is held by process %s on %s; waiting until it ends or its lease runs out (%.0f s)",
                query,
                held["pid"],
                held["host"],
                seconds,
            )
            said = True
        sleep(0.5)
    raise PipelineError(f"stopped while waiting for the lease of query {query}")


def _is_free(held: Doc, seconds: float, now: datetime) -> bool:
    if held["state"] == "released" or held["renewed_at"] < now - timedelta(seconds=seconds):
        return True
    return held["host"] == socket.gethostname() and not _same_process(held)


def _same_process(held: Doc) -> bool:
    try:
        return bool(psutil.Process(held["pid"]).create_time() == held["process_started"])
    except psutil.Error:
        return False


def _take(db: Db, query: str, held: Doc | None, seconds: float, now: datetime) -> Lease | None:
    epoch = held["epoch"] + 1 if held else 1
    claim = {
        "schema_version": documents.DOCUMENT_VERSION,
        "epoch": epoch,
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "host": socket.gethostname(),
        "state": "starting",
        "renewed_at": now,
    }
    try:
        if held is None:
            db[documents.LEASES].insert_one({"_id": query, **claim})
            return Lease(db, query, epoch, seconds)
        taken = db[documents.LEASES].update_one({"_id": query, "epoch": held["epoch"]}, {"$set": claim})
    except DuplicateKeyError:
        return None
    return Lease(db, query, epoch, seconds) if taken.matched_count else None
