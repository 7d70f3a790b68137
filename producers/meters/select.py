"""Which meters are used on this machine, and why: the only place that names them all.

A choice is `auto` or names joined by commas: `rapl`, `nvml`, `psutil`, `ram_estimate`, `codecarbon`,
`simulated[:SEED[:GPUS]]`, `replay:FILE`. `auto` takes the best that is readable for each device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from producers.machine import Machine
from producers.meters.codecarbon_meter import CodecarbonMeter
from producers.meters.errors import MeterUnavailable
from producers.meters.nvml import NvmlMeter
from producers.meters.psutil_estimate import PsutilMeter
from producers.meters.ram_estimate import RamMeter
from producers.meters.rapl import RaplMeter
from producers.meters.replay import ReplayMeter
from producers.meters.simulated import SimulatedMeter
from producers.ports import ESTIMATED, MEASURED, Sampler

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """Whether a meter can be read here; in words why, and what would change it."""

    name: str
    readable: bool
    measurement: str
    reason: str
    remedy: str = ""


def _simulated(argument: str) -> Sampler:
    seed, _, gpus = argument.partition(":")
    return SimulatedMeter(int(seed or 0), int(gpus or 0))


_BUILDERS: dict[str, Callable[[str], Sampler]] = {
    "rapl": lambda _: RaplMeter(),
    "nvml": lambda _: NvmlMeter(),
    "psutil": lambda _: PsutilMeter(),
    "ram_estimate": lambda _: RamMeter(),
    "codecarbon": lambda _: CodecarbonMeter(),
    "simulated": _simulated,
    "replay": lambda path: ReplayMeter(Path(path)),
}


def open_meter(choice: str) -> Sampler:
    """One meter by name and argument. Raises MeterUnavailable."""
    name, _, argument = choice.strip().partition(":")
    builder = _BUILDERS.get(name)
    if builder is None:
        known = ", ".join(sorted(_BUILDERS))
        raise MeterUnavailable(f"there is no meter {name[:60]!r}", f"choose among {known}, or `auto`")
    try:
        return builder(argument)
    except ValueError as error:
        raise MeterUnavailable(
            f"meter {choice[:60]!r}: {error}", "write for example simulated:7:2"
        ) from error


def open_machine(choice: str = AUTO) -> Machine:
    """The meters of a choice as one machine. Raises MeterUnavailable where a named one cannot be read."""
    if choice.strip() == AUTO:
        return Machine(_best())
    samplers: list[Sampler] = []
    try:
        samplers.extend(open_meter(part) for part in choice.split(",") if part.strip())
    except MeterUnavailable:
        Machine(samplers).close()
        raise
    if not samplers:
        raise MeterUnavailable("no meter is named", "write `auto`, or for example `rapl,nvml`")
    return Machine(samplers)


def _best() -> list[Sampler]:
    """For each device the best readable meter; the estimates always are."""
    samplers: list[Sampler] = []
    for name in ("rapl", "nvml"):
        try:
            samplers.append(open_meter(name))
        except MeterUnavailable:
            continue  # `describe_meters` and the meters' names in every event say so
    covered = {device for sampler in samplers for device in sampler.devices}
    if "cpu" not in covered:
        samplers.append(PsutilMeter())
    if "dram" not in covered:
        samplers.append(RamMeter())
    return samplers


def describe_meters() -> list[MeterStatus]:
    """Every real meter on this machine, for `joule doctor`."""
    statuses = [_try("rapl", MEASURED, "CPU, memory or platform counters"), _try("nvml", MEASURED, "GPUs")]
    with_cpu = PsutilMeter()
    statuses.append(MeterStatus("psutil", True, ESTIMATED, f"CPU: utilisation × {_tdp(with_cpu)}"))
    ram = RamMeter()
    statuses.append(
        MeterStatus("ram_estimate", True, ESTIMATED, f"memory: {ram.power_w:.3g} W from its size")
    )
    installed = find_spec("codecarbon") is not None
    reason = "installed; used where tracker.meters names it" if installed else "not installed"
    remedy = "" if installed else "pip install codecarbon"
    statuses.append(MeterStatus("codecarbon", installed, ESTIMATED, reason, remedy))
    return statuses


def _tdp(meter: PsutilMeter) -> str:
    return f"{meter.tdp.power_w:g} W TDP ({meter.tdp.source})"


def _try(name: str, measurement: str, what: str) -> MeterStatus:
    try:
        meter = open_meter(name)
    except MeterUnavailable as error:
        return MeterStatus(name, False, measurement, error.reason, error.remedy)
    found = ", ".join(meter.devices)
    status = MeterStatus(name, True, meter.measurement, f"{what} readable: {found}")
    meter.close()
    return status
