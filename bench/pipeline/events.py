"""Seeded events as trackers send them: runs of users and models, with flaws. Pure functions of their arguments."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from joulestream.simulate.impurity import DAMAGES
from schemas.events import NodeSample, TrainingEvent
from schemas.units import emissions_kg, kwh_from_j

CADENCE_S = 5.0  # the tracker's own default
EXTRA_SHARE = 0.2
DUPLICATE_SHARE = 0.03
MALFORMED_SHARE = 0.01
LONGEST_REPEAT = 5_000  # messages between an event and its duplicate: within a batch and across batches
LARGEST_DAMAGE = 4_096  # bytes: what is broken is about as long as what is not

REGIONS = ("FRA", "DEU", "SWE", "USA", "IND", "POL", "GBR", "JPN")
FRAMEWORKS = ("pytorch", "tensorflow", "jax")
PROJECTS = ("vision", "speech", "forecasting", "recommendation")


@dataclass(frozen=True, slots=True)
class Mix:
    """Whose events they are."""

    seed: int
    runs: int
    users: int
    models: int
    prefix: str = "run"


class Fleet:
    """Runs that send one event after the other in turns, each with its own sequence."""

    def __init__(self, mix: Mix) -> None:
        self._mix = mix
        self._rng = random.Random(f"{mix.seed}|{mix.prefix}")
        self._power_w = [self._rng.uniform(80.0, 700.0) for _ in range(mix.runs)]
        self._sequences = [0] * mix.runs

    def run_id(self, number: int) -> str:
        """The id of run `number`."""
        return f"{self._mix.prefix}-{number:05d}"

    def event(self, number: int, at: datetime) -> TrainingEvent:
        """The next event of run `number`, over the interval that ends at `at`."""
        mix, rng = self._mix, self._rng
        run_id = self.run_id(number)
        sequence = self._sequences[number]
        self._sequences[number] += 1
        cpu_kwh = kwh_from_j(45.0 * CADENCE_S * rng.uniform(0.8, 1.2))
        gpu_kwh = kwh_from_j(self._power_w[number] * CADENCE_S * rng.uniform(0.9, 1.0))
        ram_kwh = kwh_from_j(6.0 * CADENCE_S)
        return TrainingEvent(
            run_id=run_id,
            timestamp=at,
            producer_id=f"{run_id}.{mix.seed:x}",
            sequence=sequence,
            user_id=f"user-{number % mix.users}",
            project=PROJECTS[number % len(PROJECTS)],
            model_name=f"model-{number % mix.models}",
            framework=FRAMEWORKS[number % len(FRAMEWORKS)],
            region_iso=REGIONS[number % len(REGIONS)],
            node_id=f"node-{number % 16}",
            epoch=float(1 + sequence // 50),
            step=float(sequence * 20),
            loss=round(2.5 / (1.0 + 0.01 * sequence) + rng.uniform(0.0, 0.05), 6),
            accuracy=round(1.0 - 1.0 / (1.5 + 0.02 * sequence) + rng.uniform(0.0, 0.01), 6),
            interval_s=CADENCE_S,
            energy_kwh=cpu_kwh + gpu_kwh + ram_kwh,
            cpu_energy_kwh=cpu_kwh,
            gpu_energy_kwh=gpu_kwh,
            ram_energy_kwh=ram_kwh,
            emissions_kg=emissions_kg(gpu_kwh, 56.0) if number % 4 == 0 else None,
            cpu_utilization_pct=round(rng.uniform(20.0, 90.0), 1),
            gpu_utilization_pct=round(rng.uniform(60.0, 100.0), 1),
            gpu_power_w=round(self._power_w[number], 1),
            measurement="measured",
            meters=("rapl", "nvml"),
        )

    def message(self, number: int, at: datetime) -> bytes:
        """The same as it goes on the topic; a share has fields that the contract does not know."""
        wire = self.event(number, at).to_wire()
        if number % round(1 / EXTRA_SHARE) == 0:
            wire["learning_rate"] = 0.001
            wire["grad_norm"] = round(self._rng.uniform(0.1, 3.0), 4)
        return _json(wire)


def topic_of(mix: Mix, rows: int, end: datetime) -> Iterator[tuple[str, bytes]]:
    """Key and value of `rows` messages in order of time, the last one at `end`: the past of a topic."""
    fleet, rng = Fleet(mix), random.Random(f"{mix.seed}|flaws")
    damages = [damage for _, damage in DAMAGES if len(damage({"run_id": "r"})) <= LARGEST_DAMAGE]
    repeats: list[tuple[int, str, bytes]] = []
    sent = turn = 0
    while sent < rows:
        if repeats and repeats[-1][0] <= sent:
            _, key, value = repeats.pop()
        else:
            number = turn % mix.runs
            before_s = (rows - sent) / mix.runs * CADENCE_S
            key, value = fleet.run_id(number), fleet.message(number, end - timedelta(seconds=before_s))
            turn += 1
            lot = rng.random()
            if lot < DUPLICATE_SHARE:
                repeats.append((sent + rng.randrange(1, LONGEST_REPEAT), key, value))
                repeats.sort(reverse=True)
            elif lot < DUPLICATE_SHARE + MALFORMED_SHARE:
                value = rng.choice(damages)(json.loads(value))
        yield key, value
        sent += 1


def node_sample(number: int, sequence: int, at: datetime) -> bytes:
    """A node's sample as the agent sends it, once a second."""
    return NodeSample(
        node_id=f"node-{number}",
        timestamp=at,
        producer_id=f"node-{number}.bench",
        sequence=sequence,
        region_iso=REGIONS[number % len(REGIONS)],
        interval_s=1.0,
        cpu_energy_j=60.0 + number,
        dram_energy_j=6.0,
        cpu_utilization_pct=40.0,
        memory_used_mib=16_000.0,
        memory_total_mib=65_536.0,
        measurement="measured",
        meters=("rapl",),
    ).to_json()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
