"""NVIDIA's GPUs, read from a recorded driver."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from producers.meters.errors import MeterUnavailable
from producers.meters.nvml import NvmlMeter, shares_of, visible_gpus
from producers.ports import GpuSample, Reading
from schemas.errors import RetryableError, SourceGone
from tests.meters import at


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
