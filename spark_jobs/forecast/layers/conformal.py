"""Intervals that keep their word: adaptive conformal inference, per series and horizon.

The shape of an interval comes from the batch model's quantiles (conformalised quantile regression, Romano, Patterson
and Candès 2019) or from the residuals of the last windows, scaled by their recent size. Each end is then stretched by
a factor that grows when the actual lies outside and shrinks when it does not (Gibbs and Candès 2021; on the logarithm
of the width instead of the level, so that one state serves both shapes), in steps whose mean is zero exactly where
the end holds as often as it says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spark_jobs.forecast.layers.speed import bounded, clipped
from spark_jobs.forecast.series import LEVELS, Floats

MIDDLE = LEVELS.index(0.50)
# Residuals that shape an interval, and how many make a shape.
WINDOW = 200
ENOUGH = 20
# Step of a factor's logarithm, and how much larger it is at the start; the memory of the residuals' size.
STEP = 0.08
EARLY = 60.0
EARLY_FROM = 15.0
SPREAD_MEMORY = 0.03
FACTOR_LIMIT = 4.0
# However sure the batch model is, an interval is at least this share of what recent residuals alone would say.
NARROWEST = 0.05
SCORE_LIMIT = 50.0
# Quantiles at LEVELS of the Laplace distribution whose mean size is 1: the shape before residuals are known.
SHAPE = (-2.303, -1.609, 0.0, 1.609, 2.303)
# Before anything is known, a change of this share of the level is ordinary.
FIRST_SPREAD = 0.25


class Conformal:
    """Quantiles around the point forecasts of one series at one horizon."""

    def __init__(self) -> None:
        """Start without knowledge: wide."""
        # Newest last: residuals in units of their size at that time, and that size (W).
        self.scores: list[float] = []
        self.spread = 0.0
        self.n = 0
        # Logarithm of the stretch of each end, at LEVELS.
        self.factors = [0.0] * len(LEVELS)

    def quantiles(
        self, point: float, batch_changes: Floats | None, last: float, volatility_w: float | None = None
    ) -> tuple[float, ...]:
        """Quantiles at LEVELS (W, ascending, not negative) around `point`, which is the middle one.

        `batch_changes`: the batch model's quantiles as changes from `last`, where it forecast. `volatility_w`: mean
        size of the series' recent changes over this horizon, where known; it counts while residuals are few.
        """
        point = max(0.0, bounded(point))
        offsets = self._shape(batch_changes, point, bounded(last), volatility_w)
        ends = [offset * math.exp(f) for offset, f in zip(offsets, self.factors, strict=True)]
        found = [point] * len(LEVELS)
        for i in range(MIDDLE - 1, -1, -1):
            found[i] = min(found[i + 1], max(0.0, bounded(point + ends[i])))
        for i in range(MIDDLE + 1, len(LEVELS)):
            found[i] = max(found[i - 1], bounded(point + ends[i]))
        return tuple(found)

    def _shape(
        self, changes: Floats | None, point: float, last: float, volatility_w: float | None
    ) -> Sequence[float]:
        """Distances of the quantiles from the point (W) before they are stretched."""
        if changes is not None and all(map(math.isfinite, changes)):
            own = [NARROWEST * shape * self.spread for shape in SHAPE]
            given = [bounded(float(change - changes[MIDDLE])) for change in changes]
            return [
                min(a, b) if i < MIDDLE else max(a, b)
                for i, (a, b) in enumerate(zip(given, own, strict=True))
            ]
        if self.n < ENOUGH or len(self.scores) < ENOUGH:
            known = max(self.spread, bounded(volatility_w or 0.0))
            spread = known or FIRST_SPREAD * max(point, abs(last))
            return [shape * spread for shape in SHAPE]
        ranked = sorted(self.scores)
        return [ranked[_rank(level, len(ranked))] * self.spread for level in LEVELS]

    def learn(self, quantiles: Sequence[float], point: float, actual: float) -> None:
        """Take in the actual (W) of a forecast, its point and its quantiles."""
        actual, point = bounded(actual), bounded(point)
        residual = actual - point
        self.n += 1
        if self.spread > 0:
            score = clipped(residual / self.spread, SCORE_LIMIT)
            self.scores = [*self.scores[-(WINDOW - 1) :], score]
        self.spread += (abs(residual) - self.spread) * max(SPREAD_MEMORY, 1.0 / self.n)
        step = STEP * max(1.0, EARLY / (self.n + EARLY_FROM))
        for i, level in enumerate(LEVELS):
            if i == MIDDLE:
                continue
            outside = actual < quantiles[i] if i < MIDDLE else actual > quantiles[i]
            moved = self.factors[i] + step * (outside - min(level, 1 - level))
            self.factors[i] = clipped(moved, FACTOR_LIMIT)

    def heir(self) -> Conformal:
        """What the next series of the same kind starts with: all of it."""
        return Conformal.from_doc(self.to_doc())

    def to_doc(self) -> dict[str, Any]:
        """As stored; at most WINDOW scores."""
        return {
            "scores": list(self.scores),
            "spread": self.spread,
            "n": self.n,
            "factors": list(self.factors),
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Conformal:
        """Read back what `to_doc` wrote."""
        conformal = cls()
        conformal.scores = [float(score) for score in doc["scores"]]
        conformal.spread, conformal.n = float(doc["spread"]), int(doc["n"])
        conformal.factors = [float(factor) for factor in doc["factors"]]
        return conformal


def _rank(level: float, n: int) -> int:
    """Place of a quantile among n scores, outwards: a new score is beyond it no more often than the level says."""
    if level < 0.5:
        return max(0, math.floor(level * (n + 1)) - 1)
    return min(n - 1, math.ceil(level * (n + 1)) - 1)
