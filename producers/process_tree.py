"""CPU time and memory of a process and all its descendants, finished ones included.

Each process is divided by the number of trackers that cover it (its own and those of its ancestors), so
that nested or overlapping trackers together never count it more than once.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process: CPU seconds of its own and of children it has waited for, private memory in bytes."""

    pid: int
    ppid: int
    started: float
    own_s: float
    waited_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """What a tree used since the previous sample, divided among the trackers that cover it."""

    cpu_s: float = 0.0
    memory_bytes: float = 0.0
    weights: Mapping[int, float] = field(default_factory=dict)


ReadTree = Callable[[int], dict[int, ProcessStat]]


class ProcessTree:
    """The tree below `root_pid`. The first sample is the base line and uses nothing."""

    def __init__(self, root_pid: int, read: ReadTree | None = None) -> None:
        self._root_pid = root_pid
        self._read = read or TreeReader()
        self._last: dict[int, ProcessStat] | None = None
        self._weights: dict[int, float] = {}
        self._newest = 0.0

    def sample(self, trackers: Mapping[int, int]) -> TreeUsage:
        """Usage since the previous sample. `trackers` counts the registered trackers by root pid."""
        now = self._read(self._root_pid)
        above = 0
        if sum(trackers.values()) > trackers.get(self._root_pid, 0):
            above = sum(trackers.get(pid, 0) for pid in ancestors(self._root_pid))
        before = self._weights
        weights = {pid: 1 / n for pid, n in covering(self._root_pid, now, trackers, above).items()}
        cpu_s = 0.0
        if self._last is not None:
            used = used_since(self._last, now, self._newest, before)
            both = {**before, **weights}
            cpu_s = sum(seconds * both.get(pid, 1.0) for pid, seconds in used.items())
        self._last, self._weights = now, weights
        self._newest = max([self._newest, *(stat.started for stat in now.values())])
        memory = sum(stat.memory_bytes * weights.get(pid, 1.0) for pid, stat in now.items())
        return TreeUsage(cpu_s, memory, weights)


def covering(
    root_pid: int, tree: Mapping[int, ProcessStat], trackers: Mapping[int, int], above: int
) -> dict[int, int]:
    """How many trackers cover each process of the tree; at least one, the tree's own."""
    below: dict[int, list[int]] = {}
    for stat in tree.values():
        below.setdefault(stat.ppid, []).append(stat.pid)
    counts: dict[int, int] = {}
    waiting = [(root_pid, above)]
    while waiting:
        pid, over = waiting.pop()
        if pid in tree and pid not in counts:
            counts[pid] = over + trackers.get(pid, 0)
            waiting += [(child, counts[pid]) for child in below.get(pid, ())]
    return {pid: max(1, count) for pid, count in counts.items()}


def used_since(
    last: Mapping[int, ProcessStat],
    now: Mapping[int, ProcessStat],
    newest: float,
    weights: Mapping[int, float],
) -> dict[int, float]:
    """CPU seconds by process since the last look; a finished child's are its waiting ancestor's.

    The time that a parent reports of children it waited for contains what was counted while they lived:
    that is taken off. `newest` is the latest start seen before: a process that joined the tree but is older
    brings nothing. `weights` are the last look's: where a child with a tracker of its own ended, what is
    waited for stands under that child, since its tracker was charged for it too.
    """
    alive = {pid for pid, stat in now.items() if pid in last and last[pid].started == stat.started}
    counted: Counter[int] = Counter()
    lightest: dict[int, int] = {}
    for stat in last.values():
        if stat.pid in alive:
            continue
        heir = stat.ppid
        while heir in last and heir not in alive:
            heir = last[heir].ppid
        counted[heir] += stat.own_s + stat.waited_s  # type: ignore[assignment]  # seconds, not a count
        if weights.get(stat.pid, 1.0) < weights.get(lightest.get(heir, heir), 1.0):
            lightest[heir] = stat.pid
    used: dict[int, float] = defaultdict(float)
    for pid, stat in now.items():
        if pid in alive:
            before = last[pid]
            waited = max(0.0, stat.waited_s - before.waited_s - counted[pid])
            used[pid] += max(0.0, stat.own_s - before.own_s)
            used[lightest.get(pid, pid)] += waited
        elif stat.started >= newest:
            used[pid] += stat.own_s + stat.waited_s
    return used


class TreeReader:
    """Reads the tree from the system. Keeps handles of known processes, so that a look stays cheap."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}

    def __call__(self, root_pid: int) -> dict[int, ProcessStat]:
        """All living processes of the tree, the root first; empty where it is gone."""
        found: dict[int, ProcessStat] = {}
        for pid in descendants(root_pid):
            with contextlib.suppress(psutil.Error):
                found[pid] = self._stat(pid)
        self._known = {pid: handle for pid, handle in self._known.items() if pid in found}
        return found

    def _stat(self, pid: int) -> ProcessStat:
        handle = self._known.get(pid)
        if handle is None or not handle.is_running():
            handle = self._known[pid] = psutil.Process(pid)
        with handle.oneshot():
            times = handle.cpu_times()
            memory = handle.memory_info()
            return ProcessStat(
                pid,
                handle.ppid(),
                handle.create_time(),
                times.user + times.system,
                getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0),
                max(0, memory.rss - getattr(memory, "shared", 0)),
            )


def descendants(root_pid: int) -> Iterator[int]:
    """The process and all below it. From the kernel's own lists of children where it keeps them."""
    if not (PROC / str(root_pid) / "task" / str(root_pid) / "children").exists():
        yield root_pid
        with contextlib.suppress(psutil.Error):
            yield from (child.pid for child in psutil.Process(root_pid).children(recursive=True))
        return
    waiting, seen = [root_pid], {root_pid}
    while waiting:
        pid = waiting.pop()
        yield pid
        fresh = [child for child in _children(pid) if child not in seen]
        seen.update(fresh)
        waiting += fresh


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):  # a thread that ended while we looked
                children += [int(child) for child in (task / "children").read_bytes().split()]
    return children


def ancestors(pid: int) -> list[int]:
    """The pids above a process, nearest first."""
    try:
        return [parent.pid for parent in psutil.Process(pid).parents()]
    except psutil.Error:
        return []
