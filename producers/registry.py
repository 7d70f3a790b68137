"""Who measures what on this machine: one small file per running tracker in a folder that all of them share.

A file counts while its process lives: same pid, same start time. Files of dead processes are removed; those
from another pid namespace (a container that shares the folder) cannot be judged and are left alone.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil

from schemas.times import rfc3339

_SAME_START_S = 2.0  # psutil derives start times from the boot time, which steps with the clock


@dataclass(frozen=True, slots=True)
class Entry:
    """A tracker at work: the root of its process tree, its run, the GPUs it may use."""

    producer_id: str
    run_id: str
    pid: int
    created_s: float
    started_at: str
    gpus: tuple[str, ...] = ()
    namespace: str = ""


class Registry:
    """The folder of entries. Raises OSError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def enter(
        self, producer_id: str, run_id: str, pid: int, started_at: datetime, gpus: tuple[str, ...]
    ) -> Entry:
        """Make a tracker known, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        created_s = psutil.Process(pid).create_time()
        entry = Entry(producer_id, run_id, pid, created_s, rfc3339(started_at), gpus, _namespace())
        file = self._file(producer_id)
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(entry)), "utf-8")
        scratch.replace(file)
        return entry

    def leave(self, producer_id: str) -> None:
        """Forget a tracker."""
        self._file(producer_id).unlink(missing_ok=True)

    def living(self) -> list[Entry]:
        """The trackers whose processes live, in order of their names; stale files are removed."""
        entries = []
        for file in sorted(self.folder.glob("*.json")):
            entry = _load(file)
            if entry is None or entry.namespace != _namespace():
                continue
            if _lives(entry):
                entries.append(entry)
            else:
                file.unlink(missing_ok=True)
        return entries

    def _file(self, producer_id: str) -> Path:
        return self.folder / f"{producer_id}.json"


def by_pid(entries: Iterable[Entry]) -> Counter[int]:
    """How many trackers have each process as their root."""
    return Counter(entry.pid for entry in entries)


def by_gpu(entries: Iterable[Entry]) -> Counter[str]:
    """How many trackers see each GPU."""
    return Counter(uuid for entry in entries for uuid in entry.gpus)


def _lives(entry: Entry) -> bool:
    try:
        process = psutil.Process(entry.pid)
        return abs(process.create_time() - entry.created_s) < _SAME_START_S
    except psutil.Error:
        return False


def _load(file: Path) -> Entry | None:
    try:
        fields = json.loads(file.read_text("utf-8"))
        return Entry(**{**fields, "gpus": tuple(fields["gpus"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # just being removed, or not ours


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
