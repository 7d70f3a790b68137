"""CPU time by part of the pipeline: what a step costs, whatever else the machine does meanwhile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

WORKERS, DRIVER = "workers", "driver"
DAEMONS = ("pyspark.daemon", "spark_jobs.workers")  # workers are forked from it, and keep its command line


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds so far: of each part of ours, and of the whole machine (busy time of all cores)."""

    parts: Mapping[str, float]
    machine_s: float

    def spent(self, since: Cpu, rows: int) -> dict[str, float]:
        """Microseconds per row by part since then, their sum, and the share of all busy time that was not ours."""
        used = {name: self.parts[name] - since.parts.get(name, 0.0) for name in self.parts}
        ours_s, busy_s = sum(used.values()), self.machine_s - since.machine_s
        figures = {f"{name}_us_per_row": round(s / rows * 1e6, 1) for name, s in used.items()} if rows else {}
        if rows:
            figures["us_per_row"] = round(ours_s / rows * 1e6, 1)
        if busy_s > 0:
            figures["others_share"] = round(max(0.0, 1.0 - ours_s / busy_s), 2)
        return figures


def read_cpu(servers: Mapping[str, int]) -> Cpu:
    """Now. `servers`: pid by name; the driver is this process with its JVM, all below its daemon are workers."""
    parts = {name: seconds_of(pid) for name, pid in servers.items()}
    parts[DRIVER] = parts[WORKERS] = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            name = WORKERS if set(DAEMONS) & set(process.cmdline()) else DRIVER
            parts[name] += _seconds(process, ended_children=name == WORKERS)
        except psutil.NoSuchProcess:
            continue
    times = psutil.cpu_times()
    return Cpu(parts, sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _seconds(process: psutil.Process, ended_children: bool = False) -> float:
    times = process.cpu_times()
    ended = times.children_user + times.children_system if ended_children else 0.0
    return float(times.user + times.system + ended)


def seconds_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    return _seconds(psutil.Process(pid))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
