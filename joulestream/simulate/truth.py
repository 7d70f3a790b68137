"""What is true of a simulated fleet: events, kWh and kg per run, user, model, region and node.

Only distinct, well-formed events count; what duplication, disorder and damage add is counted apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from joulestream.simulate.events import Message
from joulestream.simulate.impurity import Sent
from joulestream.simulate.plan import FleetPlan
from schemas.carbon import intensity, normal_region
from schemas.events import NodeSample, TrainingEvent
from schemas.times import rfc3339
from schemas.units import emissions_kg, kwh_from_j

Key: TypeAlias = "str | None"
DIMENSIONS = {"run": "runs", "user": "users", "model": "models", "region": "regions"}


class Total:
    """A running sum that loses nothing to rounding (Shewchuk's partials, as `math.fsum` keeps them)."""

    def __init__(self) -> None:
        self._partials: list[float] = []

    def add(self, value: float) -> None:
        """Add one term."""
        self._partials.append(value)
        if len(self._partials) > 64:
            self._partials = _compressed(self._partials)

    @property
    def value(self) -> float:
        """The correctly rounded sum."""
        return math.fsum(self._partials)


def _compressed(terms: list[float]) -> list[float]:
    """Non-overlapping floats with exactly the same sum (two-sum, Shewchuk 1997)."""
    partials: list[float] = []
    for term in terms:
        kept = []
        for partial in partials:
            big, small = (term, partial) if abs(term) >= abs(partial) else (partial, term)
            high = big + small
            low = small - (high - big)
            if low:
                kept.append(low)
            term = high
        partials = [*kept, term]
    return partials


@dataclass(slots=True)
class _Sums:
    events: int = 0
    status: str = "running"
    energy_kwh: Total = field(default_factory=Total)
    emissions_kg: Total = field(default_factory=Total)

    def document(self) -> dict[str, Any]:
        energy, emitted = self.energy_kwh.value, self.emissions_kg.value
        return {"events": self.events, "energy_kwh": energy, "emissions_kg": emitted}


@dataclass(slots=True)
class _NodeSums:
    samples: int = 0
    region_iso: str | None = None
    energy_kwh: Total = field(default_factory=Total)
    parts: dict[str, Total] = field(default_factory=lambda: {d: Total() for d in ("cpu", "dram", "gpu")})

    def document(self) -> dict[str, Any]:
        parts = {f"{device}_energy_kwh": total.value for device, total in self.parts.items()}
        return {"samples": self.samples, "energy_kwh": self.energy_kwh.value, **parts}


class Truth:
    """Sums over the messages of a fleet, fed with each distinct event once."""

    def __init__(self, plan: FleetPlan) -> None:
        self._plan = plan
        self._total = _Sums()
        self._by: dict[str, dict[Key, _Sums]] = {dimension: {} for dimension in DIMENSIONS}
        self._nodes: dict[str, _NodeSums] = {}

    def add(self, message: Message) -> None:
        """Count one distinct event."""
        if isinstance(message.event, TrainingEvent):
            self._add_training(message.event)
        elif isinstance(message.event, NodeSample):
            self._add_sample(message.event)

    def _add_training(self, event: TrainingEvent) -> None:
        region = None if event.region_iso is None else normal_region(event.region_iso)
        keys: dict[str, Key] = {
            "run": event.run_id,
            "user": event.user_id,
            "model": event.model_name,
            "region": region,
        }
        emitted = event.emissions_kg
        if emitted is None and event.energy_kwh is not None:  # as the stream fills it in
            emitted = emissions_kg(event.energy_kwh, intensity(region).g_per_kwh)
        sums = [self._by[dimension].setdefault(key, _Sums()) for dimension, key in keys.items()]
        for each in (self._total, *sums):
            each.events += 1
            each.status = event.status or each.status
            if event.energy_kwh is not None:
                each.energy_kwh.add(event.energy_kwh)
            if emitted is not None:
                each.emissions_kg.add(emitted)

    def _add_sample(self, sample: NodeSample) -> None:
        sums = self._nodes.setdefault(sample.node_id, _NodeSums(region_iso=sample.region_iso))
        sums.samples += 1
        gpus = [gpu.energy_j for gpu in sample.gpus or () if gpu.energy_j is not None]
        devices = {
            "cpu": sample.cpu_energy_j,
            "dram": sample.dram_energy_j,
            "gpu": sum(gpus) if gpus else None,
        }
        known = {device: energy_j for device, energy_j in devices.items() if energy_j is not None}
        for device, energy_j in known.items():
            sums.parts[device].add(kwh_from_j(energy_j))
        # A platform meter contains package and memory: the larger of the two is the node, never their sum.
        sums.energy_kwh.add(kwh_from_j(max(sample.platform_energy_j or 0.0, sum(known.values()))))

    def document(self, sent: Sent) -> dict[str, Any]:
        """The whole truth, JSON-ready: what is so (totals) and what was sent (messages)."""
        spec = self._plan.spec
        nodes = sorted(self._nodes.items())
        return {
            "spec": {
                "nodes": spec.nodes,
                "runs": spec.runs,
                "days": spec.days,
                "every_s": spec.every_s,
                "seed": spec.seed,
                "start": rfc3339(spec.start),
                "end": rfc3339(spec.end),
                "faults": spec.faults,
            },
            "messages": sent.document(),
            "total": {
                **self._total.document(),
                "samples": sum(node.samples for _, node in nodes),
                "node_energy_kwh": math.fsum(node.energy_kwh.value for _, node in nodes),
            },
            "runs": self._runs(),
            "users": self._dimension("user", "user_id"),
            "models": self._dimension("model", "model_name"),
            "regions": self._dimension("region", "region_iso"),
            "nodes": [{"node_id": key, "region_iso": n.region_iso, **n.document()} for key, n in nodes],
        }

    def _dimension(self, dimension: str, name: str) -> list[dict[str, Any]]:
        found = sorted(self._by[dimension].items(), key=lambda item: (item[0] is None, item[0] or ""))
        return [{name: key, **sums.document()} for key, sums in found]

    def _runs(self) -> list[dict[str, Any]]:
        """Every run that sent anything, with who it is and how it ended."""
        runs = []
        for run in self._plan.runs:
            sums = self._by["run"].get(run.run_id)
            if sums is not None:
                facts = {
                    "run_id": run.run_id,
                    "user_id": run.user_id,
                    "model_name": run.model.name if run.named else None,
                    "region_iso": run.region_text and normal_region(run.region_text),
                    "status": sums.status,
                }
                runs.append({**facts, **sums.document()})
        return runs
