"""The store's own insert rate: the ledger rows of the job once more, by clients that do nothing else."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.pipeline.report import ratio
from conf.settings import Settings
from schemas import documents
from spark_jobs.ledger import insert_new
from spark_jobs.store import Address, connect, ensure_collections

LONGEST_WAIT_S = 120.0

_barrier: Barrier | None = None  # of a client process: where it waits for the others


def insert_rate(job: Settings, alone: Settings, rows: int, batch: int, clients: int) -> dict[str, Any]:
    """Rows a second of `clients` processes, each with unordered inserts of `batch` rows, as the job does.

    The rows are those that the job wrote into the database of `job`; they go into that of `alone`, a new one.
    """
    source, target = Address.of(job), Address.of(alone)
    ensure_collections(connect(target), alone)
    each = rows // clients
    context = multiprocessing.get_context("spawn")
    tasks = [(source, target, part * each, each, batch) for part in range(clients)]
    with context.Pool(clients, _wait_at, (context.Barrier(clients),)) as pool:
        found = pool.starmap(_insert, tasks, chunksize=1)
    took_s = max(ended for _, _, ended in found) - min(began for _, began, _ in found)
    inserted = sum(count for count, _, _ in found)
    return {"rows": inserted, "clients": clients, "took_s": took_s, "rows_per_s": ratio(inserted, took_s)}


def _wait_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _insert(source: Address, target: Address, skip: int, count: int, batch: int) -> tuple[int, float, float]:
    """One client: fetch its rows first, wait for the others, then insert. Rows, begin and end (s)."""
    rows = list(connect(source)[documents.TRAINING_METRICS].find().skip(skip).limit(count))
    db = connect(target)
    db.command("ping")
    if _barrier is not None:
        _barrier.wait(timeout=LONGEST_WAIT_S)
    began = time.time()
    for start in range(0, len(rows), batch):
        insert_new(db, documents.TRAINING_METRICS, rows[start : start + batch])
    return len(rows), began, time.time()
