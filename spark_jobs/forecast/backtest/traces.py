"""Measured power in files: node series and training runs as series of windows.

A file is what its columns say, whatever its name: with `node_id` a node's power over days, with `machine` and
`elapsed_s` separate training runs. The mean power of a window is that of its observed readings, however few; a
window without a reading is a gap and is neither filled in nor judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import PipelineError
from schemas.units import kwh_from_j
from spark_jobs.forecast.series import Observation

NODE, RUN = "node_power", "run_power"
_NEEDED = {
    NODE: ("node_id", "run_id", "architecture", "observed_at", "power_w"),
    RUN: ("run_id", "machine", "architecture", "observed_at", "power_w", "elapsed_s"),
}
_MEANS = {
    "power_w": "power_w",
    "gpu_utilization_pct": "gpu_utilization_pct",
    "cpu_utilization_pct": "cpu_utilization_pct",
    "gpu_memory_used_mib": "memory_used_mib",
}


class TraceError(PipelineError):
    """A data file is missing or has another shape."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One series. `groups` has the architecture of each window; the run's `group` is that of its first."""

    target: str
    observations: tuple[Observation, ...]
    groups: tuple[str, ...]

    @property
    def group(self) -> str:
        """The architecture of the first window."""
        return self.groups[0]


def files_of(path: Path) -> dict[str, list[Path]]:
    """The Parquet files of each task in a folder, or the one file. Raises TraceError where there is none."""
    if not path.exists():
        raise TraceError(f"{path} is not there; give --data or JOULE_BENCH_DATA a file or a folder")
    candidates = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    found: dict[str, list[Path]] = {}
    for file in candidates:
        columns = _columns(file)
        for task, needed in _NEEDED.items():
            if columns.issuperset(needed):
                found.setdefault(task, []).append(file)
    if not found:
        raise TraceError(
            f"{path} holds no power over time: a Parquet file with the columns {', '.join(_NEEDED[NODE])} "
            f"(a node) or {', '.join(_NEEDED[RUN])} (runs) is needed"
        )
    return found


def read_traces(files: Sequence[Path], task: str, window_ms: int) -> list[Trace]:
    """The series of these files: one per node, or one per run, by name. Raises TraceError."""
    wanted = [*_NEEDED[task], *(name for name in _MEANS if name not in _NEEDED[task])]
    frames = []
    for file in files:
        columns = _columns(file)
        frames.append(pd.read_parquet(file, columns=[name for name in wanted if name in columns]))
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[np.isfinite(frame["power_w"]) & frame["observed_at"].notna()]
    if frame.empty:
        raise TraceError(f"{', '.join(file.name for file in files)}: no reading of power")
    return list(_traces(frame, task, window_ms))


def _columns(file: Path) -> set[str]:
    try:
        return set(pq.read_schema(file).names)
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"{file} cannot be read as Parquet ({type(error).__name__})") from error


def _traces(frame: pd.DataFrame, task: str, window_ms: int) -> Iterator[Trace]:
    key = "node_id" if task == NODE else "run_id"
    for name, of in frame.groupby(key, sort=True):
        times = of["observed_at"]
        aware = times.dt.tz_convert("UTC") if times.dt.tz is not None else times.dt.tz_localize("UTC")
        at_ms = aware.dt.as_unit("ms").astype("int64")
        order = at_ms.to_numpy().argsort(kind="stable")
        of = of.iloc[order].assign(at_ms=at_ms.to_numpy()[order])
        origin = 0 if task == NODE else int(of["at_ms"].iloc[0])
        yield _windows(f"{task.split('_')[0]}/{name}", of, window_ms, origin)


def _windows(target: str, of: pd.DataFrame, window_ms: int, origin_ms: int) -> Trace:
    """Windows of a series; those of a run are counted from its first reading, so that each is whole."""
    gaps = np.diff(of["at_ms"].to_numpy())
    # The usual distance of readings; pauses make some longer.
    every_s = float(np.quantile(gaps[gaps > 0], 0.25, method="lower")) / 1000 if (gaps > 0).any() else 1.0
    start = (of["at_ms"] - origin_ms) // window_ms * window_ms
    named = {_MEANS[name]: (name, "mean") for name in _MEANS if name in of.columns}
    means = of.groupby(start).agg(
        n=("at_ms", "nunique"), run_id=("run_id", "last"), group=("architecture", "last"), **named
    )
    observations = []
    for at, row in zip(means.index, means.to_dict("records"), strict=True):
        known = {name: _known(row[name]) for name in named if name != "power_w"}
        seconds = min(row["n"] * every_s, window_ms / 1000)
        power_w = float(row["power_w"])
        observations.append(
            Observation(
                int(at) + origin_ms,
                power_w,
                **known,
                run_id=str(row["run_id"]),
                energy_kwh=kwh_from_j(power_w * seconds),
            )
        )
    return Trace(target, tuple(observations), tuple(str(g) for g in means["group"]))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
