"""Builds the events of one tracker: identities, running totals, carbon. Pure but for the count it keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.machine import measurement_of, meters_of
from producers.ports import Instant
from producers.run_meter import State
from producers.timeline import Portion
from schemas.carbon import Intensity
from schemas.events import SCHEMA_VERSION, TrainingEvent
from schemas.units import emissions_kg, kwh_from_j


@dataclass(slots=True)
class EventBuilder:
    """Events of one producer, numbered from 0. `static` is on every event, `opening` on the first only."""

    run_id: str
    producer_id: str
    static: Mapping[str, Any]
    opening: Mapping[str, Any]
    intensity: Intensity
    energy_kwh: float = 0.0
    emissions_kg: float = 0.0
    _sequence: int = field(default=0)

    def started(self, at: Instant) -> bytes:
        """`run_started`, which says all that is known of the run."""
        return self._bytes(at, "run_started", {**self.opening}, {})

    def metric(
        self,
        at: Instant,
        portion: Portion,
        state: State,
        progress: Mapping[str, Any],
        extra: Mapping[str, Any],
    ) -> bytes:
        """`metric` with the energy since the event before it."""
        return self._bytes(at, "metric", {**progress, **self._energy(portion), **_state(state)}, extra)

    def finished(
        self, at: Instant, portion: Portion, state: State, status: str, extra: Mapping[str, Any]
    ) -> bytes:
        """`run_finished` with the energy of the last interval."""
        return self._bytes(
            at, "run_finished", {"status": status, **self._energy(portion), **_state(state)}, extra
        )

    def _energy(self, portion: Portion) -> dict[str, Any]:
        energy_j = portion.energy_j
        if energy_j is None:
            return {"interval_s": portion.elapsed_s}
        energy_kwh = kwh_from_j(energy_j)
        mass_kg = emissions_kg(energy_kwh, self.intensity.g_per_kwh)
        self.energy_kwh += energy_kwh
        self.emissions_kg += mass_kg
        return {
            "interval_s": portion.covered_s,
            "energy_kwh": energy_kwh,
            "cpu_energy_kwh": _kwh(portion.cpu_j),
            "gpu_energy_kwh": _kwh(portion.gpu_j),
            "ram_energy_kwh": _kwh(portion.ram_j),
            "emissions_kg": mass_kg,
            "cumulative_energy_kwh": self.energy_kwh,
            "cumulative_emissions_kg": self.emissions_kg,
            "measurement": measurement_of(portion.sources),
            "meters": meters_of(portion.sources),
            "carbon_intensity_g_per_kwh": self.intensity.g_per_kwh,
            "carbon_intensity_source": self.intensity.source,
        }

    def _bytes(
        self, at: Instant, event_type: str, fields: Mapping[str, Any], extra: Mapping[str, Any]
    ) -> bytes:
        event = TrainingEvent(
            run_id=self.run_id,
            timestamp=at.wall,
            event_type=event_type,
            schema_version=SCHEMA_VERSION,
            producer_id=self.producer_id,
            sequence=self._sequence,
            **{**self.static, **fields},
        )
        self._sequence += 1
        if not extra:
            return event.to_json()
        wire = {**extra, **event.to_wire()}  # the contract's own fields win
        return json.dumps(wire, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else kwh_from_j(energy_j)


def _state(state: State) -> dict[str, Any]:
    return {name: getattr(state, name) for name in State.__slots__}
