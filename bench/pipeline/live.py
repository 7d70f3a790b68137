"""The real job under a steady load: how long an event takes to its summary, and how much memory it all takes."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from pymongo.errors import PyMongoError

from bench.pipeline.report import latencies, percentile, rounded
from bench.pipeline.sender import probes, send_backlog, send_live
from bench.pipeline.servers import Servers
from bench.pipeline.sizes import Sizes
from conf.settings import Settings
from joulestream.local.process import running
from joulestream.local.services import stream_service
from schemas import documents
from schemas.errors import PipelineError
from schemas.topics import TRAINING_EVENTS
from schemas.units import mib_from_bytes
from spark_jobs.offsets import latest
from spark_jobs.store import Address, Db, connect

# An event counts as seen when a look sees it, so this makes latencies longer, never shorter.
LOOK_S = 0.05
MEMORY_S = 0.5
LONGEST_BACKLOG_S = 120.0
TAIL_S = 8.0


class Memory(threading.Thread):
    """Resident memory of a process and all that it started (driver, JVM, workers), sampled.

    Pages that forked workers share are counted in each of them, so the sum is an upper bound.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(name="memory", daemon=True)
        self._root = psutil.Process(pid)
        self._end = threading.Event()
        self.samples: list[tuple[float, float]] = []

    def run(self) -> None:
        """Sample until `end`."""
        while not self._end.wait(MEMORY_S):
            self.samples.append((time.time(), mib_from_bytes(_tree_bytes(self._root))))

    def end(self) -> None:
        """No more samples."""
        self._end.set()
        self.join()

    def between(self, began_s: float, ended_s: float) -> list[float]:
        """Samples (MiB) of a time."""
        return [mib for at, mib in self.samples if began_s <= at <= ended_s]


def _tree_bytes(root: psutil.Process) -> int:
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


class Watcher(threading.Thread):
    """Looks at the probes' summaries again and again: `seen` has (time, run, n_events) where it grew."""

    def __init__(self, db: Db, probes: Sequence[str]) -> None:
        super().__init__(name="watcher", daemon=True)
        self._summaries = db[documents.RUN_SUMMARY]
        # By name: for a range of `_id` the embedded server looks at every summary, and has no time for the job.
        self._probes = {"_id": {"$in": list(probes)}}
        self._end = threading.Event()
        self.seen: list[tuple[float, str, int]] = []
        self.error: PyMongoError | None = None

    def run(self) -> None:
        """Look until `end`."""
        held: dict[str, int] = {}
        try:
            while not self._end.wait(LOOK_S):
                found = list(self._summaries.find(self._probes, {"n_events": 1}))
                at_s = time.time()
                grown = [
                    (at_s, d["_id"], d["n_events"]) for d in found if d["n_events"] > held.get(d["_id"], 0)
                ]
                self.seen += grown
                held.update((run, count) for _, run, count in grown)
        except PyMongoError as error:
            self.error = error

    def end(self) -> None:
        """Stop looking. Raises PipelineError where the store went away meanwhile."""
        self._end.set()
        self.join()
        if self.error is not None:
            raise PipelineError(f"the store went away while latency was measured: {self.error}")


def measure(servers: Servers, folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Start the job on a backlog, then send at the steady rate: latencies (s), memory (MiB), batches.

    `few` is the same once more with fewer runs.
    """
    settings = servers.settings(folder / "live", "live")
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        backlog = pool.apply(send_backlog, (settings.kafka, sizes))
        job = stream_service(settings, servers.java, folder / "stream.log")
        with running(job) as (process,):
            memory = Memory(process.pid)
            memory.start()
            try:
                steady = {"backlog": backlog, **_steady(settings, sizes, pool, memory)}
                few = _steady(settings, sizes.of_few(), pool, memory) if sizes.few_s > 0 else {}
                return {**steady, "few": few}
            finally:
                memory.end()


def _steady(settings: Settings, sizes: Sizes, pool: Any, memory: Memory) -> dict[str, Any]:
    db = connect(Address.of(settings))
    worked_off_s = _wait_for_backlog(settings, db)
    watcher = Watcher(db, probes(sizes))
    watcher.start()
    began_s = time.time()
    sending = pool.apply_async(send_live, (settings.kafka, sizes, sizes.settle_s + sizes.live_s))
    sent, rate = sending.get(timeout=sizes.settle_s + sizes.live_s + 60)
    ended_s = time.time()
    time.sleep(TAIL_S)
    watcher.end()
    counted = {run: [at for at in times if at >= began_s + sizes.settle_s] for run, times in sent.items()}
    skipped = {run: len(sent[run]) - len(times) for run, times in counted.items()}
    delays = latencies(counted, [(at, run, n - skipped.get(run, 0)) for at, run, n in watcher.seen])
    begins_s = began_s + sizes.settle_s
    return {
        "delays": delays,
        "missing": sum(map(len, counted.values())) - len(delays),
        "events_per_s": rounded(rate),
        "backlog_s": rounded(worked_off_s),
        "memory": memory_figures(memory, begins_s, ended_s),
        "batches": batch_figures(list(db[documents.PROGRESS].find({"query": "training"})), begins_s, ended_s),
    }


def _wait_for_backlog(settings: Settings, db: Db) -> float:
    """Until the job has settled all that was there; how long that took (s)."""
    began = time.monotonic()
    while time.monotonic() < began + LONGEST_BACKLOG_S:
        ends = latest(settings.kafka, TRAINING_EVENTS)
        settled = {
            d["partition"]: d["next_offset"] for d in db[documents.ACCOUNTS].find({"topic": TRAINING_EVENTS})
        }
        if all(settled.get(partition, 0) >= end for partition, end in ends.items()):
            return time.monotonic() - began
        time.sleep(0.25)
    raise PipelineError(
        f"the job has not worked off its backlog after {LONGEST_BACKLOG_S:.0f} s: too little of the machine is "
        "free to measure latency; end other work and try again"
    )


def memory_figures(memory: Memory, began_s: float, ended_s: float) -> dict[str, float | None]:
    """Peak over all, and the medians (MiB) of the tenths of the steady time around its half and at its end."""
    tenth = (ended_s - began_s) / 10
    half_s = (began_s + ended_s) / 2
    return {
        "peak_mib": max((mib for _, mib in memory.samples), default=None),
        "half_mib": percentile(memory.between(half_s - tenth / 2, half_s + tenth / 2), 0.5),
        "end_mib": percentile(memory.between(ended_s - tenth, ended_s), 0.5),
    }


def batch_figures(docs: Sequence[Mapping[str, Any]], began_s: float, ended_s: float) -> dict[str, Any]:
    """Medians (ms) of what the batches of the steady time spent where, by the job's own progress."""
    steady = [doc for doc in docs if began_s <= doc["at"].timestamp() <= ended_s and doc["rows_in"]]
    spent: dict[str, list[float]] = {}
    for doc in steady:
        for name in ("durations_ms", "spark_durations_ms"):
            prefix = "spark." if name.startswith("spark") else ""
            for part, ms in doc.get(name, {}).items():
                spent.setdefault(prefix + part, []).append(float(ms))
    return {
        "count": len(steady),
        "rows_p50": percentile([float(doc["rows_in"]) for doc in steady], 0.5),
        "ms_p50": {part: rounded(percentile(values, 0.5)) for part, values in sorted(spent.items())},
    }
