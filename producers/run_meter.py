"""What one run drew since the last look: the machine's reading charged by its process tree and its GPUs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import psutil

from producers.attribution import Charge, CpuLedger, cpu_time_charge_j, gpu_charge_j, gpu_shares
from producers.host import Host, HostState
from producers.machine import Machine, Provenance
from producers.ports import GpuSample, Instant
from producers.process_tree import ProcessTree
from producers.registry import Entry, Registry, by_gpu, by_pid
from schemas.units import mib_from_bytes


@dataclass(frozen=True, slots=True)
class State:
    """What the run's part of the machine looks like at a moment; None is not known."""

    cpu_utilization_pct: float | None = None
    gpu_utilization_pct: float | None = None
    gpu_power_w: float | None = None
    gpu_memory_used_mib: float | None = None
    memory_used_mib: float | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A run's energy between two looks (monotonic seconds), how it is known, and its state at the end."""

    from_s: float
    to_s: float
    charge: Charge
    sources: tuple[Provenance, ...]
    state: State


class RunMeter:
    """Charges one registered tracker. The first look is the base line and has no energy."""

    def __init__(
        self,
        machine: Machine,
        registry: Registry,
        entry: Entry,
        host: Host | None = None,
        tree: ProcessTree | None = None,
    ) -> None:
        self._machine, self._registry, self._entry = machine, registry, entry
        self._host = host or Host()
        self._tree = tree or ProcessTree(entry.pid)
        self._ledger = CpuLedger()
        self._last_s: float | None = None
        self._roots: Counter[int] = Counter()
        self._gpu_users: Counter[str] = Counter()

    def look(self, at: Instant) -> Interval:
        """Energy since the previous look. Does not raise on account of a meter."""
        roots, gpu_users = self._sharing()
        usage = self._tree.sample(roots)
        host = self._host.look()
        seen = self._machine.sample(at)
        reading = seen.reading
        held_mib = mib_from_bytes(usage.memory_bytes)
        shares = gpu_shares(reading.gpus, self._entry, gpu_users, usage.weights)
        cpu_share = self._ledger.share(usage.cpu_s, *self._cpu_times(host, at, roots))
        charge = Charge(
            cpu_time_charge_j(reading.cpu_energy_j, cpu_share),
            gpu_charge_j(reading.gpus, shares),
            cpu_time_charge_j(reading.dram_energy_j, cpu_share),
        )
        from_s = at.monotonic_s if self._last_s is None else self._last_s
        self._last_s = at.monotonic_s
        own = [gpu for gpu in reading.gpus if gpu.uuid in shares]
        state = _state(host.cpu_utilization_pct, own, held_mib)
        charged = {"cpu": charge.cpu_j, "gpu": charge.gpu_j, "dram": charge.ram_j}
        sources = tuple(seen.sources[name] for name, energy_j in charged.items() if energy_j is not None)
        return Interval(from_s, at.monotonic_s, charge, sources, state)

    def _cpu_times(
        self, host: HostState, at: Instant, roots: Counter[int]
    ) -> tuple[float | None, float | None]:
        """Busy and capacity CPU seconds of the machine since the last look.

        The kernel's sums can stand still or go back over a short interval. Then the capacity is elapsed time
        times CPUs, and each living tracker can have an equal part of it at most, so that all together cannot
        exceed the machine.
        """
        if host.capacity_s != 0 or self._last_s is None:
            return host.busy_s, host.capacity_s
        capacity_s = (at.monotonic_s - self._last_s) * (psutil.cpu_count() or 1)
        return capacity_s / max(1, sum(roots.values())), capacity_s

    def _sharing(self) -> tuple[Counter[int], Counter[str]]:
        """Trackers by root process, and the other trackers by GPU: the more of now and of the last look.

        One that came or went in between shares the whole interval. So nothing is charged twice; what it did
        not share stays with the node.
        """
        living = self._registry.living()
        roots = by_pid(living)
        users = by_gpu(entry for entry in living if entry.producer_id != self._entry.producer_id)
        before = (self._roots, self._gpu_users)
        self._roots, self._gpu_users = roots, users
        return roots | before[0], users | before[1]

    def close(self) -> None:
        """Close the meters."""
        self._machine.close()


def _state(cpu_utilization_pct: float | None, gpus: list[GpuSample], held_mib: float) -> State:
    loads = [gpu.utilization_pct for gpu in gpus if gpu.utilization_pct is not None]
    powers = [gpu.power_w for gpu in gpus if gpu.power_w is not None]
    memory = [gpu.memory_used_mib for gpu in gpus if gpu.memory_used_mib is not None]
    return State(
        cpu_utilization_pct=cpu_utilization_pct,
        gpu_utilization_pct=sum(loads) / len(loads) if loads else None,
        gpu_power_w=sum(powers) if powers else None,
        gpu_memory_used_mib=sum(memory) if memory else None,
        memory_used_mib=held_mib,
    )
