"""The served path in a backtest: the code of the stream, fed window by window with the batch model's predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spark_jobs.forecast.backtest.table import Forecast, Table
from spark_jobs.forecast.engine import Horizons, Series
from spark_jobs.forecast.series import LEVELS, Floats

HISTORY = 240


def served(table: Table, batch: Mapping[int, Floats]) -> dict[int, Forecast]:
    """What is served per horizon; `batch` has the batch model's changes (W), NaN where there was no model.

    Forecasts are collected as they meet their actuals: those of gaps stay NaN.
    """
    horizons = tuple(table.actual)
    series = Series(table.trace.target, Horizons(table.window_ms, horizons), HISTORY)
    n = len(table.issued_ms)
    place = {int(ms): i for i, ms in enumerate(table.issued_ms)}
    found = {h: Forecast(np.full(n, np.nan), np.full((n, len(LEVELS)), np.nan)) for h in horizons}
    for i, window in enumerate(table.trace.observations):
        for joined in series.close(window):
            issued = joined.issued
            at = place[issued.issued_ms]
            found[issued.horizon_s].point[at] = issued.layers.point
            found[issued.horizon_s].quantiles[at] = issued.quantiles
        changes = {h: of[i] for h, of in batch.items() if np.isfinite(of[i]).all()}
        series.issue(changes, "backtest", {})
    return found
