"""Backtest of `node_power`: a rolling origin over the later part of each series, refitted on the past.

Nothing is tuned on that part: models learn from windows whose actual was known at their training. Before it begins
the batch model is trained twice, so that blend and intervals have met it, as they have in a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from spark_jobs.forecast.backtest.baselines import NAIVE, SEASONAL, regressors
from spark_jobs.forecast.backtest.scores import Judged, row, strong_naive
from spark_jobs.forecast.backtest.served import served
from spark_jobs.forecast.backtest.splits import Refit, check_no_leak, refits
from spark_jobs.forecast.backtest.table import Forecast, Mask, Table, best_alpha, table_of, together
from spark_jobs.forecast.backtest.traces import NODE, Trace, TraceError
from spark_jobs.forecast.models.features import matrix
from spark_jobs.forecast.models.forest import Forest, Growth
from spark_jobs.forecast.series import LEVELS, Floats

WINDOW_MS = 60_000
HORIZONS_S = (60, 300, 900)
EVERY_MS = 6 * 3600 * 1000
MIDDLE = LEVELS.index(0.5)
BATCH, SERVED, GAUGE = "batch", "served", "batch_random_split"
ALL = "all"
Say = Callable[[str], None]
Forecasts = Mapping[str, Sequence[Forecast]]


@dataclass(frozen=True, slots=True)
class Plan:
    """When the test begins (ms), when the batch model is trained before and in it, and with which seed."""

    test_ms: int
    warm: tuple[Refit, ...]
    test: tuple[Refit, ...]
    seed: int
    offline: bool = True

    @classmethod
    def of(cls, issued_ms: Floats, test_ms: int, seed: int, offline: bool = True) -> Plan:
        """Trainings every 6 h of the test, and at a half and three quarters of the forecasts before it.

        Raises TraceError where there is nothing to learn from or to judge.
        """
        early = np.sort(issued_ms[issued_ms < test_ms])
        later = issued_ms[issued_ms >= test_ms]
        if len(early) < 100 or not len(later):
            raise TraceError(
                f"{len(early)} windows to learn from and {len(later)} to judge: give a longer trace or --history"
            )
        half, most = (int(early[int(share * len(early))]) for share in (0.5, 0.75))
        warm = tuple(r for r in (Refit(half, most), Refit(most, test_ms)) if r.serves(issued_ms).any())
        return cls(test_ms, warm, tuple(refits(issued_ms, test_ms, EVERY_MS)), seed, offline)


def node_rows(
    spark: SparkSession, traces: Sequence[Trace], test_ms: int, seed: int, say: Say, offline: bool = True
) -> list[dict[str, Any]]:
    """Rows of the table for node series whose forecasts from `test_ms` on are judged.

    `offline`: with the offline regressors beside ours. Raises TraceError, LeakError.
    """
    for trace in traces:
        check_no_leak(matrix, trace.observations, WINDOW_MS, seed=seed)
    tables = [table_of(trace, WINDOW_MS, HORIZONS_S) for trace in traces]
    plan = Plan.of(np.concatenate([t.issued_ms for t in tables]), test_ms, seed, offline)
    say(f"{NODE}: {len(tables)} series, {len(plan.warm) + len(plan.test)} trainings of the batch model")
    batch = _batch(spark, tables, plan, say)
    ours = [served(table, of)[0] for table, of in zip(tables, batch, strict=True)]
    found: list[dict[str, Any]] = []
    for h in HORIZONS_S:
        models = dict(_references(tables, plan, h))
        models[BATCH] = [read(t, b[h]) for t, b in zip(tables, batch, strict=True)]
        models[SERVED] = [one[h] for one in ours]
        found += scored(tables, models, h, NODE, [t.issued_ms >= test_ms for t in tables])
        say(f"{NODE}: {h} s judged")
    return found + _gauge(spark, tables, plan)


def scored(
    tables: Sequence[Table], models: Forecasts, horizon_s: int, task: str, chosen: Sequence[Mask]
) -> list[dict[str, Any]]:
    """Rows over all of the chosen forecasts and, where there are several, per group. Ratios are to strong naive."""
    names = sorted({str(g) for table, mask in zip(tables, chosen, strict=True) for g in table.groups[mask]})
    found = []
    for group in [ALL, *(names if len(names) > 1 else ())]:
        masks = [m & ((t.groups == group) | (group == ALL)) for t, m in zip(tables, chosen, strict=True)]
        judged = {name: _together(tables, of, horizon_s, masks) for name, of in models.items()}
        if not len(judged[NAIVE].actual):
            continue
        reference = judged[strong_naive(judged)]
        found += [row(task, group, horizon_s, name, of, reference) for name, of in judged.items()]
    return found


def _together(
    tables: Sequence[Table], of: Sequence[Forecast], horizon_s: int, masks: Sequence[Mask]
) -> Judged:
    parts = [t.judged(horizon_s, f, m) for t, f, m in zip(tables, of, masks, strict=True)]
    return together(parts)


def read(table: Table, changes: Floats) -> Forecast:
    quantiles = np.maximum(0.0, table.last[:, None] + changes)
    return Forecast(quantiles[:, MIDDLE], quantiles)


def lessons(tables: Sequence[Table], masks: Mapping[int, Sequence[Mask]]) -> tuple[Floats, dict[int, Floats]]:
    """Rows and, per horizon, the changes that may be learned, NaN elsewhere."""
    rows = np.concatenate([table.rows for table in tables])
    changes = {
        h: np.concatenate([np.where(m, t.changes[h], np.nan) for t, m in zip(tables, of, strict=True)])
        for h, of in masks.items()
    }
    used = np.any([np.isfinite(of) for of in changes.values()], axis=0)
    return rows[used], {h: of[used] for h, of in changes.items()}


def _batch(spark: SparkSession, tables: Sequence[Table], plan: Plan, say: Say) -> list[dict[int, Floats]]:
    """Changes of the batch model per series and horizon, shape (n, len(LEVELS)); NaN before its first training."""
    found: list[dict[int, Floats]] = [
        {h: np.full((len(t.last), len(LEVELS)), np.nan) for h in HORIZONS_S} for t in tables
    ]
    for number, refit in enumerate((*plan.warm, *plan.test), 1):
        masks = {h: [refit.may_learn(t.issued_ms, h) for t in tables] for h in HORIZONS_S}
        rows, changes = lessons(tables, masks)
        model = Forest.fit(spark, rows, changes, growth=Growth(seed=plan.seed))
        for table, into in zip(tables, found, strict=True):
            mask = refit.serves(table.issued_ms)
            for h, of in model.predict(table.rows[mask]).items():
                into[h][mask] = of
        say(f"{NODE}: training {number} of {len(plan.warm) + len(plan.test)}, {len(rows)} rows")
    return found


def _references(tables: Sequence[Table], plan: Plan, horizon_s: int) -> Forecasts:
    """The naive models, smoothing and the offline regressors, with quantiles from their known residuals."""
    alpha = best_alpha(tables, horizon_s, plan.test_ms)
    points = [table.simple(horizon_s, alpha) for table in tables]
    models = {name: [of[name] for of in points] for name in points[0]}
    for name, fit in regressors().items() if plan.offline else ():
        models[name] = [table.last.copy() for table in tables]
        for refit in plan.test:
            masks = {horizon_s: [refit.may_learn(t.issued_ms, horizon_s) for t in tables]}
            rows, changes = lessons(tables, masks)
            predict = fit(rows, changes[horizon_s], plan.seed)
            for table, into in zip(tables, models[name], strict=True):
                mask = refit.serves(table.issued_ms)
                if mask.any():
                    into[mask] += predict(table.rows[mask])
    return {
        name: [t.with_residuals(horizon_s, p) for t, p in zip(tables, of, strict=True)]
        for name, of in models.items()
    }


def _gauge(spark: SparkSession, tables: Sequence[Table], plan: Plan) -> list[dict[str, Any]]:
    """The batch model on a random split of all rows: how much neighbours in time would flatter it."""
    rng = np.random.default_rng(plan.seed)
    learned = [rng.random(len(t.issued_ms)) < 0.6 for t in tables]
    rows, changes = lessons(tables, dict.fromkeys(HORIZONS_S, learned))
    model = Forest.fit(spark, rows, changes, growth=Growth(seed=plan.seed))
    changed = [model.predict(table.rows) for table in tables]
    found = []
    for h in HORIZONS_S:
        models = {
            name: of for name, of in _references(tables, _bare(plan), h).items() if name in (NAIVE, SEASONAL)
        }
        models[GAUGE] = [read(t, c[h]) for t, c in zip(tables, changed, strict=True)]
        chosen = [~mask & (t.issued_ms >= plan.test_ms) for t, mask in zip(tables, learned, strict=True)]
        found += [
            r for r in scored(tables, models, h, NODE, chosen) if r["model"] == GAUGE and r["group"] == ALL
        ]
    return found


def _bare(plan: Plan) -> Plan:
    return Plan(plan.test_ms, plan.warm, plan.test, plan.seed, offline=False)
