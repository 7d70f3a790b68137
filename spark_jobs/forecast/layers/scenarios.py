"""Series whose behaviour changes at a known window: generated ones as in the literature, and measured ones.

Kinds of change as in Gama et al., *A survey on concept drift adaptation* (ACM Computing Surveys 46, 2014): abrupt,
gradual, recurring. All are about power per window of one minute, in W.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np

from spark_jobs.forecast.backtest.traces import RUN, Trace, TraceError, files_of, read_traces
from spark_jobs.forecast.series import Floats, Observation

WINDOW_MS = 60_000
WINDOWS, CHANGE = 1800, 1200
LEVEL_W, RISE_W = 180.0, 80.0
# An ordinary node in a job: noise around a level that lasts a few windows (autoregressive of order 1).
NOISE_W, PERSISTENCE = 3.0, 0.8
GRADUAL_WINDOWS, RECURRING_WINDOWS = 300, 120


@dataclass(frozen=True, slots=True)
class Scenario:
    """A series and the number of the first window after its change; None: it does not change."""

    name: str
    what: str
    windows: tuple[Observation, ...]
    change: int | None
    # The batch model may learn from the windows before this one.
    trained_to: int
    # Whether it forecasts power itself, as the models of the literature do, or its change, as the served one does.
    levels: bool


def _noise(rng: np.random.Generator, n: int) -> Floats:
    shocks = rng.normal(0.0, NOISE_W, n)
    noise = np.zeros(n)
    for i in range(1, n):
        noise[i] = PERSISTENCE * noise[i - 1] + shocks[i]
    return noise


def _nothing(after: Floats) -> Floats:
    return np.zeros_like(after)


def _step(after: Floats) -> Floats:
    return np.full_like(after, RISE_W)


def _gradual(after: Floats) -> Floats:
    return RISE_W * np.minimum(1.0, (after + 1) / GRADUAL_WINDOWS)


def _recurring(after: Floats) -> Floats:
    return np.where(after // RECURRING_WINDOWS % 2 == 0, RISE_W, 0.0)


KINDS: dict[str, tuple[str, Callable[[Floats], Floats]]] = {
    "none": ("power goes on as before", _nothing),
    "gradual": (f"power rises by {RISE_W:.0f} W over {GRADUAL_WINDOWS} windows", _gradual),
    "step": (f"power rises by {RISE_W:.0f} W from one window to the next", _step),
    "recurring": (
        f"power rises by {RISE_W:.0f} W and falls back, every {RECURRING_WINDOWS} windows",
        _recurring,
    ),
}


def generated(kind: str, seed: int, n: int = WINDOWS) -> Scenario:
    """A generated scenario; the same for the same seed. The change is at window CHANGE."""
    what, rise = KINDS[kind]
    powers = LEVEL_W + _noise(np.random.default_rng(seed), n)
    powers[CHANGE:] += rise(np.arange(n - CHANGE, dtype=float))
    windows = tuple(Observation(i * WINDOW_MS, float(power)) for i, power in enumerate(powers))
    return Scenario(kind, what, windows, None if kind == "none" else CHANGE, CHANGE * 3 // 4, True)


def measured(folder: Path) -> list[Scenario]:
    """Scenarios from measured power; those whose file is not in the folder are left out. Raises TraceError."""
    found = files_of(folder)
    if RUN not in found:
        raise TraceError(
            f"{folder} holds no training runs: a Parquet file with machine and elapsed_s is needed"
        )
    runs = read_traces(found[RUN], RUN, WINDOW_MS)
    scenarios = [_new_architecture(runs)]
    limits = (
        folder / "spec_power_open.csv.gz" if folder.is_dir() else folder.with_name("spec_power_open.csv.gz")
    )
    if limits.is_file():
        scenarios.append(_lower_limit(runs, limits))
    return scenarios


def _groups(runs: Sequence[Trace]) -> dict[tuple[str, str], list[Trace]]:
    """Runs by machine and architecture, in order of time."""
    groups: dict[tuple[str, str], list[Trace]] = {}
    for run in sorted(runs, key=lambda run: run.observations[0].start_ms):
        machine = run.target.split("/", 1)[1].split(f"-{run.group}", 1)[0]
        groups.setdefault((machine, run.group), []).append(run)
    return groups


def _joined(runs: Sequence[Trace]) -> tuple[Observation, ...]:
    """Runs one after the other, each beginning in the window after the last of the one before."""
    powers = [(window.power_w, window.run_id) for run in runs for window in run.observations]
    return tuple(Observation(i * WINDOW_MS, power, run_id=run) for i, (power, run) in enumerate(powers))


def _new_architecture(runs: Sequence[Trace]) -> Scenario:
    """The architecture with the least power on the machine with most of them, then the one with the most."""
    groups = _groups(runs)
    machines = [machine for machine, _ in groups]
    busiest = max(sorted(set(machines)), key=machines.count)
    own = {group: of for (machine, group), of in groups.items() if machine == busiest}
    if len(own) < 2:
        raise TraceError("the training runs are all of one architecture; two on one machine are needed")
    by_power = sorted(own, key=lambda group: fmean(w.power_w for run in own[group] for w in run.observations))
    before, after = _joined(own[by_power[0]]), own[by_power[-1]]
    windows = _joined([*own[by_power[0]], *after])
    what = f"on {busiest}, runs of {by_power[0]} end and those of {by_power[-1]} start (measured)"
    return Scenario("new architecture", what, windows, len(before), len(before) * 3 // 4, False)


def _lower_limit(runs: Sequence[Trace], file: Path) -> Scenario:
    """Measured runs of the group with the most power, scaled from their middle on as a lower limit would."""
    groups = _groups(runs)
    top = max(groups, key=lambda key: fmean(w.power_w for run in groups[key] for w in run.observations))
    windows = _joined(groups[top])
    gpu, high, low, share = _effect_of_limit(file)
    # In the middle of a run, so that nothing but the limit changes.
    change = len(windows) * 3 // 5
    changed = (replace(w, power_w=w.power_w * share) if i >= change else w for i, w in enumerate(windows))
    what = (
        f"measured runs of {top[1]} on {top[0]}; from the change on x {share:.2f}, the median effect of a limit of "
        f"{low:.0f} instead of {high:.0f} W on a {gpu}"
    )
    return Scenario("power limit", what, tuple(changed), change, change * 3 // 4, False)


def _effect_of_limit(file: Path) -> tuple[str, float, float, float]:
    """GPU, its highest and lowest limit (W), and the median ratio of mean powers of the same work under them."""
    with gzip.open(file, "rt", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    powers: dict[tuple[str, ...], dict[float, float]] = {}
    for row in rows:
        work = tuple(row[name] for name in ("gpu_model", "dataset", "network", "batch_size", "optimizer"))
        powers.setdefault(work, {})[float(row["power_limit_w"])] = float(row["average_power_w"])
    gpu = max(sorted({work[0] for work in powers}), key=[work[0] for work in powers].count)
    own = [of for work, of in powers.items() if work[0] == gpu]
    limits = sorted({limit for of in own for limit in of})
    high, low = limits[-1], limits[0]
    ratios = [of[low] / of[high] for of in own if high in of and low in of]
    if not ratios:
        raise TraceError(f"{file.name}: no work that was measured under {low:.0f} and {high:.0f} W on {gpu}")
    return gpu, high, low, median(ratios)
