"""Backtest of what runs cost at completion: measured runs over time, and made-up runs with epochs.

Runs come in the order in which they began, and a run knows only those that had ended by then: their courses
and the errors of the forecasts for them. The code is the one that serves. It fits no parameter here,
but its constants were chosen while looking at the 60 open runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from schemas.units import kwh_from_j
from spark_jobs.forecast.runs.energy import Outlook, outlook, score
from spark_jobs.forecast.runs.rates import Course, Point
from spark_jobs.forecast.runs.similar import Likeness, PastRun, PastRuns, Score, stage_of
from spark_jobs.forecast.series import Floats

TASK = "run_energy"
SHARES = (0.10, 0.25, 0.50)
EPOCHS = (1, 2, 5, 10)
POINTS = 100
# A gap in the readings of up to so long belongs to the reading after it; a longer one stays a gap.
LONGEST_GAP_S = 5.0
RECENT_S = 60.0
GROUPS, RUNS_PER_GROUP, SEED = 12, 15, 7

Reference = Callable[[Course], float]
# Forecast (kWh), actual (kWh), whether the interval held it.
Answer = tuple[float, float, bool | None]


@dataclass(frozen=True, slots=True)
class Case:
    """A run that ended, when it began and ended (s), and the places at which it is asked about."""

    run: PastRun
    began_s: float
    ended_s: float
    at: Mapping[str, Course]


def rows(data: Path) -> list[dict[str, Any]]:
    """Rows of task `run_energy` for a file shaped like `training_runs_open.parquet` (power per second).

    `at` says how much of a run had passed; energies in kWh. Raises ValueError where columns are missing.
    """
    needed = ["run_id", "machine", "architecture", "gpu_name", "elapsed_s", "observed_at", "power_w"]
    frame = pd.read_parquet(data)
    absent = [name for name in needed if name not in frame.columns]
    if absent:
        raise ValueError(f"{data.name} has no column {', '.join(absent)}; see the README of the data")
    return _rows(_measured(frame[needed]), {"naive": _by_share, "last_power": _by_recent})


def epoch_rows(seed: int = SEED) -> list[dict[str, Any]]:
    """The same table after 1, 2, 5 and 10 epochs of made-up runs (see `made_up_runs`)."""
    references: dict[str, Reference] = {"naive": _by_share, "mean_without_first": _without_first}
    return _rows(made_up_runs(seed), references)


def _rows(cases: Sequence[Case], references: Mapping[str, Reference]) -> list[dict[str, Any]]:
    asked: dict[tuple[str, str], list[Answer]] = {}
    for case, told in _in_order(cases):
        actual = case.run.course.now.energy_kwh
        kinds = [""] if case.run.course.unit != "epochs" else ["", _kind(case)]
        for at, course in case.at.items():
            answers: dict[str, Answer] = {
                name: (reference(course), actual, None) for name, reference in references.items()
            }
            found = told[at]
            if found is not None and found.energy_kwh is not None:
                energy = found.energy_kwh
                answers["served"] = (energy.point, actual, energy.p10 <= actual <= energy.p90)
            for name, answer in answers.items():
                for kind in kinds:
                    asked.setdefault((at + kind, name), []).append(answer)
    return [_row(at, name, of, asked[at, "naive"]) for (at, name), of in sorted(asked.items())]


def _kind(case: Case) -> str:
    """Nobody can foresee by how much a run stops early, so errors are told apart; intervals hold for all."""
    return ", as planned" if case.run.end == 1.0 else ", stops early"


def _row(at: str, name: str, of: Sequence[Answer], naive: Sequence[Answer]) -> dict[str, Any]:
    mae = fmean(abs(point - actual) for point, actual, _ in of)
    inside = [hit for _, _, hit in of if hit is not None]
    return {
        "task": TASK,
        "at": at,
        "horizon_s": None,
        "model": name,
        "n": len(of),
        "mae": mae,
        "mae_ratio": mae / fmean(abs(point - actual) for point, actual, _ in naive),
        "error_pct": 100.0 * fmean(abs(point / actual - 1.0) for point, actual, _ in of),
        "wql_ratio": None,
        "coverage_80": fmean(inside) if inside else None,
        "coverage_90": None,
    }


def _in_order(cases: Sequence[Case]) -> Iterator[tuple[Case, Mapping[str, Outlook | None]]]:
    """Each run with its forecasts, made with what had ended before it began."""
    past = PastRuns()
    going: list[tuple[Case, list[Score]]] = []
    for case in sorted(cases, key=lambda case: (case.began_s, case.run.run_id)):
        for ended in sorted((g for g in going if g[0].ended_s <= case.began_s), key=lambda g: g[0].ended_s):
            past.add(ended[0].run, ended[1])
        going = [g for g in going if g[0].ended_s > case.began_s]
        found = past.like(case.run.run_id, case.run.likeness)
        told = {at: outlook(course, past.experience(course, found)) for at, course in case.at.items()}
        going.append((case, list(_scores(case, told))))
        yield case, told


def _scores(case: Case, told: Mapping[str, Outlook | None]) -> Iterator[Score]:
    actual = case.run.course.now.energy_kwh
    for at, found in told.items():
        course = case.at[at]
        if found is None or found.energy_kwh is None:
            continue
        now = course.now.energy_kwh
        value = score(actual - now, found.energy_kwh.point - now, found.spread)
        if value is not None:
            yield Score(case.run.likeness.model, stage_of(course), value)


def _by_share(course: Course) -> float:
    """Energy so far over the share done: mean x epochs."""
    last = course.points[-1]
    return last.energy_kwh * (course.total or 0.0) / last.done


def _by_recent(course: Course) -> float:
    """Energy so far and the last minute's power over what remains."""
    now, total = course.now, course.total or 0.0
    since = next((p for p in reversed(course.points) if p.done <= now.done - RECENT_S), course.points[0])
    rate = (now.energy_kwh - since.energy_kwh) / max(1.0, now.done - since.done)
    return now.energy_kwh + rate * (total - now.done)


def _without_first(course: Course) -> float:
    """Energy so far and the mean of the epochs without the first over what remains."""
    first, last = course.points[0], course.points[-1]
    if last.done <= first.done:
        return _by_share(course)
    rate = (last.energy_kwh - first.energy_kwh) / (last.done - first.done)
    return last.energy_kwh + rate * ((course.total or 0.0) - last.done)


def _measured(frame: pd.DataFrame) -> list[Case]:
    cases = []
    for run_id, of_run in frame.sort_values("observed_at").groupby("run_id", sort=True):
        elapsed = of_run["elapsed_s"].to_numpy(dtype=float) + 1.0
        power = of_run["power_w"].to_numpy(dtype=float)
        seen = np.isfinite(power) & np.isfinite(elapsed)
        if seen.sum() < 2:
            continue
        elapsed, power = elapsed[seen], power[seen]
        widths = np.clip(np.diff(elapsed, prepend=elapsed[0] - 1.0), 0.0, LONGEST_GAP_S)
        used = kwh_from_j(1.0) * np.cumsum(power * widths)
        first = of_run.iloc[0]
        likeness = Likeness(first["architecture"], None, (first["machine"],), first["gpu_name"])
        began_s = first["observed_at"].timestamp()
        run = PastRun(str(run_id), likeness, _over_time(elapsed, used, 1.0))
        at = {f"{share:.0%}": _over_time(elapsed, used, share) for share in SHARES}
        cases.append(Case(run, began_s, began_s + float(elapsed[-1]), at))
    return cases


def _over_time(elapsed: Floats, used: Floats, share: float) -> Course:
    """The course up to a share of the run's time; `done` is seconds."""
    total = float(elapsed[-1])
    at = np.linspace(0.0, share * total, POINTS + 1)[1:]
    energies = np.interp(at, np.concatenate(([0.0], elapsed)), np.concatenate(([0.0], used)))
    points = tuple(Point(float(t), float(t), float(e)) for t, e in zip(at, energies, strict=True))
    return Course("seconds", points, points[-1], total)


def made_up_runs(seed: int = SEED) -> list[Case]:
    """Runs with epochs, drawn from a seed: groups that share a model, each run with settings of its own.

    An epoch's energy: level x warm-up (the first one, 1.2 to 2.3 times) x thermal drift (to +-10 % over the first
    ten or so) x validation every k epochs (+15 %) x jitter (1 to 10 %). One run of eight stops early.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    cases = []
    for group in range(GROUPS):
        level, jitter = exp(rng.gauss(-3.0, 1.0)), rng.uniform(0.01, 0.10)
        warm_up, drift, every = rng.uniform(1.2, 2.3), rng.gauss(0.0, 0.05), rng.choice((0, 0, 5))
        began_s = rng.uniform(0.0, 1e5)
        for number in range(RUNS_PER_GROUP):
            total = rng.randint(15, 90)
            done = rng.randint(11, total) if rng.random() < 0.125 else total
            own = level * exp(rng.gauss(0.0, 0.15))
            energies = [
                own
                * (warm_up if epoch == 1 else 1.0)
                * (1.0 + drift * (1.0 - exp(-epoch / 5.0)))
                * (1.15 if every and epoch % every == 0 else 1.0)
                * exp(rng.gauss(0.0, jitter))
                for epoch in range(1, done + 1)
            ]
            likeness = Likeness(f"model-{group}", "made-up", (f"node-{group % 3}",), number)
            case = _case(f"made-up-{group}-{number}", likeness, energies, float(total), began_s)
            began_s = case.ended_s + 60.0
            cases.append(case)
    return cases


def _case(run_id: str, likeness: Likeness, energies: Sequence[float], total: float, began_s: float) -> Case:
    """A run from the energy of each of its epochs; an epoch takes as long as 300 W need for it."""
    used = np.cumsum(energies)
    points = tuple(
        Point(float(i + 1), float(kwh) / kwh_from_j(300.0), float(kwh)) for i, kwh in enumerate(used)
    )
    ended = Course("epochs", points, points[-1], total)
    asked = [n for n in EPOCHS if n < len(points)]
    at = {f"epoch {n}": replace(ended, points=points[:n], now=points[n - 1]) for n in asked}
    return Case(PastRun(run_id, likeness, ended), began_s, began_s + points[-1].elapsed_s, at)
