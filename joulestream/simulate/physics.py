"""Power of a node and of its runs at one tick: what a node draws, and who used what of it.

Pure arithmetic in SI units. A run is charged its share of the node's *busy* energy, so the runs of a node
together never exceed the node; what is left is idle and unattributed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from joulestream.simulate.catalogue import Machine

FULL = 0.97  # no device is ever quite full
GPU_ATTRIBUTABLE = 0.97  # the rest is the desktop, the driver, the kernel
BACKGROUND = 0.02  # cores' share that the system itself uses at the least


@dataclass(frozen=True, slots=True)
class Demand:
    """What one process of a run asks for: cores, its GPUs (indexes) and how hard it works them (0..1)."""

    run_id: str
    cores: float
    gpus: tuple[int, ...]
    gpu_load: float


@dataclass(frozen=True, slots=True)
class GpuTick:
    """One GPU over the tick."""

    energy_j: float
    power_w: float
    utilization_pct: float
    memory_used_mib: float


@dataclass(frozen=True, slots=True)
class Use:
    """What one process used over the tick. `gpu_shares` belong to the GPUs of its demand, in order."""

    cpu_energy_j: float
    gpu_energy_j: float
    ram_energy_j: float
    cpu_share: float
    cpu_pct: float
    gpu_shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class NodeTick:
    """A node over the tick, and the use of each demand, in order."""

    cpu_energy_j: float
    dram_energy_j: float
    platform_energy_j: float
    cpu_pct: float
    memory_used_mib: float
    gpus: tuple[GpuTick, ...]
    uses: tuple[Use, ...]


def rounded(value: float) -> float:
    """Nine significant digits: what a meter could know, and short on the wire."""
    return float(f"{value:.9g}")


def node_tick(
    machine: Machine, demands: Sequence[Demand], background: float, every_s: float, rng: random.Random
) -> NodeTick:
    """One tick of `every_s` seconds. `background` (0..1) is the share of the cores that nobody's run uses."""
    noise = 1.0 + rng.uniform(-0.03, 0.03)
    own = machine.cores * max(BACKGROUND, background)
    asked = own + sum(demand.cores for demand in demands)
    busy = min(FULL, asked / machine.cores) * min(1.0, noise)
    cpu_busy_j = busy * (machine.cpu_max_w - machine.cpu_idle_w) * every_s
    dram_busy_j = busy * (machine.dram_max_w - machine.dram_idle_w) * every_s
    gpus, shares = _gpus(machine, demands, every_s, rng)
    uses = []
    for demand, mine in zip(demands, shares, strict=True):
        part = demand.cores / asked
        uses.append(
            Use(
                cpu_energy_j=rounded(cpu_busy_j * part),
                gpu_energy_j=rounded(
                    sum(gpus[g].energy_j * s for g, s in zip(demand.gpus, mine, strict=True))
                ),
                ram_energy_j=rounded(dram_busy_j * part),
                cpu_share=rounded(part),
                cpu_pct=rounded(100.0 * busy * part),
                gpu_shares=mine,
            )
        )
    cpu_j = rounded(machine.cpu_idle_w * every_s + cpu_busy_j)
    dram_j = rounded(machine.dram_idle_w * every_s + dram_busy_j)
    return NodeTick(
        cpu_energy_j=cpu_j,
        dram_energy_j=dram_j,
        platform_energy_j=rounded((cpu_j + dram_j) * 1.08 + 12.0 * every_s),
        cpu_pct=rounded(100.0 * busy),
        memory_used_mib=rounded(machine.memory_mib * (0.05 + 0.6 * busy)),
        gpus=gpus,
        uses=tuple(uses),
    )


def _gpus(
    machine: Machine, demands: Sequence[Demand], every_s: float, rng: random.Random
) -> tuple[tuple[GpuTick, ...], list[tuple[float, ...]]]:
    gpu = machine.gpu
    if gpu is None:
        return (), [() for _ in demands]
    load = [0.0] * machine.gpu_count
    for demand in demands:
        for index in demand.gpus:
            load[index] += demand.gpu_load
    ticks = []
    for asked in load:
        used = min(FULL, asked * (1.0 + rng.uniform(-0.05, 0.03)))
        power_w = rounded(gpu.idle_w + used * (gpu.max_w - gpu.idle_w))
        ticks.append(
            GpuTick(
                energy_j=rounded(power_w * every_s),
                power_w=power_w,
                utilization_pct=rounded(100.0 * used),
                memory_used_mib=rounded(gpu.memory_mib * (0.01 + 0.9 * used)),
            )
        )
    shares = [
        tuple(rounded(GPU_ATTRIBUTABLE * demand.gpu_load / load[g]) if load[g] else 0.0 for g in demand.gpus)
        for demand in demands
    ]
    return tuple(ticks), shares
