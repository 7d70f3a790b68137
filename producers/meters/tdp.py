"""Thermal design power of CPUs: the table that codecarbon ships, read without importing codecarbon.

Source: `codecarbon/data/hardware/cpu_power.csv` (MIT; from the vendors' data sheets). Where the CPU is not
in it (virtual machines often hide their model), 4 W per logical CPU: codecarbon's documented default
(`DEFAULT_POWER_PER_CORE`), near the mean of server parts of that table per thread.
"""

from __future__ import annotations

import csv
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

FALLBACK_W_PER_CPU = 4.0
_NOISE = re.compile(r"\((?:r|tm|c)\)|\bcpu\b|\bprocessor\b|@.*$|\b\d+-core\b|with radeon.*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tdp:
    """Power (W) at full load, and where the figure comes from."""

    power_w: float
    source: str


def normal_name(model: str) -> str:
    """`Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz` -> `intel xeon gold 6226r`."""
    return " ".join(_NOISE.sub(" ", model).lower().split())


def load_table(path: Path | None = None) -> dict[str, float]:
    """TDP (W) by normalised model name; empty where codecarbon is not installed."""
    file = path or _table_path()
    if file is None or not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as rows:
        pairs = ((normal_name(row["Name"]), _watts(row["TDP"])) for row in csv.DictReader(rows))
        return {name: power_w for name, power_w in pairs if power_w is not None}


def tdp_of(model: str, logical_cpus: int, sockets: int, table: Mapping[str, float]) -> Tdp:
    """TDP of the machine: the table's value times sockets, else the fallback per logical CPU."""
    power_w = table.get(normal_name(model))
    if power_w is not None:
        return Tdp(power_w * sockets, f"codecarbon cpu_power.csv: {model.strip()}, {sockets} socket(s)")
    why = f"CPU model {model.strip() or 'unknown'!r} not in codecarbon's table"
    return Tdp(FALLBACK_W_PER_CPU * logical_cpus, f"{FALLBACK_W_PER_CPU:g} W per logical CPU ({why})")


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, int]:
    """Model name and number of sockets of this machine."""
    try:
        text = cpuinfo.read_text("utf-8", errors="replace")
    except OSError:
        return platform.processor(), 1
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    sockets = set(re.findall(r"^physical id\s*:\s*(\d+)$", text, re.MULTILINE))
    return (model.group(1) if model else platform.processor()), max(1, len(sockets))


def _watts(text: str) -> float | None:
    """The figure; None where the cell is empty or garbled (some rows of the table are, e.g. `27.29.5`)."""
    try:
        power_w = float(text)
    except ValueError:
        return None
    return power_w if power_w > 0 else None


def _table_path() -> Path | None:
    spec = find_spec("codecarbon")  # finds the package's folder without running its code
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "data" / "hardware" / "cpu_power.csv"
