"""How much of the machine's energy a run is charged: pure arithmetic, documented in docs/reference/meters.md.

CPU and memory: energy × share of the CPUs' capacity, that is energy × utilisation × share of busy time. It
is the rule by which the stream splits a node's energy, so that a run's own total and what its node attributes
to it agree. (Kepler's rule: idle energy belongs to the node, not to a run.) GPU: all of those visible to the
run, shared among the trackers that see them. Shares are fractions of amounts that all trackers together
cannot exceed, so neither can their charges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from producers.ports import GpuSample
from producers.registry import Entry


@dataclass(frozen=True, slots=True)
class CpuShare:
    """A run's part of the machine's busy CPU time, and of its whole capacity."""

    of_busy: float
    of_capacity: float


@dataclass(slots=True)
class CpuLedger:
    """Turns CPU seconds into shares. What clock ticks put into the wrong interval is carried to the next."""

    _carried_s: float = 0.0

    def share(self, used_s: float, busy_s: float | None, capacity_s: float | None) -> CpuShare | None:
        """Shares of one interval, None where the machine's own times are not known."""
        if busy_s is None or capacity_s is None or capacity_s <= 0:
            return None
        wanted_s = used_s + self._carried_s
        granted_s = min(wanted_s, busy_s)
        self._carried_s = min(wanted_s - granted_s, capacity_s)
        of_busy = granted_s / busy_s if busy_s > 0 else 0.0
        return CpuShare(min(1.0, of_busy), min(1.0, granted_s / capacity_s))


@dataclass(frozen=True, slots=True)
class Charge:
    """Energy (J) that a run is charged over an interval; None is not known."""

    cpu_j: float | None = None
    gpu_j: float | None = None
    ram_j: float | None = None


def cpu_time_charge_j(energy_j: float | None, share: CpuShare | None) -> float | None:
    """The run's part of an energy that CPU time shares out: that of the CPUs, and of memory."""
    return None if energy_j is None or share is None else energy_j * share.of_capacity


def gpu_shares(
    gpus: Iterable[GpuSample],
    entry: Entry,
    others: Mapping[str, int],
    weights: Mapping[int, float],
) -> dict[str, float]:
    """The run's share of each GPU that it sees. `others` counts the other trackers that see it, by uuid.

    A GPU that no other tracker sees is the run's own. A shared one is divided by what each process was seen
    to use, where the driver tells (`weights` are the run's processes), else equally.
    """
    shares: dict[str, float] = {}
    for gpu in gpus:
        if gpu.uuid not in entry.gpus:
            continue
        sharing = 1 + others.get(gpu.uuid, 0)
        if sharing == 1:
            shares[gpu.uuid] = 1.0
        elif gpu.process_shares:
            own = sum(part * weights.get(pid, 0.0) for pid, part in gpu.process_shares.items())
            shares[gpu.uuid] = min(1.0, own)
        else:
            shares[gpu.uuid] = 1.0 / sharing
    return shares


def gpu_charge_j(gpus: Iterable[GpuSample], shares: Mapping[str, float]) -> float | None:
    """The run's GPU energy; None where no GPU of the run gave any."""
    parts = [
        gpu.energy_j * shares[gpu.uuid] for gpu in gpus if gpu.uuid in shares and gpu.energy_j is not None
    ]
    return sum(parts) if parts else None
