"""The served path in a backtest: the code of the stream, fed window by window with the batch model's predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spark_jobs.forecast.backtest.table import Forecast, Table
from spark_jobs.forecast.cells import Cell
from spark_jobs.forecast.engine import Horizons, Series
from spark_jobs.forecast.series import LEVELS, Floats

HISTORY = 240

Cells = Mapping[int, Cell]


def served_in_turn(
    tables: Sequence[Table], batch: Sequence[Mapping[int, Floats]]
) -> list[dict[int, Forecast]]:
    """What is served of runs: each starts with what the last one of its group had learned when it ended.

    A run that is not over when another begins tells it nothing here, though it does in the stream.
    """
    found: dict[int, dict[int, Forecast]] = {}
    ended: dict[str, list[tuple[float, Cells]]] = {}
    for place in sorted(range(len(tables)), key=lambda i: float(tables[i].issued_ms[0])):
        table = tables[place]
        began_ms = float(table.issued_ms[0]) - table.window_ms
        group = ended.setdefault(table.trace.group, [])
        known = [one for one in group if one[0] <= began_ms]
        cells = max(known, key=lambda one: one[0])[1] if known else {}
        found[place], learned = served(table, batch[place], cells)
        group.append((float(table.issued_ms[-1]), learned))
    return [found[place] for place in range(len(tables))]


def served(
    table: Table, batch: Mapping[int, Floats], start: Cells | None = None
) -> tuple[dict[int, Forecast], Cells]:
    """What is served per horizon, and what was learned; `start` is what a series of the same kind had learned.

    `batch` has the batch model's changes (W), NaN where there was no model. Forecasts are collected as they meet
    their actuals: those of gaps stay NaN.
    """
    horizons = tuple(table.actual)
    series = Series(table.trace.target, Horizons(table.window_ms, horizons), HISTORY)
    series.cells = {h: cell.heir() for h, cell in (start or {}).items()}
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
    return found, series.cells
