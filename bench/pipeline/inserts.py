"""The store's own insert rate: the ledger rows of the job once more, by clients that do nothing else."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.pipeline.cpu import seconds_of
from bench.pipeline.report import ratio
from conf.settings import Settings
from schemas import documents
from spark_jobs.ledger import insert_new
from spark_jobs.store import Address, connect, ensure_collections

LONGEST_WAIT_S = 120.0

_barrier: Barrier | None = None  # of a client process: where it waits for the others


@dataclass(frozen=True, slots=True)
class Done:
    """What one client did: when (s), and the CPU seconds of itself and of the store at begin and end."""

    rows: int
    began_s: float
    ended_s: float
    client_cpu_s: float
    store_cpu_s: tuple[float, float]


def insert_rate(
    job: Settings, alone: Settings, rows: int, batch: int, clients: int, store_pid: int
) -> dict[str, Any]:
    """Rows a second of `clients` processes, each with unordered inserts of `batch` rows, as the job does.

    The rows are those that the job wrote into the database of `job`; they go into that of `alone`, a new one.
    """
    source, target = Address.of(job), Address.of(alone)
    ensure_collections(connect(target), alone)
    each = rows // clients
    context = multiprocessing.get_context("spawn")
    tasks = [(source, target, part * each, each, batch, store_pid) for part in range(clients)]
    with context.Pool(clients, _wait_at, (context.Barrier(clients),)) as pool:
        found = pool.starmap(_insert, tasks, chunksize=1)
    took_s = max(one.ended_s for one in found) - min(one.began_s for one in found)
    inserted = sum(one.rows for one in found)
    store_s = max(one.store_cpu_s[1] for one in found) - min(one.store_cpu_s[0] for one in found)
    client_s = sum(one.client_cpu_s for one in found)
    spent = {"store": store_s, "clients": client_s, "us": store_s + client_s}
    cpu = {
        f"{name}_us_per_row".replace("us_us", "us"): round(s / inserted * 1e6, 1) for name, s in spent.items()
    }
    rate = ratio(inserted, took_s)
    return {"rows": inserted, "clients": clients, "took_s": took_s, "rows_per_s": rate, "cpu": cpu}


def _wait_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _insert(source: Address, target: Address, skip: int, count: int, batch: int, store_pid: int) -> Done:
    """One client: fetch its rows first, wait for the others, then insert."""
    rows = list(connect(source)[documents.TRAINING_METRICS].find().skip(skip).limit(count))
    db = connect(target)
    db.command("ping")
    if _barrier is not None:
        _barrier.wait(timeout=LONGEST_WAIT_S)
    began, cpu, store_cpu = time.time(), time.process_time(), seconds_of(store_pid)
    for start in range(0, len(rows), batch):
        insert_new(db, documents.TRAINING_METRICS, rows[start : start + batch], checked=True)
    spent = time.process_time() - cpu
    return Done(len(rows), began, time.time(), spent, (store_cpu, seconds_of(store_pid)))
