"""Who runs what, where and when: the plan of a fleet, drawn once from the seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Any

from joulestream.simulate.catalogue import (
    ENVIRONMENTS,
    MACHINES,
    MODELS,
    PROJECTS,
    REGIONS,
    USERS,
    Machine,
    Model,
    Region,
)
from joulestream.simulate.spec import S_PER_DAY, FleetSpec
from schemas.times import to_ms
from schemas.units import MS_PER_S, S_PER_H

UNKNOWN_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node. Readings fall `phase_ms` after each tick; `silent` ticks (from, until) have none."""

    node_id: str
    machine: Machine
    region: Region
    phase_ms: int
    silent: tuple[int, int] | None = None
    restart_tick: int | None = None

    @property
    def gpu_uuids(self) -> tuple[str, ...]:
        """Identifiers of its GPUs, by index."""
        return tuple(f"GPU-{self.node_id}-{index}" for index in range(self.machine.gpu_count))

    def is_silent(self, tick: int) -> bool:
        """Whether the node is cut off: nothing on it can send."""
        return self.silent is not None and self.silent[0] <= tick < self.silent[1]


@dataclass(frozen=True, slots=True)
class RankPlan:
    """One process of a run: its node and GPUs; a restart gives it a new producer id."""

    rank: int
    node: int
    gpus: tuple[int, ...]
    restart_tick: int | None = None


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One training run over the ticks `first` (start) to `last` (its last event)."""

    run_id: str
    user_id: str | None
    model: Model
    named: bool
    project: str | None
    environment: str | None
    hyperparameters: dict[str, Any] | None
    ranks: tuple[RankPlan, ...]
    first: int
    last: int
    status: str  # completed, failed or stopped; `running` says that no end is sent
    plain: bool  # speaks the plain client dialect: no identity fields, a run_summary at the end
    brings_emissions: bool
    region_text: str | None


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """All nodes and runs of a spec."""

    spec: FleetSpec
    nodes: tuple[NodePlan, ...]
    runs: tuple[RunPlan, ...]


def diurnal(at_ms: int, utc_offset_h: float = 0.0) -> float:
    """Load of the time of day, 0.2 to 1: most at 15 h local time, least at 3 h, and less at weekends."""
    hours = at_ms / MS_PER_S / S_PER_H + utc_offset_h
    day = 0.6 - 0.4 * math.cos(2 * math.pi * (hours - 3.0) / 24.0)
    weekday = (int(hours // 24) + 3) % 7  # 1970-01-01 was a Thursday
    return max(0.2, 0.55 * day if weekday >= 5 else day)


def plan_fleet(spec: FleetSpec) -> FleetPlan:
    """Draw the plan of a fleet: equal specs give equal plans."""
    rng = random.Random(f"{spec.seed}|nodes|{spec.nodes}")  # noqa: S311 - a simulation, not a secret
    nodes = tuple(_node(spec, index, rng) for index in range(spec.nodes))
    rng = random.Random(f"{spec.seed}|runs|{spec.runs}|{spec.days}|{spec.every_ms}")  # noqa: S311 - as above
    firsts = sorted(_arrival(spec, rng) for _ in range(spec.runs))
    placed: list[RunPlan] = []
    for index, first in enumerate(firsts):
        placed.append(_run(spec, nodes, placed, index, first, rng))
    return FleetPlan(spec, nodes, tuple(placed))


def _node(spec: FleetSpec, index: int, rng: random.Random) -> NodePlan:
    machine = MACHINES[index % len(MACHINES)]
    region = REGIONS[index % len(REGIONS)]
    node_id = f"sim-{spec.tag}-n{index:03d}"
    node = NodePlan(node_id, machine, region, rng.randrange(spec.every_ms))
    begin, length = rng.randrange(1, spec.ticks), rng.randint(1, max(1, spec.ticks // 8))
    restart = rng.randrange(1, spec.ticks)
    if not spec.faults:
        return node
    silent = (begin, begin + length) if index % 2 == 0 else None
    return replace(node, silent=silent, restart_tick=restart if index % 3 == 1 else None)


def _arrival(spec: FleetSpec, rng: random.Random) -> int:
    """A start tick, more often when the day is busy (rejection sampling)."""
    latest = max(1, spec.ticks - 2)
    start_ms = to_ms(spec.start)
    for _ in range(64):
        tick = rng.randrange(latest)
        if rng.random() <= diurnal(start_ms + tick * spec.every_ms):
            return tick
    return tick


def _run(
    spec: FleetSpec,
    nodes: tuple[NodePlan, ...],
    placed: list[RunPlan],
    index: int,
    first: int,
    rng: random.Random,
) -> RunPlan:
    model = rng.choice(MODELS)
    hours = min(rng.lognormvariate(0.3, 0.8), 0.4 * spec.days * S_PER_DAY / S_PER_H)
    length = max(2, round(hours * S_PER_H * MS_PER_S / spec.every_ms))
    status = rng.choices(("completed", "failed", "stopped"), (0.8, 0.12, 0.08))[0]
    if status != "completed":
        length = max(2, round(length * rng.uniform(0.2, 0.9)))
    last = first + length
    if last > spec.ticks - 1:
        last, status = spec.ticks - 1, "running"
    plain = rng.random() < 0.25
    world = 2 if not plain and model.gpus and len(nodes) > 1 and rng.random() < 0.3 else 1
    ranks = _ranks(spec, nodes, [run for run in placed if run.last >= first], model, world, first, last, rng)
    region = nodes[ranks[0].node].region
    if spec.faults and status != "running" and rng.random() < 0.15:
        status = "running"  # its machine went away: no end was ever sent
    return RunPlan(
        run_id=f"sim-{spec.tag}-r{index:04d}",
        user_id=_known(USERS[: max(3, min(len(USERS), spec.runs // 4))], rng),
        model=model,
        named=rng.random() >= UNKNOWN_SHARE,
        project=rng.choice(PROJECTS),
        environment=rng.choice(ENVIRONMENTS),
        hyperparameters=_hyperparameters(rng),
        ranks=ranks,
        first=first,
        last=last,
        status=status,
        plain=plain,
        brings_emissions=rng.random() < 0.5,
        region_text=region.alpha_2 if plain else region.alpha_3,
    )


def _known(names: tuple[str, ...], rng: random.Random) -> str | None:
    name = rng.choice(names)
    return None if rng.random() < UNKNOWN_SHARE else name


def _hyperparameters(rng: random.Random) -> dict[str, Any] | None:
    drawn = {"lr": rng.choice((0.1, 0.01, 0.001, 0.0003)), "batch_size": rng.choice((32, 64, 128, 256))}
    return drawn if rng.random() < 0.7 else None


def _ranks(
    spec: FleetSpec,
    nodes: tuple[NodePlan, ...],
    beside: list[RunPlan],
    model: Model,
    world: int,
    first: int,
    last: int,
    rng: random.Random,
) -> tuple[RankPlan, ...]:
    """Place each rank on the node, and there on the GPUs, that fewest others use at the time."""
    used: dict[tuple[int, int], int] = {}
    busy: dict[int, float] = {}
    for run in beside:
        for rank in run.ranks:
            busy[rank.node] = busy.get(rank.node, 0.0) + run.model.cores / nodes[rank.node].machine.cores
            for gpu in rank.gpus:
                used[rank.node, gpu] = used.get((rank.node, gpu), 0) + 1
    fits = [i for i, node in enumerate(nodes) if node.machine.gpu_count >= model.gpus]
    order = sorted(fits or range(len(nodes)), key=lambda i: (round(busy.get(i, 0.0), 6), rng.random()))
    ranks = []
    for number in range(world):
        node = order[number % len(order)]
        free = sorted(range(nodes[node].machine.gpu_count), key=lambda g: (used.get((node, g), 0), g))
        mine = tuple(sorted(free[: model.gpus]))
        for gpu in mine:
            used[node, gpu] = used.get((node, gpu), 0) + 1
        restarts = spec.faults and last - first > 3 and rng.random() < 0.3
        ranks.append(RankPlan(number, node, mine, rng.randrange(first + 2, last) if restarts else None))
    return tuple(ranks)
