"""Which run used what of a node: shares of busy CPU time and of GPUs, by the trackers registered on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from producers.attribution import CpuLedger, gpu_shares
from producers.host import HostState
from producers.ports import GpuSample
from producers.process_tree import ProcessTree, TreeUsage
from producers.registry import Entry, Registry, by_gpu, by_pid
from schemas.events import Consumer, GpuShare


class Consumers:
    """Follows the process trees of the registered trackers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._trees: dict[str, tuple[ProcessTree, CpuLedger]] = {}

    def shares(self, host: HostState, gpus: Iterable[GpuSample]) -> tuple[Consumer, ...]:
        """Shares of the interval since the previous call, one entry a run; each sum is at most 1."""
        gpus = tuple(gpus)
        living = self._registry.living()
        known = {entry.producer_id for entry in living}
        self._trees = {name: tree for name, tree in self._trees.items() if name in known}
        trackers = by_pid(living)
        cpu: dict[str, float] = {}
        gpu: dict[str, dict[str, float]] = {}
        for entry in living:
            fresh = entry.producer_id not in self._trees
            if fresh:
                self._trees[entry.producer_id] = (ProcessTree(entry.pid), CpuLedger())
            tree, ledger = self._trees[entry.producer_id]
            usage = tree.sample(trackers)
            share = None if fresh else ledger.share(usage.cpu_s, host.busy_s, host.capacity_s)
            if share is not None:
                cpu[entry.run_id] = cpu.get(entry.run_id, 0.0) + share.of_busy
            _add(gpu.setdefault(entry.run_id, defaultdict(float)), _gpu_shares(gpus, entry, living, usage))
        return _consumers(cpu, gpu)


def _gpu_shares(
    gpus: Iterable[GpuSample], entry: Entry, living: list[Entry], usage: TreeUsage
) -> dict[str, float]:
    others = [other for other in living if other.producer_id != entry.producer_id]
    return gpu_shares(gpus, entry, by_gpu(others), usage.weights)


def _add(sums: dict[str, float], parts: dict[str, float]) -> None:
    for uuid, share in parts.items():
        sums[uuid] = sums.get(uuid, 0.0) + share


def _consumers(cpu: dict[str, float], gpu: dict[str, dict[str, float]]) -> tuple[Consumer, ...]:
    cpu_scale = max(1.0, sum(cpu.values()))
    together: dict[str, float] = defaultdict(float)
    for shares in gpu.values():
        _add(together, shares)
    return tuple(
        Consumer(
            run_id=run_id,
            cpu_time_share=cpu[run_id] / cpu_scale if run_id in cpu else None,
            gpus=tuple(
                GpuShare(uuid=uuid, share=share / max(1.0, together[uuid])) for uuid, share in shares.items()
            )
            or None,
        )
        for run_id, shares in gpu.items()
    )
