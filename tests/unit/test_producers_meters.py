"""Meters behind the port: RAPL on a fake sysfs, NVML on a recorded driver, estimates, simulator, replay."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from producers.machine import Machine, measurement_of, meters_of
from producers.meters.errors import MeterUnavailable
from producers.meters.nvml import NvmlMeter, shares_of, visible_gpus
from producers.meters.psutil_estimate import IDLE_FRACTION, PsutilMeter
from producers.meters.ram_estimate import RamMeter
from producers.meters.rapl import RaplMeter, device_of
from producers.meters.replay import ReplayMeter
from producers.meters.select import describe_meters, open_machine
from producers.meters.simulated import SimulatedMeter
from producers.meters.tdp import Tdp, load_table, tdp_of
from producers.ports import GpuSample, Instant, Reading
from schemas.errors import RetryableError, SourceGone


def at(second: float) -> Instant:
    return Instant(datetime(2026, 1, 1, tzinfo=timezone.utc), second)


# RAPL


def zone(root: Path, folder: str, name: str, count: int | str) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text("262143328850\n")
    (path / "energy_uj").write_text(f"{count}\n")
    return path / "energy_uj"


@pytest.fixture
def sysfs(tmp_path: Path) -> dict[str, Path]:
    names = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:1:0": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    files = {folder: zone(tmp_path, folder, name, 0) for folder, name in names.items()}
    return {"root": tmp_path, **files}


def test_rapl_sums_sockets_and_leaves_out_zones_inside_others(sysfs: dict[str, Path]) -> None:
    meter = RaplMeter(sysfs["root"])
    assert meter.sample(at(0)) == Reading()
    for folder, file in sysfs.items():
        if folder != "root":
            file.write_text("1000000\n")
    reading = meter.sample(at(1))
    assert (reading.cpu_energy_j, reading.dram_energy_j, reading.platform_energy_j) == (2.0, 2.0, 1.0)


def test_rapl_zone_that_becomes_unreadable_is_a_gap_of_its_device_only(sysfs: dict[str, Path]) -> None:
    meter = RaplMeter(sysfs["root"])
    meter.sample(at(0))
    sysfs["intel-rapl:1"].unlink()
    reading = meter.sample(at(1))
    assert reading.cpu_energy_j is None
    assert reading.dram_energy_j == 0.0


def test_rapl_that_is_not_readable_says_so_and_how_to_change_it(sysfs: dict[str, Path]) -> None:
    sysfs["intel-rapl:0"].unlink()
    with pytest.raises(MeterUnavailable, match=r"not readable.*intel-rapl:0") as caught:
        RaplMeter(sysfs["root"])
    assert "chmod" in caught.value.remedy


def test_no_rapl_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(MeterUnavailable, match="no RAPL zone"):
        RaplMeter(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "device"), [("package-1-die-0", "cpu"), ("psys", "platform"), ("uncore", None), ("dram", "dram")]
)
def test_rapl_zone_names(name: str, device: str | None) -> None:
    assert device_of(name) == device


# NVML


class DriverError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


class RecordedDriver:
    """The functions of pynvml that the meter uses, answering from recorded rows; an int < 0 is an error code."""

    NVMLError = DriverError
    NVML_ERROR_UNINITIALIZED, NVML_ERROR_NOT_SUPPORTED = 1, 3
    NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED = 15, 16
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: Sequence[dict[str, list[Any]]]) -> None:
        self.gpus, self.row, self.open = gpus, 0, False

    def _answer(self, handle: int, name: str, default: int = -3) -> Any:
        rows = self.gpus[handle].get(name, [default])
        value = rows[min(self.row, len(rows) - 1)]
        if isinstance(value, int) and value < 0:
            raise DriverError(-value)
        return value

    def nvmlInit(self) -> None:  # noqa: N802 - the vendor's names
        self.open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA A100"

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> Any:  # noqa: N802
        return self._answer(handle, "energy_mj")

    def nvmlDeviceGetPowerUsage(self, handle: int) -> Any:  # noqa: N802
        return self._answer(handle, "power_mw")

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=self._answer(handle, "memory"))

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self._answer(handle, "load"))

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> Any:  # noqa: N802
        return self._answer(handle, "celsius")

    def nvmlDeviceGetProcessUtilization(self, handle: int, since: int) -> Any:  # noqa: N802
        rows = self._answer(handle, "processes")
        return [SimpleNamespace(pid=pid, smUtil=load, timeStamp=stamp) for pid, load, stamp in rows]


def read(driver: RecordedDriver, rows: int) -> list[Reading]:
    meter = NvmlMeter(driver)
    readings = []
    for row in range(rows):
        driver.row = row
        readings.append(meter.sample(at(float(row))))
    meter.close()
    assert not driver.open
    return readings


def test_nvml_prefers_the_energy_counter_and_maps_units() -> None:
    rows = {
        "energy_mj": [5000, 255_000],
        "power_mw": [250_000],
        "memory": [2**30],
        "load": [97],
        "celsius": [61],
    }
    gpu = read(RecordedDriver([rows]), 2)[1].gpus[0]
    assert gpu == GpuSample("GPU-0", 0, "NVIDIA A100", 250.0, 250.0, 97.0, 1024.0, 61.0, "measured", None)


def test_nvml_without_counter_integrates_power_and_says_estimated() -> None:
    gpu = read(RecordedDriver([{"power_mw": [100_000, 300_000]}]), 2)[1].gpus[0]
    assert (gpu.energy_j, gpu.measurement) == (200.0, "estimated")


def test_nvml_counter_reset_is_a_gap() -> None:
    readings = read(RecordedDriver([{"energy_mj": [9_000_000, 5, 1005]}]), 3)
    assert [reading.gpus[0].energy_j for reading in readings] == [None, None, 1.0]


def test_nvml_blank_values_are_missing() -> None:
    rows = {"energy_mj": [1, 9_223_372_036_854_775_794], "power_mw": [2**31 - 1], "load": [4_294_967_295]}
    gpu = read(RecordedDriver([rows]), 2)[1].gpus[0]
    assert (gpu.energy_j, gpu.power_w, gpu.utilization_pct, gpu.memory_used_mib) == (None, None, None, None)


def test_nvml_lost_gpu_is_left_out_and_all_lost_ends_the_meter() -> None:
    good, lost = {"energy_mj": [1, 1001]}, {"energy_mj": [1, -15], "power_mw": [-15]}
    driver = RecordedDriver([good, lost])
    meter = NvmlMeter(RecordedDriver([good]))
    assert meter.measurement == "measured"
    lost["power_mw"] = [1, -15]
    assert [gpu.uuid for gpu in read(driver, 2)[1].gpus] == ["GPU-0"]
    with pytest.raises(SourceGone, match="lost"):
        read(RecordedDriver([{"energy_mj": [1], "power_mw": [1, -15]}]), 2)


def test_nvml_shut_down_by_others_is_retryable() -> None:
    with pytest.raises(RetryableError, match="shut down"):
        read(RecordedDriver([{"power_mw": [1, -1]}]), 2)


def test_nvml_process_shares_are_of_what_all_showed() -> None:
    rows = {"energy_mj": [1], "processes": [[(10, 60, 1), (20, 20, 2), (10, 0, 3), (30, 4_000_000, 3)]]}
    shares = read(RecordedDriver([rows]), 1)[0].gpus[0].process_shares
    assert shares == {10: 0.75, 20: 0.25}
    assert shares_of([(1, 0)]) is None


def test_no_gpu_is_unavailable() -> None:
    with pytest.raises(MeterUnavailable, match="no GPU"):
        NvmlMeter(RecordedDriver([]))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, ("GPU-aa", "GPU-ab", "GPU-c")),
        ("", ()),
        ("2,0", ("GPU-c", "GPU-aa")),
        ("GPU-ab", ("GPU-ab",)),
        ("GPU-c,GPU-a,0", ("GPU-c",)),
        ("0,9,1", ("GPU-aa",)),
        ("-1,0", ()),
        ("1,1", ("GPU-ab",)),
    ],
    ids=["unset", "none", "indices", "uuid", "ambiguous ends", "unknown ends", "-1 hides", "twice ends"],
)
def test_cuda_visible_devices(setting: str | None, expected: tuple[str, ...]) -> None:
    assert visible_gpus(setting, ("GPU-aa", "GPU-ab", "GPU-c")) == expected


# estimates


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


# simulator and replay


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


# composition


class Stub:
    def __init__(self, name: str, devices: tuple[str, ...], measurement: str, *answers: Any) -> None:
        self.name, self.devices, self.measurement = name, devices, measurement
        self.answers, self.asked = list(answers), 0

    def sample(self, _at: Instant) -> Reading:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Reading)
        return answer

    def close(self) -> None:
        pass


def test_machine_merges_meters_and_names_who_gave_what() -> None:
    rapl = Stub("rapl", ("cpu",), "measured", Reading(cpu_energy_j=7.0))
    ram = Stub("ram_estimate", ("dram", "cpu"), "estimated", Reading(cpu_energy_j=99.0, dram_energy_j=1.0))
    seen = Machine([rapl, ram]).sample(at(1))
    assert (seen.reading.cpu_energy_j, seen.reading.dram_energy_j) == (7.0, 1.0)
    assert meters_of(seen.sources.values()) == ("rapl", "ram_estimate")
    assert measurement_of(seen.sources.values()) == "mixed"


def test_gap_of_the_preferred_meter_is_not_filled_by_another() -> None:
    rapl = Stub("rapl", ("cpu",), "measured", Reading())
    other = Stub("psutil", ("cpu",), "estimated", Reading(cpu_energy_j=99.0))
    seen = Machine([rapl, other]).sample(at(1))
    assert seen.reading.cpu_energy_j is None
    assert measurement_of(seen.sources.values()) is None


def test_failing_meter_is_told_once_per_change(caplog: pytest.LogCaptureFixture) -> None:
    away = RetryableError("busy")
    meter = Stub("m", ("cpu",), "measured", away, away, Reading(cpu_energy_j=1.0), SourceGone("off"))
    machine = Machine([meter])
    values = [machine.sample(at(float(n))).reading.cpu_energy_j for n in range(6)]
    assert values == [None, None, 1.0, None, None, None]
    assert meter.asked == 4
    assert [r.message.split(":")[0] for r in caplog.records] == [
        "meter m cannot be read now, a gap begins",
        "meter m can be read again",
        "meter m ended",
    ]


def test_choice_of_meters_by_name() -> None:
    assert [s.name for s in open_machine("simulated:7:2, ram_estimate").samplers] == [
        "simulated",
        "ram_estimate",
    ]


@pytest.mark.parametrize("choice", ["nonsense", "simulated:x", "", "replay:/absent/file"])
def test_choice_that_cannot_be_had_says_why(choice: str) -> None:
    with pytest.raises(MeterUnavailable, match=r"; "):
        open_machine(choice)


def test_auto_always_covers_cpu_and_memory() -> None:
    machine = open_machine("auto")
    devices = {device for sampler in machine.samplers for device in sampler.devices}
    assert {"cpu", "dram"} <= devices
    machine.close()


def test_every_meter_is_described_with_a_remedy_where_it_cannot_be_read() -> None:
    statuses = {status.name: status for status in describe_meters()}
    assert set(statuses) == {"rapl", "nvml", "psutil", "ram_estimate", "codecarbon"}
    assert statuses["psutil"].readable
    assert all(status.reason for status in statuses.values())
    assert all(status.remedy for status in statuses.values() if not status.readable)
