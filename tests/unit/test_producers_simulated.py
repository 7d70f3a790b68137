"""Meters without a machine: the simulator knows its own truth, the replay repeats a recorded trace."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from producers.meters.errors import MeterUnavailable
from producers.meters.replay import ReplayMeter
from producers.meters.simulated import SimulatedMeter
from producers.ports import GpuSample, Reading
from schemas.errors import SourceGone
from tests.meters import at


def test_simulated_energy_is_the_integral_of_its_power() -> None:
    meter = SimulatedMeter(seed=3, gpus=2)
    steps = 200_000
    numeric = math.fsum(meter.cpu.power_w((n + 0.5) * 50 / steps) for n in range(steps)) * 50 / steps
    assert meter.cpu.energy_j(0, 50) == pytest.approx(numeric, rel=1e-7)


def test_simulated_readings_add_up_to_the_truth_and_follow_from_the_seed() -> None:
    meter, twin = SimulatedMeter(seed=3, gpus=1), SimulatedMeter(seed=3, gpus=1)
    readings = [meter.sample(at(t)) for t in (10.0, 10.3, 12.0, 40.0)]
    assert readings == [twin.sample(at(t)) for t in (10.0, 10.3, 12.0, 40.0)]
    total = sum(
        (r.cpu_energy_j or 0) + (r.dram_energy_j or 0) + sum(g.energy_j or 0 for g in r.gpus)
        for r in readings
    )
    assert total == pytest.approx(meter.truth_j(10.0, 40.0))
    assert SimulatedMeter(seed=4).sample(at(1.0)) == Reading()


def test_replay_gives_rows_then_ends(tmp_path: Path) -> None:
    rows = [{}, {"cpu_energy_j": 5.5, "gpus": [{"uuid": "GPU-1", "energy_j": 2.0}]}]
    file = tmp_path / "trace.ndjson"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    meter = ReplayMeter(file)
    assert meter.devices == ("cpu", "gpu")
    assert meter.sample(at(0)) == Reading()
    assert meter.sample(at(1)) == Reading(cpu_energy_j=5.5, gpus=(GpuSample("GPU-1", energy_j=2.0),))
    with pytest.raises(SourceGone, match="2 readings"):
        meter.sample(at(2))


def test_replay_of_csv_keeps_gaps(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("cpu_energy_j,dram_energy_j\n,1\n3,\n")
    meter = ReplayMeter(file)
    assert [meter.sample(at(0)), meter.sample(at(1))] == [Reading(dram_energy_j=1), Reading(cpu_energy_j=3)]


def test_replay_of_garbage_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "trace.ndjson"
    file.write_text("{nonsense\n")
    with pytest.raises(MeterUnavailable, match="cannot be read"):
        ReplayMeter(file)
