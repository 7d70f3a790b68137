"""A recorded trace behind the port of a meter: NDJSON or CSV, one reading a row.

Columns: `cpu_energy_j`, `dram_energy_j`, `platform_energy_j` (energy since the row before) and, in NDJSON,
`gpus` (objects with the fields of `GpuSample`). An empty or absent value is a gap.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from producers.meters.errors import MeterUnavailable
from producers.ports import MEASURED, GpuSample, Instant, Reading
from schemas.errors import SourceGone

_DEVICES = ("cpu", "dram", "platform")
_COLUMNS = tuple(f.name for f in fields(Reading) if f.name != "gpus")


class ReplayMeter:
    """Gives the rows of a trace, one per sample; raises SourceGone after the last."""

    name = "replay"

    def __init__(self, path: Path, measurement: str = MEASURED) -> None:
        self.measurement = measurement
        self._path = path
        try:
            rows = list(_rows(path))
            self._readings = [_reading(row) for row in rows]
        except (OSError, ValueError, TypeError) as error:
            raise MeterUnavailable(
                f"the trace {path} cannot be read: {error}", "give NDJSON or CSV of readings"
            ) from error
        known = {name for name in _DEVICES for row in rows if row.get(f"{name}_energy_j") not in (None, "")}
        gpus = ("gpu",) if any(reading.gpus for reading in self._readings) else ()
        self.devices = (*(name for name in _DEVICES if name in known), *gpus)
        self._next = 0

    def sample(self, at: Instant) -> Reading:
        """The next row, whatever the time."""
        if self._next >= len(self._readings):
            raise SourceGone(f"the trace {self._path} ended after {self._next} readings")
        self._next += 1
        return self._readings[self._next - 1]

    def close(self) -> None:
        """Nothing is held open."""


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            yield from csv.DictReader(file)
        else:
            yield from (json.loads(line) for line in file if line.strip())


def _reading(row: Mapping[str, Any]) -> Reading:
    values = {name: float(row[name]) for name in _COLUMNS if row.get(name) not in (None, "")}
    return Reading(**values, gpus=tuple(GpuSample(**gpu) for gpu in row.get("gpus") or ()))
