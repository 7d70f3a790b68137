"""The rows of a backtest: of each series' windows the features, the last value and what came at each horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_jobs.forecast.backtest.baselines import ALPHAS, NAIVE, SEASONAL, SES, seasonal_naive, smoothed
from spark_jobs.forecast.backtest.scores import Judged, residual_quantiles
from spark_jobs.forecast.backtest.traces import Trace
from spark_jobs.forecast.models.features import matrix
from spark_jobs.forecast.series import Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Forecast:
    """A model's forecasts at one horizon, one per window: points (n,), quantiles (n, len(LEVELS)), in W."""

    point: Floats
    quantiles: Floats


@dataclass(frozen=True, slots=True)
class Table:
    """One series: arrays of length n, one entry per window. `actual` is NaN where the target is a gap."""

    trace: Trace
    window_ms: int
    issued_ms: Floats
    rows: Floats
    last: Floats
    groups: NDArray[np.str_]
    actual: Mapping[int, Floats]

    @property
    def changes(self) -> dict[int, Floats]:
        """What a model learns, per horizon (W)."""
        return {h: of - self.last for h, of in self.actual.items()}

    def with_residuals(self, horizon_s: int, point: Floats) -> Forecast:
        """Points with quantiles from the residuals that were known at each issue time."""
        actual = self.actual[horizon_s]
        target_ms = self.issued_ms + horizon_s * 1000
        return Forecast(point, residual_quantiles(self.issued_ms, target_ms, point, actual))

    def judged(self, horizon_s: int, of: Forecast, chosen: Mask) -> Judged:
        """The chosen forecasts whose target was observed."""
        actual = self.actual[horizon_s]
        mask = chosen & np.isfinite(actual)
        return Judged(self.issued_ms[mask], of.point[mask], of.quantiles[mask], actual[mask])

    def simple(self, horizon_s: int, alpha: float) -> dict[str, Floats]:
        """The points of the models that need no training."""
        history = self.trace.observations
        return {
            NAIVE: self.last,
            SEASONAL: seasonal_naive(history, self.window_ms, horizon_s),
            SES: smoothed(history, alpha),
        }


def table_of(trace: Trace, window_ms: int, horizons_s: Sequence[int]) -> Table:
    """The table of a series."""
    history = trace.observations
    starts = [one.start_ms for one in history]
    ends = [start + window_ms for start in starts]
    power = {one.start_ms: one.power_w for one in history}
    actual = {
        h: np.array([power.get(start + h * 1000, np.nan) for start in starts], dtype=np.float64)
        for h in horizons_s
    }
    return Table(
        trace,
        window_ms,
        np.array(ends, dtype=np.float64),
        matrix(history, window_ms, ends),
        np.array([one.power_w for one in history]),
        np.array(trace.groups),
        actual,
    )


def best_alpha(tables: Sequence[Table], horizon_s: int, before_ms: float) -> float:
    """The smoothing that errs least on forecasts whose actual was known before a time."""

    def error(alpha: float) -> float:
        total = 0.0
        for table in tables:
            early = table.issued_ms + horizon_s * 1000 <= before_ms
            miss = np.abs(table.simple(horizon_s, alpha)[SES] - table.actual[horizon_s])[early]
            total += float(np.nansum(miss))
        return total

    return min(ALPHAS, key=error)


def together(parts: Sequence[Judged]) -> Judged:
    """The forecasts of several series, in order of issue."""
    issued = np.concatenate([part.issued_ms for part in parts])
    order = np.argsort(issued, kind="stable")
    columns = [
        np.concatenate([getattr(p, name) for p in parts])[order] for name in ("point", "quantiles", "actual")
    ]
    return Judged(issued[order], *columns)
