"""RAPL: the CPU's own energy counters through Linux powercap (Intel, and AMD since Linux 5.8).

Source: kernel documentation, power/powercap: `energy_uj` counts µJ and wraps at `max_energy_range_uj`.
`psys` contains `package`, which contains `core` and `uncore`: packages are summed over sockets as the CPU,
`dram` zones as memory, `psys` stands alone as the platform, and the rest is not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from producers.counters import EnergyCounter
from producers.meters.errors import MeterUnavailable
from producers.ports import MEASURED, Instant, Reading
from schemas.units import j_from_uj

POWERCAP = Path("/sys/class/powercap")
REMEDY = (
    "let this user read it: sudo chmod -R a+r /sys/class/powercap/*/energy_uj (until the next boot; "
    "a udev rule or a group keeps it), or run the node agent as root"
)
_ZONE = re.compile(r"intel-rapl:\d+(:\d+)?\Z")  # not intel-rapl-mmio: it mirrors package-0
_PACKAGE = re.compile(r"package-\d+")


@dataclass(slots=True)
class Zone:
    """One counter: `device` is cpu, dram or platform."""

    device: str
    path: Path
    counter: EnergyCounter


def device_of(zone_name: str) -> str | None:
    """The device that a zone's name stands for; None for zones inside another (core, uncore)."""
    if _PACKAGE.match(zone_name):
        return "cpu"
    return {"dram": "dram", "psys": "platform"}.get(zone_name)


def find_zones(root: Path = POWERCAP) -> list[Zone]:
    """The zones that are read, without those inside another. Empty where there is no powercap."""
    if not root.is_dir():
        return []
    zones = []
    for folder in sorted(root.iterdir()):
        device = device_of(_text(folder / "name") or "") if _ZONE.match(folder.name) else None
        if device is not None:
            limit = _number(folder / "max_energy_range_uj")
            zones.append(Zone(device, folder / "energy_uj", EnergyCounter(j_from_uj(1), limit)))
    return zones


class RaplMeter:
    """CPU package, DRAM and platform energy. Raises MeterUnavailable where there is none to read."""

    name = "rapl"
    measurement = MEASURED

    def __init__(self, root: Path = POWERCAP) -> None:
        zones = find_zones(root)
        if not any(zone.device == "cpu" for zone in zones):
            raise MeterUnavailable(
                f"no RAPL zone of a CPU package under {root}",
                "RAPL needs Linux on a bare machine (most virtual machines hide it) and the module "
                "intel_rapl_msr (sudo modprobe intel_rapl_msr)",
            )
        closed = [str(zone.path) for zone in zones if _number(zone.path) is None]
        self._zones = [zone for zone in zones if str(zone.path) not in closed]
        if any(zone.device == "cpu" and str(zone.path) in closed for zone in zones):
            raise MeterUnavailable(f"RAPL is there but not readable: {', '.join(closed)}", REMEDY)
        self.devices = tuple(dict.fromkeys(zone.device for zone in self._zones))

    def sample(self, at: Instant) -> Reading:
        """Energy since the previous reading; a device of which one zone was unreadable is not known."""
        sums: dict[str, float | None] = dict.fromkeys(self.devices, 0.0)
        for zone in self._zones:
            energy_j = zone.counter.update(_number(zone.path), at.monotonic_s)
            total = sums[zone.device]
            sums[zone.device] = None if energy_j is None or total is None else total + energy_j
        return Reading(
            cpu_energy_j=sums.get("cpu"),
            dram_energy_j=sums.get("dram"),
            platform_energy_j=sums.get("platform"),
        )

    def close(self) -> None:
        """Nothing is held open."""


def _text(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdigit() else None
