"""Backtest of `run_power`: runs that the model never saw, in windows of 10 s.

Group `all` and those of architectures: five folds of runs. Groups `new_architecture…`: the model learned from the other
architectures only. A model's `mae_ratio` is the geometric mean, over runs, of its error over strong naive's in that
run; all else is over all forecasts. `served`: a run starts with the speed layer and the intervals of the last run of
its architecture that the batch model did not see, and knows which layers lost there, as in the stream; `served_alone`:
all start anew with each run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from spark_jobs.forecast.backtest.baselines import NAIVE, SEASONAL, SES, regressors
from spark_jobs.forecast.backtest.nodes import ALL, BATCH, GAUGE, MIDDLE, SERVED, Forecasts, Say, read
from spark_jobs.forecast.backtest.scores import geometric_mean, mae, row, strong_naive
from spark_jobs.forecast.backtest.served import served, served_in_turn
from spark_jobs.forecast.backtest.splits import check_no_leak, folds_of_runs
from spark_jobs.forecast.backtest.table import Forecast, Table, table_of, together
from spark_jobs.forecast.backtest.traces import RUN, Trace, TraceError
from spark_jobs.forecast.models.features import matrix
from spark_jobs.forecast.models.forest import Forest, Growth
from spark_jobs.forecast.series import LEVELS, Floats

WINDOW_MS = 10_000
HORIZONS_S = (10, 60, 300)
FOLDS = 5
NEW = "new_architecture"
ALONE = "served_alone"
ALPHA = 0.5
# Windows of a run: fewer have no forecast at the longest horizon to judge.
FEWEST_WINDOWS = 3


def run_rows(
    spark: SparkSession, traces: Sequence[Trace], seed: int, say: Say, offline: bool = True
) -> list[dict[str, Any]]:
    """Rows of the table for training runs. Raises TraceError where there are too few runs, LeakError."""
    traces = [trace for trace in traces if len(trace.observations) >= FEWEST_WINDOWS]
    if len(traces) < FOLDS:
        raise TraceError(f"{len(traces)} runs of {FEWEST_WINDOWS} windows or more; {FOLDS} are needed")
    for trace in traces[:FOLDS]:
        check_no_leak(matrix, trace.observations, WINDOW_MS, seed=seed)
    tables = [table_of(trace, WINDOW_MS, HORIZONS_S) for trace in traces]
    folds = folds_of_runs([trace.target for trace in traces], FOLDS, seed)
    by_run = [{t.trace.target for t in tables} & fold for fold in folds]
    found = _judged(spark, tables, by_run, seed, say, offline, ALL)
    names = sorted({trace.group for trace in traces})
    if len(names) > 1:
        by_name = [{t.trace.target for t in tables if t.trace.group == name} for name in names]
        found += _judged(spark, tables, by_name, seed, say, offline, NEW)
    return found + _gauge(spark, tables, seed)


def _judged(
    spark: SparkSession,
    tables: Sequence[Table],
    folds: Sequence[set[str]],
    seed: int,
    say: Say,
    offline: bool,
    label: str,
) -> list[dict[str, Any]]:
    models: dict[int, dict[str, list[Forecast]]] = {h: {} for h in HORIZONS_S}
    order: list[Table] = []
    for number, fold in enumerate(folds, 1):
        known = [t for t in tables if t.trace.target not in fold]
        asked = [t for t in tables if t.trace.target in fold]
        order += asked
        for h, of in _forecasts(spark, known, asked, seed, offline):
            for name, forecasts in of.items():
                models[h].setdefault(name, []).extend(forecasts)
        say(f"{RUN}: {label}, fold {number} of {len(folds)}")
    groups = sorted({t.trace.group for t in order})
    found = []
    for h in HORIZONS_S:
        found += _scored(order, models[h], h, label)
        for group in groups if len(groups) > 1 else ():
            places = [i for i, t in enumerate(order) if t.trace.group == group]
            of_group = {name: [of[i] for i in places] for name, of in models[h].items()}
            name = group if label == ALL else f"{NEW}:{group}"
            found += _scored([order[i] for i in places], of_group, h, name)
    return found


def _forecasts(
    spark: SparkSession, known: Sequence[Table], asked: Sequence[Table], seed: int, offline: bool
) -> Iterator[tuple[int, Forecasts]]:
    rows, changes = _lessons(known)
    batch = _changes(Forest.fit(spark, rows, changes, growth=Growth(seed=seed)), asked)
    ours = served_in_turn(asked, batch)
    alone = [served(table, of)[0] for table, of in zip(asked, batch, strict=True)]
    for h in HORIZONS_S:
        simple = [table.simple(h, ALPHA) for table in asked]
        points = {name: [of[name] for of in simple] for name in (NAIVE, SEASONAL, SES)}
        for name, fit in regressors().items() if offline else ():
            predict = fit(rows, changes[h], seed)
            points[name] = [table.last + predict(table.rows) for table in asked]
        models: dict[str, list[Forecast]] = {
            name: [t.with_residuals(h, p) for t, p in zip(asked, of, strict=True)]
            for name, of in points.items()
        }
        models[BATCH] = [read(t, b[h]) for t, b in zip(asked, batch, strict=True)]
        models[SERVED] = [one[h] for one in ours]
        models[ALONE] = [one[h] for one in alone]
        yield h, models


def _lessons(tables: Sequence[Table]) -> tuple[Floats, dict[int, Floats]]:
    rows = np.concatenate([table.rows for table in tables])
    return rows, {h: np.concatenate([table.changes[h] for table in tables]) for h in HORIZONS_S}


def _changes(model: Forest, tables: Sequence[Table]) -> list[dict[int, Floats]]:
    """Per table and horizon, from one prediction of all."""
    ends = np.cumsum([len(table.rows) for table in tables])[:-1]
    parts = {
        h: np.split(of, ends) for h, of in model.predict(np.concatenate([t.rows for t in tables])).items()
    }
    nothing = [np.full((len(table.rows), len(LEVELS)), np.nan) for table in tables]
    return [{h: parts.get(h, nothing)[i] for h in HORIZONS_S} for i in range(len(tables))]


def _scored(
    tables: Sequence[Table], models: Mapping[str, Sequence[Forecast]], horizon_s: int, group: str
) -> list[dict[str, Any]]:
    """Rows of the models, with the geometric mean over runs as `mae_ratio`."""
    judged = {
        name: [
            t.judged(horizon_s, f, np.ones(len(t.last), dtype=bool)) for t, f in zip(tables, of, strict=True)
        ]
        for name, of in models.items()
    }
    usable = [i for i in range(len(tables)) if len(judged[NAIVE][i].actual)]
    if not usable:
        return []
    whole = {name: together([of[i] for i in usable]) for name, of in judged.items()}
    reference = strong_naive(whole)
    found = []
    for name, of in whole.items():
        scores = row(RUN, group, horizon_s, name, of, whole[reference])
        errors = [(mae(judged[name][i]), mae(judged[reference][i])) for i in usable]
        scores["mae_ratio"] = geometric_mean([one / naive for one, naive in errors if naive > 0])
        found.append({**scores, "n_runs": len(usable)})
    return found


def _gauge(spark: SparkSession, tables: Sequence[Table], seed: int) -> list[dict[str, Any]]:
    """The batch model on a random split of all windows: how much a run's own windows would flatter it."""
    rng = np.random.default_rng(seed)
    rows, changes = _lessons(tables)
    learned = rng.random(len(rows)) < 0.8
    model = Forest.fit(
        spark, rows[learned], {h: of[learned] for h, of in changes.items()}, growth=Growth(seed=seed)
    )
    found = []
    for h, of in model.predict(rows[~learned]).items():
        actual = changes[h][~learned]
        seen = np.isfinite(actual)
        ours = float(np.abs(of[seen, MIDDLE] - actual[seen]).mean())
        naive = float(np.abs(actual[seen]).mean())
        found.append(
            {
                "task": RUN,
                "group": ALL,
                "horizon_s": h,
                "model": GAUGE,
                "n": int(seen.sum()),
                "mae": ours,
                "mae_ratio": ours / naive if naive > 0 else None,
                "wql_ratio": None,
                "coverage_80": None,
                "coverage_90": None,
            }
        )
    return found
