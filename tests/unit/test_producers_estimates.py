"""Estimates, for machines whose counters nobody can read: the CPU's by its load and TDP, the memory's by its size."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.meters.psutil_estimate import IDLE_FRACTION, PsutilMeter
from producers.meters.ram_estimate import RamMeter
from producers.meters.tdp import Tdp, load_table, tdp_of
from tests.meters import at


def test_psutil_estimate_is_a_line_between_idle_and_tdp() -> None:
    times = iter([(0.0, 0.0), (0.0, 8.0), (8.0, 16.0), (10.0, 20.0)])
    meter = PsutilMeter(Tdp(100.0, "test"), lambda: next(times))
    idle, full, half = [meter.sample(at(float(2 * n))) for n in range(4)][1:]
    assert idle.cpu_energy_j == pytest.approx(200 * IDLE_FRACTION)
    assert full.cpu_energy_j == pytest.approx(200.0)
    assert half.cpu_energy_j == pytest.approx(200 * (IDLE_FRACTION + 0.5 * (1 - IDLE_FRACTION)))
    assert meter.measurement == "estimated"


def test_tdp_is_found_under_the_name_that_the_kernel_gives() -> None:
    table = load_table()
    assert len(table) > 4000
    found = tdp_of("Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz", 64, 2, table)
    assert found.power_w == 300.0
    assert "cpu_power.csv" in found.source


def test_unknown_cpu_falls_back_per_logical_cpu_and_says_so() -> None:
    found = tdp_of("Mystery 9000", 8, 1, {})
    assert found.power_w == 32.0
    assert "4 W per logical CPU" in found.source


def test_garbled_rows_of_the_tdp_table_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "cpu.csv"
    file.write_text("Name,TDP\nGood CPU 1,65\nBad,27.29.5\nEmpty,\n")
    assert load_table(file) == {"good 1": 65.0}


def test_memory_estimate_follows_its_size() -> None:
    meter = RamMeter(total_gib=32)
    assert meter.sample(at(0)).dram_energy_j is None
    assert meter.sample(at(10)).dram_energy_j == pytest.approx(120.0)
