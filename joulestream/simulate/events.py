"""The plan of a fleet as messages, in order of event time."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from joulestream.simulate.physics import Demand, NodeTick, Use, node_tick, rounded
from joulestream.simulate.plan import FleetPlan, NodePlan, RankPlan, RunPlan, diurnal
from schemas.carbon import intensity
from schemas.events import Consumer, GpuReading, GpuShare, NodeSample, TrainingEvent
from schemas.times import from_ms, rfc3339, to_ms
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from schemas.units import MS_PER_S, emissions_kg, kwh_from_j

METERS = ("simulated",)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it goes on the topic. `event` is what it says; None for a broken one."""

    topic: str
    key: str
    value: bytes
    at_ms: int
    event: TrainingEvent | NodeSample | None


@dataclass(slots=True)
class _Process:
    """The state of one producer: its id, its next sequence, whether its meters were read before."""

    run: RunPlan
    rank: RankPlan
    rng: random.Random
    starts: int = 0
    sequence: int = 0
    events: int = 0
    energy_kwh: list[float] = field(default_factory=list)

    @property
    def producer_id(self) -> str:
        return f"{self.run.run_id}.{self.rank.rank}.{self.starts}"

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence - 1


def fleet_messages(plan: FleetPlan) -> Iterator[Message]:
    """All messages of the plan: per tick each node's sample and then the events of its runs."""
    spec = plan.spec
    starting: dict[tuple[int, int], list[_Process]] = {}
    for run in plan.runs:
        for rank in run.ranks:
            rng = random.Random(f"{spec.seed}|{run.run_id}|{rank.rank}")  # noqa: S311 - a simulation
            starting.setdefault((run.first, rank.node), []).append(_Process(run, rank, rng))
    rngs = [random.Random(f"{spec.seed}|{node.node_id}") for node in plan.nodes]  # noqa: S311 - as above
    order = sorted(range(len(plan.nodes)), key=lambda index: plan.nodes[index].phase_ms)
    active: dict[int, list[_Process]] = {index: [] for index in order}
    for tick in range(spec.ticks):
        for index in order:
            at_ms = to_ms(spec.start) + tick * spec.every_ms + plan.nodes[index].phase_ms
            yield from _node_messages(plan, plan.nodes[index], rngs[index], active[index], tick, at_ms)
            active[index] = [process for process in active[index] if process.run.last > tick]
            for process in starting.pop((tick, index), ()):
                active[index].append(process)
                if not plan.nodes[index].is_silent(tick):
                    yield _training(plan, plan.nodes[index], process, at_ms, event_type="run_started")


def _node_messages(
    plan: FleetPlan, node: NodePlan, rng: random.Random, active: list[_Process], tick: int, at_ms: int
) -> Iterator[Message]:
    every_s = plan.spec.every_s
    demands = [
        Demand(p.run.run_id, p.run.model.cores, p.rank.gpus, p.run.model.gpu_load * p.rng.uniform(0.9, 1.0))
        for p in active
    ]
    background = 0.08 * diurnal(at_ms, node.region.utc_offset_h)
    result = node_tick(node.machine, demands, background, every_s, rng)
    if node.is_silent(tick):
        return  # the node was cut off: its runs went on, their readings are lost
    yield _sample(plan, node, demands, result, tick, at_ms)
    for process, use in zip(active, result.uses, strict=True):
        yield from _run_messages(plan, node, process, use, result, tick, at_ms)


def _sample(
    plan: FleetPlan, node: NodePlan, demands: list[Demand], result: NodeTick, tick: int, at_ms: int
) -> Message:
    restarted = node.restart_tick is not None and tick >= node.restart_tick
    first = tick in (0, node.restart_tick)  # a first reading gives no energy
    machine = node.machine
    sample = NodeSample(
        node_id=node.node_id,
        timestamp=from_ms(at_ms),
        schema_version=1,
        producer_id=f"{node.node_id}.{int(restarted)}",
        sequence=tick - (node.restart_tick or 0) if restarted else tick,
        region_iso=node.region.alpha_3,
        interval_s=None if first else plan.spec.every_s,
        cpu_energy_j=None if first else result.cpu_energy_j,
        dram_energy_j=None if first else result.dram_energy_j,
        # Only machines without GPUs have a platform meter here: whether one covers the GPUs differs by maker.
        platform_energy_j=None if first or machine.gpu else result.platform_energy_j,
        gpus=_gpu_readings(node, result, first) or None,
        cpu_utilization_pct=result.cpu_pct,
        memory_used_mib=result.memory_used_mib,
        memory_total_mib=machine.memory_mib,
        consumers=_consumers(node, demands, result) or None,
        measurement="estimated",
        meters=METERS,
    )
    return Message(NODE_METRICS, node.node_id, sample.to_json(), at_ms, sample)


def _gpu_readings(node: NodePlan, result: NodeTick, first: bool) -> tuple[GpuReading, ...]:
    return tuple(
        GpuReading(
            uuid=node.gpu_uuids[index],
            index=index,
            name=node.machine.gpu.name if node.machine.gpu else None,
            energy_j=None if first else gpu.energy_j,
            power_w=gpu.power_w,
            utilization_pct=gpu.utilization_pct,
            memory_used_mib=gpu.memory_used_mib,
            temperature_c=round(30.0 + 0.5 * gpu.utilization_pct, 1),
        )
        for index, gpu in enumerate(result.gpus)
    )


def _consumers(node: NodePlan, demands: list[Demand], result: NodeTick) -> tuple[Consumer, ...]:
    """What each run used of the node, as the agent would tell it."""
    found = []
    for demand, use in zip(demands, result.uses, strict=True):
        shares = zip(demand.gpus, use.gpu_shares, strict=True)
        gpus = tuple(GpuShare(uuid=node.gpu_uuids[index], share=share) for index, share in shares)
        found.append(Consumer(run_id=demand.run_id, cpu_time_share=use.cpu_share, gpus=gpus or None))
    return tuple(found)


def _run_messages(
    plan: FleetPlan, node: NodePlan, process: _Process, use: Use, result: NodeTick, tick: int, at_ms: int
) -> Iterator[Message]:
    run = process.run
    if process.rank.restart_tick == tick:  # the process died and came back: its interval is lost
        process.starts += 1
        process.sequence = 0
        yield _training(plan, node, process, at_ms, event_type="run_started")
        return
    ends = tick == run.last and run.status != "running"
    facts = _energy(plan, process, use) | _progress(run, process, tick) | _state(process, use, result)
    if ends and not run.plain:
        yield _training(plan, node, process, at_ms, event_type="run_finished", status=run.status, **facts)
        return
    yield _training(plan, node, process, at_ms, event_type="metric", **facts)
    if ends:
        yield _summary(plan, node, process, at_ms)


def _energy(plan: FleetPlan, process: _Process, use: Use) -> dict[str, Any]:
    cpu, ram = kwh_from_j(use.cpu_energy_j), kwh_from_j(use.ram_energy_j)
    gpu = kwh_from_j(use.gpu_energy_j) if process.rank.gpus else None
    energy_kwh = cpu + ram + (gpu or 0.0)
    process.energy_kwh.append(energy_kwh)
    facts: dict[str, Any] = {
        "interval_s": plan.spec.every_s,
        "energy_kwh": energy_kwh,
        "cpu_energy_kwh": cpu,
        "gpu_energy_kwh": gpu,
        "ram_energy_kwh": ram,
        "measurement": "estimated",
        "meters": METERS,
    }
    if process.run.brings_emissions:
        found = intensity(process.run.region_text)
        facts["emissions_kg"] = emissions_kg(energy_kwh, found.g_per_kwh)
        facts["carbon_intensity_g_per_kwh"] = found.g_per_kwh
        facts["carbon_intensity_source"] = found.source
    return facts


def _progress(run: RunPlan, process: _Process, tick: int) -> dict[str, Any]:
    """Falling loss and rising accuracy, with noise that fades; a failed run diverges at its end."""
    model = run.model
    done = (tick - run.first) / (run.last - run.first)
    reached = done if run.status == "completed" else 0.7 * done
    steps = model.epochs * model.steps_per_epoch
    learnt = 1.0 - math.exp(-4.0 * reached)
    loss = model.last_loss + (model.first_loss - model.last_loss) * (1.0 - learnt)
    loss *= 1.0 + process.rng.gauss(0.0, 0.02)
    if run.status == "failed" and done > 0.9:
        loss = model.first_loss * (1.0 + 4.0 * done)
    accuracy = model.last_accuracy * learnt + process.rng.gauss(0.0, 0.004)
    return {
        "epoch": float(max(1, math.ceil(reached * model.epochs))),
        "total_epochs": float(model.epochs),
        "step": float(math.floor(reached * steps)),
        "total_steps": float(steps),
        "loss": rounded(max(0.0, loss)),
        "accuracy": rounded(min(1.0, max(0.0, accuracy))),
    }


def _state(process: _Process, use: Use, result: NodeTick) -> dict[str, Any]:
    mine = [result.gpus[index] for index in process.rank.gpus]
    facts: dict[str, Any] = {"cpu_utilization_pct": use.cpu_pct}
    if mine:
        facts["gpu_utilization_pct"] = rounded(sum(g.utilization_pct for g in mine) / len(mine))
        facts["gpu_power_w"] = rounded(sum(g.power_w for g in mine))
        facts["gpu_memory_used_mib"] = rounded(sum(g.memory_used_mib for g in mine))
    return facts


def _training(
    plan: FleetPlan, node: NodePlan, process: _Process, at_ms: int, *, event_type: str, **facts: Any
) -> Message:
    run, rank = process.run, process.rank
    identity: dict[str, Any] = {"schema_version": 1}
    if not run.plain:
        identity |= {"producer_id": process.producer_id, "sequence": process.next_sequence()}
        identity |= {"rank": rank.rank, "world_size": len(run.ranks)}
    started = event_type == "run_started"
    event = TrainingEvent(
        run_id=run.run_id,
        timestamp=from_ms(at_ms),
        event_type=event_type,
        user_id=run.user_id,
        project=run.project,
        model_name=run.model.name if run.named else None,
        dataset_name=run.model.dataset,
        framework=run.model.framework,
        environment=run.environment,
        region_iso=run.region_text,
        hyperparameters=run.hyperparameters if started else None,
        node_id=node.node_id,
        **identity,
        **facts,
    )
    process.events += event_type == "metric"
    return Message(TRAINING_EVENTS, run.run_id, event.to_json(), at_ms, event)


def _summary(plan: FleetPlan, node: NodePlan, process: _Process, at_ms: int) -> Message:
    """The end of a run in the plain dialect, with totals of its own."""
    run, every_ms = process.run, plan.spec.every_ms
    started_ms = to_ms(plan.spec.start) + run.first * every_ms + node.phase_ms
    wire = {
        "event_type": "run_summary",
        "run_id": run.run_id,
        "timestamp": rfc3339(from_ms(at_ms)),
        "start_timestamp": rfc3339(from_ms(started_ms)),
        "end_timestamp": rfc3339(from_ms(at_ms)),
        "total_energy_kwh": math.fsum(process.energy_kwh),
        "n_metric_events": process.events,
        "total_duration_s": (at_ms - started_ms) / MS_PER_S,
        "status": run.status,
    }
    names: dict[str, Any] = {
        "user_id": run.user_id,
        "model_name": run.model.name if run.named else None,
        "region_iso": run.region_text,
    }
    wire |= {name: value for name, value in names.items() if value is not None}
    event = TrainingEvent(
        run_id=run.run_id,
        timestamp=from_ms(at_ms),
        event_type="run_finished",
        status=run.status,
        **names,
    )
    return Message(
        TRAINING_EVENTS, run.run_id, json.dumps(wire, separators=(",", ":")).encode(), at_ms, event
    )
