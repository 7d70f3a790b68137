"""Intervals that keep their word: adaptive conformal inference, per series and horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spark_jobs.forecast.series import LEVELS, Floats
from spark_jobs.forecast.speed import bounded

WINDOW = 200
ENOUGH = 20
STEP = 0.05
SPREAD_MEMORY = 0.05
# Quantiles of the standard Laplace distribution with mean size 1, at LEVELS: the shape before residuals are known.
SHAPE = (-2.303, -1.609, 0.0, 1.609, 2.303)
FIRST_SPREAD = 0.25


class Conformal:
    """Quantiles around a point forecast, widened or narrowed by whether they held (Gibbs and Candès 2021)."""

    def __init__(self) -> None:
        """Start without knowledge: wide."""
        self.scores: list[float] = []
        self.spread = 0.0
        self.n = 0
        self.factors = [0.0] * len(LEVELS)

    def quantiles(
        self, point: float, batch_changes: Floats | None, last: float, volatility_w: float | None = None
    ) -> tuple[float, ...]:
        """Quantiles at LEVELS (W, ascending, not negative) around `point`.

        `batch_changes`: the batch model's quantiles as changes from `last`; their shape is used where given.
        `volatility_w`: mean size of the series' recent changes over this horizon, used while residuals are few.
        """
        point = bounded(point)
        offsets = self._shape(batch_changes, point, last, volatility_w)
        edges = [
            max(0.0, point + offset * float(np.exp(f)))
            for offset, f in zip(offsets, self.factors, strict=True)
        ]
        return tuple(sorted(edges))

    def _shape(
        self, changes: Floats | None, point: float, last: float, volatility_w: float | None
    ) -> Sequence[float]:
        """Distances of the quantiles from the point (W) before adaptation."""
        if self.n < ENOUGH:
            known = max(self.spread, volatility_w or 0.0)
            spread = known or FIRST_SPREAD * max(abs(point), abs(bounded(last)))
            return [shape * spread for shape in SHAPE]
        if changes is not None:
            return [float(change - changes[2]) for change in changes]
        found = np.quantile(np.array(self.scores), LEVELS)
        return [float(score) * self.spread for score in found]

    def learn(self, quantiles: Sequence[float], point: float, actual: float) -> None:
        """Take in the actual (W) of a forecast and whether its quantiles held."""
        residual = bounded(actual) - bounded(point)
        self.n += 1
        if self.spread > 0:
            self.scores = [*self.scores[-(WINDOW - 1) :], max(-50.0, min(50.0, residual / self.spread))]
        self.spread += (abs(residual) - self.spread) * max(SPREAD_MEMORY, 1.0 / self.n)
        for i, level in enumerate(LEVELS):
            if level == 0.5:
                continue
            outside = actual < quantiles[i] if level < 0.5 else actual > quantiles[i]
            alpha = min(level, 1 - level)
            moved = self.factors[i] + STEP * (float(outside) - alpha)
            self.factors[i] = max(-3.0, min(3.0, moved))

    def to_doc(self) -> dict[str, Any]:
        """As stored; at most 200 scores."""
        return {"scores": self.scores, "spread": self.spread, "n": self.n, "factors": self.factors}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Conformal:
        """Read back what `to_doc` wrote."""
        conformal = cls()
        conformal.scores = [float(score) for score in doc["scores"]]
        conformal.spread, conformal.n = float(doc["spread"]), int(doc["n"])
        conformal.factors = [float(factor) for factor in doc["factors"]]
        return conformal
