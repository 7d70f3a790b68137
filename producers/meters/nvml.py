"""NVIDIA GPUs through NVML (module `pynvml` of the distribution nvidia-ml-py).

Energy is the driver's counter (mJ since driver load, Volta and later): `measured`. Where a GPU has none,
its power is integrated by trapezoids: `estimated`. Blank values are missing. Vendor errors end here.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from producers.counters import EnergyCounter, PowerIntegral
from producers.meters.errors import MeterUnavailable
from producers.ports import ESTIMATED, MEASURED, GpuSample, Instant, Reading
from schemas.errors import RetryableError, SourceGone
from schemas.units import j_from_mj, mib_from_bytes, w_from_mw

BLANK_64 = 9.22e18  # NVML and DCGM mark "no value" by numbers from here on
DRIVER_LIBRARY = "libnvidia-ml.so.1"
NO_DRIVER_REMEDY = "install the NVIDIA driver, and in a container start it with the NVIDIA runtime"
BLANK_32 = 2**31 - 16
T = TypeVar("T")


def visible_gpus(setting: str | None, uuids: tuple[str, ...]) -> tuple[str, ...]:
    """UUIDs of the GPUs that `CUDA_VISIBLE_DEVICES` lets a process use; all where it is not set.

    Entries are indices, UUIDs or unambiguous beginnings of UUIDs; as in CUDA, the first invalid entry ends
    the list.
    """
    if setting is None:
        return uuids
    chosen: list[str] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isdigit():
            matches = uuids[int(entry) : int(entry) + 1]
        else:
            matches = tuple(uuid for uuid in uuids if entry and uuid.startswith(entry))
        if len(matches) != 1 or matches[0] in chosen:
            break
        chosen.append(matches[0])
    return tuple(chosen)


@dataclass(slots=True)
class _Gpu:
    handle: Any
    uuid: str
    index: int
    name: str | None
    has_counter: bool
    counter: EnergyCounter = field(default_factory=lambda: EnergyCounter(j_from_mj(1)))
    power: PowerIntegral = field(default_factory=PowerIntegral)
    shares_since_us: int = 0


class NvmlMeter:
    """All GPUs of the machine. Raises MeterUnavailable where NVML or the GPUs are not there."""

    name = "nvml"
    devices: tuple[str, ...] = ("gpu",)

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml if nvml is not None else _import_nvml()
        try:
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._gpus = [self._open(index) for index in range(count)]
        except self._nvml.NVMLError as error:
            raise MeterUnavailable(
                f"NVML does not answer: {error}",
                NO_DRIVER_REMEDY,
            ) from error
        if not self._gpus:
            raise MeterUnavailable("NVML finds no GPU on this machine")
        self.measurement = MEASURED if all(gpu.has_counter for gpu in self._gpus) else ESTIMATED

    @property
    def uuids(self) -> tuple[str, ...]:
        """UUIDs of all GPUs, by index."""
        return tuple(gpu.uuid for gpu in self._gpus)

    def sample(self, at: Instant) -> Reading:
        """Energy of each GPU since the previous reading; raises SourceGone where all are lost."""
        samples, lost = [], 0
        for gpu in self._gpus:
            try:
                samples.append(self._sample(gpu, at))
            except SourceGone:
                lost += 1
        if lost == len(self._gpus):
            raise SourceGone("all GPUs are lost to the driver; see `nvidia-smi -q` and the kernel's log")
        return Reading(gpus=tuple(samples))

    def close(self) -> None:
        """Give NVML back."""
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _open(self, index: int) -> _Gpu:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        name = self._ask(lambda: _text(self._nvml.nvmlDeviceGetName(handle)))
        counted = self._ask(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        uuid = _text(self._nvml.nvmlDeviceGetUUID(handle))
        return _Gpu(handle, uuid, index, name, _known(counted) is not None)

    def _sample(self, gpu: _Gpu, at: Instant) -> GpuSample:
        nvml, handle = self._nvml, gpu.handle
        power_mw = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        known_mw = _known(power_mw, BLANK_32)
        power_w = None if known_mw is None else w_from_mw(known_mw)
        if gpu.has_counter:
            counted = self._ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
            energy_j = gpu.counter.update(_known(counted), at.monotonic_s)
        else:
            energy_j = gpu.power.update(power_w, at.monotonic_s)
        used = _known(self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used))
        load = self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        celsius = self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        return GpuSample(
            uuid=gpu.uuid,
            index=gpu.index,
            name=gpu.name,
            energy_j=energy_j,
            power_w=power_w,
            utilization_pct=_known(load, 101),
            memory_used_mib=None if used is None else mib_from_bytes(used),
            temperature_c=_known(celsius, BLANK_32),
            measurement=MEASURED if gpu.has_counter else ESTIMATED,
            process_shares=self._process_shares(gpu),
        )

    def _process_shares(self, gpu: _Gpu) -> dict[int, float] | None:
        """Each process's part of the SM utilisation samples since the last call; None where none are kept."""
        samples = self._ask(
            lambda: list(self._nvml.nvmlDeviceGetProcessUtilization(gpu.handle, gpu.shares_since_us))
        )
        if not samples:
            return None
        gpu.shares_since_us = max(sample.timeStamp for sample in samples)
        return shares_of((sample.pid, sample.smUtil) for sample in samples)

    def _ask(self, question: Callable[[], T]) -> T | None:
        """The answer; None where this GPU does not know it. Raises SourceGone where the GPU is lost."""
        nvml = self._nvml
        try:
            return question()
        except nvml.NVMLError as error:
            code = getattr(error, "value", None)
            if code in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED):
                raise SourceGone(f"a GPU is lost: {error}; restart it or the machine") from error
            if code == nvml.NVML_ERROR_UNINITIALIZED:
                raise RetryableError(f"NVML was shut down: {error}; open the meter again") from error
            return None


def shares_of(samples: Iterable[tuple[int, int]]) -> dict[int, float] | None:
    """Share of each process id in the utilisation that all showed together; None where none showed any."""
    totals: dict[int, float] = {}
    for pid, load in samples:
        if 0 < load <= 100:
            totals[pid] = totals.get(pid, 0.0) + load
    together = sum(totals.values())
    return {pid: load / together for pid, load in totals.items()} if together else None


def own_visible_gpus(uuids: tuple[str, ...]) -> tuple[str, ...]:
    """The GPUs that this process may use."""
    return visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)


def _known(value: float | None, limit: float = BLANK_64) -> float | None:
    """The value, or None where it is one of the driver's blanks."""
    return None if value is None or not 0 <= value < limit else float(value)


def _has_driver_library() -> bool:
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return False
    return True


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _import_nvml() -> Any:
    if sys.platform == "linux" and not _has_driver_library():
        # Asked first: the module costs 15 MB of memory, which a machine without GPU need not spend.
        raise MeterUnavailable(f"there is no NVIDIA driver library ({DRIVER_LIBRARY})", NO_DRIVER_REMEDY)
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise MeterUnavailable(
            "the NVML module is not installed", "pip install nvidia-ml-py for NVIDIA GPUs"
        ) from error
