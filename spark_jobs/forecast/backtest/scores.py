"""How forecasts are judged: absolute error, weighted quantile loss, coverage, each beside the naive forecast.

Only windows that were observed are judged. Powers in W; quantiles at LEVELS.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spark_jobs.forecast.series import LEVELS, Floats

# Fewer known residuals give no interval: the quantiles are the point itself.
FEWEST_RESIDUALS = 20
# Residuals that the intervals of the simple models are made of: the last so many.
RESIDUALS = 2000
SPAN_MS = 6 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """Forecasts of one model that met their actuals: arrays of length n, quantiles of shape (n, len(LEVELS))."""

    issued_ms: Floats
    point: Floats
    quantiles: Floats
    actual: Floats

    def __post_init__(self) -> None:
        """Every array has a row per forecast and no row is unknown."""
        n = len(self.actual)
        if not (len(self.point) == len(self.issued_ms) == len(self.quantiles) == n):
            raise ValueError("arrays of one length were expected")
        if not all(np.isfinite(column).all() for column in (self.point, self.quantiles, self.actual)):
            raise ValueError("a forecast or an actual is not a number")

    def take(self, chosen: Floats) -> Judged:
        """Those that are chosen, by a mask."""
        mask = chosen.astype(bool)
        return Judged(self.issued_ms[mask], self.point[mask], self.quantiles[mask], self.actual[mask])


def mae(of: Judged) -> float:
    """Mean absolute error (W)."""
    return float(np.abs(of.point - of.actual).mean())


def weighted_quantile_loss(of: Judged) -> float:
    """Twice the pinball loss, summed over forecasts, over the sum of actuals; mean over LEVELS.

    As in Salinas et al., *DeepAR* (2020), and the M5 and GluonTS evaluations.
    """
    miss = of.actual[:, None] - of.quantiles
    levels = np.array(LEVELS)
    pinball = np.maximum(levels * miss, (levels - 1.0) * miss)
    return float(2.0 * pinball.sum() / (np.abs(of.actual).sum() * len(LEVELS)))


def coverage(of: Judged, low: float, high: float) -> float:
    """Share of actuals within the interval between two of LEVELS, ends included."""
    return float(_inside(of, low, high).mean())


def worst_coverage(of: Judged, low: float, high: float, fewest: int = 30) -> float | None:
    """The least coverage of a span of 6 h with at least so many forecasts; None where there is no such span."""
    inside = _inside(of, low, high)
    spans = of.issued_ms // SPAN_MS
    found = [
        float(inside[spans == span].mean()) for span in np.unique(spans) if (spans == span).sum() >= fewest
    ]
    return min(found, default=None)


def _inside(of: Judged, low: float, high: float) -> Floats:
    bottom, top = of.quantiles[:, LEVELS.index(low)], of.quantiles[:, LEVELS.index(high)]
    return np.asarray((of.actual >= bottom) & (of.actual <= top), dtype=np.float64)


def residual_quantiles(issued_ms: Floats, target_ms: Floats, point: Floats, actual: Floats) -> Floats:
    """Quantiles from the residuals that were known when each forecast was issued, shape (n, len(LEVELS)).

    Forecasts are in order of issue. A residual is known from the end of its target window on.
    """
    result = np.repeat(point[:, None], len(LEVELS), axis=1)
    by_target = np.argsort(target_ms, kind="stable")
    ordered: list[float] = []
    recent: list[float] = []
    seen = 0
    for i, now in enumerate(issued_ms):
        while seen < len(by_target) and target_ms[by_target[seen]] <= now:
            residual = float(actual[by_target[seen]] - point[by_target[seen]])
            seen += 1
            if not np.isfinite(residual):
                continue
            insort(ordered, residual)
            recent.append(residual)
            if len(recent) > RESIDUALS:
                ordered.remove(recent.pop(0))
        if len(ordered) >= FEWEST_RESIDUALS:
            places = np.array(LEVELS) * (len(ordered) - 1)
            result[i] += np.interp(places, np.arange(len(ordered)), ordered)
    return result


def strong_naive(models: Mapping[str, Judged]) -> str:
    """Which of last value and seasonal naive errs less."""
    return min(("naive", "seasonal_naive"), key=lambda name: mae(models[name]))


def row(task: str, group: str, horizon_s: int, model: str, of: Judged, naive: Judged) -> dict[str, Any]:
    """The scores of a model as a row of the table; ratios are to strong naive."""
    return {
        "task": task,
        "group": group,
        "horizon_s": horizon_s,
        "model": model,
        "n": len(of.actual),
        "mae": mae(of),
        "mae_ratio": _over(mae(of), mae(naive)),
        "wql_ratio": _over(weighted_quantile_loss(of), weighted_quantile_loss(naive)),
        "coverage_80": coverage(of, 0.10, 0.90),
        "coverage_90": coverage(of, 0.05, 0.95),
        "worst_6h_coverage_80": worst_coverage(of, 0.10, 0.90),
        "worst_6h_coverage_90": worst_coverage(of, 0.05, 0.95),
    }


def geometric_mean(values: Sequence[float]) -> float | None:
    """Of those above zero; None where there is none."""
    known = [value for value in values if value > 0 and np.isfinite(value)]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def _over(one: float, other: float) -> float | None:
    return one / other if other > 0 else None
