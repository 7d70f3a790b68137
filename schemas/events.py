"""The events: one frozen class per message, the single source of every derived schema.

Absent (None) means not known, never zero. Energy is IT energy at the device over the interval that ends
at `timestamp`; it is never multiplied by PUE.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Any

from schemas.fields import (
    AtLeastOne,
    Celsius,
    Count,
    Factor,
    Flag,
    GramPerKwh,
    Id,
    Joule,
    Kg,
    Kind,
    Kwh,
    Mib,
    Number,
    Object,
    Percent,
    Region,
    Seconds,
    Share,
    Spec,
    Text,
    Texts,
    Time,
    Watt,
)
from schemas.times import rfc3339

SCHEMA_VERSION = 1
STATUSES = ("completed", "failed", "stopped")
MEASUREMENTS = ("measured", "estimated", "mixed")


class Event:
    """What all messages share: the way to the wire."""

    __slots__ = ()

    def to_wire(self) -> dict[str, Any]:
        """A JSON-ready object without the fields that are not known."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return {name: _wire(value) for name, value in values if value is not None}

    def to_json(self) -> bytes:
        """UTF-8 JSON of `to_wire`. Raises ValueError on NaN or infinity."""
        return json.dumps(self.to_wire(), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _wire(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Event):
        return value.to_wire()
    if isinstance(value, tuple):
        return [_wire(item) for item in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEvent(Event):
    """A moment of a training run's life: topic `training.events`, key `run_id`."""

    run_id: Id
    timestamp: Time
    event_type: Annotated[str, Spec(Kind.CHOICE, choices=("run_started", "metric", "run_finished"))] = (
        "metric"
    )
    # identity
    schema_version: AtLeastOne | None = None
    event_id: Id | None = None
    producer_id: Id | None = None
    sequence: Count | None = None
    # who and what
    user_id: Id | None = None
    project: Text | None = None
    model_name: Text | None = None
    dataset_name: Text | None = None
    framework: Text | None = None
    environment: Text | None = None
    region_iso: Region | None = None
    hyperparameters: Object | None = None
    node_id: Id | None = None
    rank: Count | None = None
    world_size: AtLeastOne | None = None
    # progress
    epoch: Number | None = None
    total_epochs: Number | None = None
    step: Number | None = None
    total_steps: Number | None = None
    loss: Number | None = None
    accuracy: Number | None = None
    status: Annotated[str, Spec(Kind.CHOICE, choices=STATUSES)] | None = None
    # energy over the interval that ends at `timestamp`
    interval_s: Seconds | None = None
    energy_kwh: Kwh | None = None
    cpu_energy_kwh: Kwh | None = None
    gpu_energy_kwh: Kwh | None = None
    ram_energy_kwh: Kwh | None = None
    emissions_kg: Kg | None = None
    # running totals of this producer: kept, never summed
    cumulative_energy_kwh: Kwh | None = None
    cumulative_emissions_kg: Kg | None = None
    # state
    cpu_utilization_pct: Percent | None = None
    gpu_utilization_pct: Percent | None = None
    gpu_power_w: Watt | None = None
    gpu_memory_used_mib: Mib | None = None
    memory_used_mib: Mib | None = None
    # provenance
    measurement: Annotated[str, Spec(Kind.CHOICE, choices=MEASUREMENTS)] | None = None
    meters: Texts | None = None
    carbon_intensity_g_per_kwh: GramPerKwh | None = None
    carbon_intensity_source: Text | None = None
    pue: Factor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummaryTotals(Event):
    """Totals that a `run_summary` client reports of its run: kept for the audit, never added."""

    start_timestamp: Time | None = None
    end_timestamp: Time | None = None
    total_energy_kwh: Kwh | None = None
    total_emissions_kg: Kg | None = None
    n_metric_events: Count | None = None
    total_duration_s: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading(Event):
    """One GPU over the sample's interval (energy) and at its end (state)."""

    uuid: Id
    index: Count | None = None
    name: Text | None = None
    energy_j: Joule | None = None
    power_w: Watt | None = None
    utilization_pct: Percent | None = None
    memory_used_mib: Mib | None = None
    temperature_c: Celsius | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShare(Event):
    """A consumer's share of one GPU's busy time."""

    uuid: Id
    share: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer(Event):
    """A run's share of the node's busy time over the interval, or a pod's (`namespace` and `pod` for `run_id`)."""

    run_id: Id | None = None
    namespace: Id | None = None
    pod: Id | None = None
    cpu_time_share: Share | None = None
    gpus: Annotated[tuple[GpuShare, ...], Spec(Kind.ITEMS, max_items=1024)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSample(Event):
    """A node's meters over an interval: topic `node.metrics`, key `node_id`."""

    node_id: Id
    timestamp: Time
    schema_version: AtLeastOne | None = None
    event_id: Id | None = None
    producer_id: Id | None = None
    sequence: Count | None = None
    region_iso: Region | None = None
    interval_s: Seconds | None = None
    cpu_energy_j: Joule | None = None
    dram_energy_j: Joule | None = None
    platform_energy_j: Joule | None = None
    gpus: Annotated[tuple[GpuReading, ...], Spec(Kind.ITEMS, max_items=1024)] | None = None
    cpu_utilization_pct: Percent | None = None
    memory_used_mib: Mib | None = None
    memory_total_mib: Mib | None = None
    consumers: Annotated[tuple[Consumer, ...], Spec(Kind.ITEMS, max_items=1024)] | None = None
    measurement: Annotated[str, Spec(Kind.CHOICE, choices=MEASUREMENTS)] | None = None
    meters: Texts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridIntensity(Event):
    """Carbon intensity of a zone from a time on: topic `grid.intensity`, key zone."""

    zone: Id
    timestamp: Time
    valid_for_s: Seconds | None = None
    g_per_kwh: GramPerKwh
    signal: Annotated[str, Spec(Kind.CHOICE, choices=("average", "marginal"))] = "average"
    scope: Annotated[str, Spec(Kind.CHOICE, choices=("direct", "lifecycle"))] = "lifecycle"
    source: Text
    is_estimated: Flag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunControl(Event):
    """What a run is asked to do: topic `run.control`, key `run_id`."""

    run_id: Id
    timestamp: Time
    action: Annotated[str, Spec(Kind.CHOICE, choices=("stop_requested",))] = "stop_requested"
    reason: Text | None = None
