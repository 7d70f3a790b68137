"""The speed layer: what one series' own last hours say, learned anew with every window.

Recursive least squares with exponential forgetting in its information form (Haykin, *Adaptive Filter Theory*,
ch. 10): sums of products of the inputs, discounted, and a floor under them, so that inputs that stand still never
blow up the gain (the wind-up of Salgado, Goodwin and Middleton 1988). Residuals are weighted as Huber's (1964).
It predicts the change from the last value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from spark_jobs.forecast.series import Floats, Observation

# What `speed_row` returns, in order. The first is the unit (W) of the others, not an input.
SPEED_FEATURES = (
    "scale_w",
    "step_1",
    "step_2",
    "above_mean_5",
    "above_median_5",
    "above_median_15",
    "above_median_60",
    "fresh",
)
INPUTS = len(SPEED_FEATURES) - 1
LONGEST = 60
# After so many windows without a document the series starts afresh, as it does with another run.
GAP_WINDOWS = 2
# A start is half forgotten after so many windows.
FRESH_WINDOWS = 2.0
# No input and no change is larger than so many times the series' own level.
LIMIT = 10.0
SCALE_FLOOR_W = 1e-3
HUGE_W = 1e150
# Chosen on the first 60 % of the open node series and every third open run; see docs of the forecasts.
FORGET = 0.985
RIDGE = 1.0
RIDGE_FLOOR = 1e-3
HUBER = 1.5
SPREAD_MEMORY = 0.03
# After a series stood still no residual is ordinary; without a floor none would ever be again.
SPREAD_FLOOR = 1e-3
SOFTENED = 0.05
WARM_UP = 8


def bounded(value: float) -> float:
    """A finite number of W whose square is finite too; NaN is 0."""
    return 0.0 if math.isnan(value) else max(-HUGE_W, min(HUGE_W, float(value)))


def clipped(value: float, limit: float) -> float:
    """`value`, or the nearer end of ± `limit`."""
    return max(-limit, min(limit, value))


def speed_row(history: Sequence[Observation], window_ms: int) -> Floats:
    """The inputs at the end of `history` (not empty, ascending): shape (len(SPEED_FEATURES),).

    Steps and distances from means and medians over the last 5, 15 and 60 windows, divided by the mean level of the
    last 60; only windows that were observed count. `fresh` is 1 at a series' start, after a gap and when the node's
    run changes, and falls to 0 (e^-age/2): what a start is like is learned from earlier starts.
    """
    newest_ms = history[-1].start_ms
    powers: list[float] = []
    fives = fifteens = 0
    started_ms: int | None = None
    later = history[-1]
    for seen in reversed(history):
        age = (newest_ms - seen.start_ms) // window_ms
        broken = later.start_ms - seen.start_ms > GAP_WINDOWS * window_ms or later.run_id != seen.run_id
        if broken and started_ms is None:
            started_ms = later.start_ms
        if age >= LONGEST:
            break
        powers.append(bounded(seen.power_w))
        fives += age < 5
        fifteens += age < 15
        later = seen
    age_windows = (newest_ms - (later.start_ms if started_ms is None else started_ms)) / window_ms
    return _row(powers, fives, fifteens, age_windows)


def _row(powers: Sequence[float], fives: int, fifteens: int, age_windows: float) -> Floats:
    """The inputs from the powers of the last 60 windows, newest first, and how many are in the last 5 and 15."""
    last = powers[0]
    one = powers[1] if len(powers) > 1 else last
    two = powers[2] if len(powers) > 2 else one
    scale = max(abs(sum(powers) / len(powers)), SCALE_FLOOR_W)
    moves = (
        last - one,
        one - two,
        last - sum(powers[:fives]) / fives,
        last - median(powers[:fives]),
        last - median(powers[:fifteens]),
        last - median(powers),
    )
    return np.array(
        [scale, *(clipped(move / scale, LIMIT) for move in moves), math.exp(-age_windows / FRESH_WINDOWS)]
    )


class Speed:
    """Recursive least squares for one series and horizon."""

    def __init__(self) -> None:
        """Start without knowledge: no change."""
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.products: Floats = np.eye(INPUTS) * RIDGE
        self.targets: Floats = np.zeros(INPUTS)
        self.coefficients: Floats = np.zeros(INPUTS)
        # Mean size of the recent residuals, and the largest recent change, in the series' scale.
        self.spread, self.largest = 0.0, 0.0
        self.n = 0

    def soften(self) -> None:
        """After a drift: what was learned counts little against what comes next, and no residual is odd."""
        self.products, self.targets = SOFTENED * self.products, SOFTENED * self.targets
        self.n = 0

    def predict(self, x: Floats, last: float) -> float:
        """Power at the horizon (W, not negative): `last` and the learned change, none larger than lately seen."""
        change = clipped(float(self.coefficients @ x[1:]), self.largest)
        return max(0.0, bounded(last) + float(x[0]) * change)

    def learn(self, x: Floats, last: float, actual: float) -> None:
        """Take in what became (`actual`, W) of the forecast made from `x` and `last` (W)."""
        inputs = x[1:]
        change = clipped((bounded(actual) - bounded(last)) / float(x[0]), LIMIT)
        residual = abs(change - float(self.coefficients @ inputs))
        self.largest = max(abs(change), FORGET * self.largest)
        limit = HUBER * max(self.spread, SPREAD_FLOOR)
        weight = limit / residual if self.n >= WARM_UP and residual > limit else 1.0
        self.products = FORGET * self.products + weight * np.outer(inputs, inputs)
        self.targets = FORGET * self.targets + weight * change * inputs
        self.coefficients = np.linalg.solve(self.products + _FLOOR, self.targets).astype(np.float64)
        self.n += 1
        ordinary = min(residual, 4 * limit) if self.n > WARM_UP else residual
        self.spread += (ordinary - self.spread) * max(SPREAD_MEMORY, 1.0 / self.n)

    def to_doc(self) -> dict[str, Any]:
        """As stored; of the symmetric products only one half."""
        return {
            "products": self.products[_UPPER].tolist(),
            "targets": self.targets.tolist(),
            "coefficients": self.coefficients.tolist(),
            "spread": self.spread,
            "largest": self.largest,
            "n": self.n,
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Speed:
        """Read back what `to_doc` wrote; a state over other inputs starts anew."""
        speed = cls()
        if len(doc["targets"]) == INPUTS:
            speed.products = np.zeros((INPUTS, INPUTS))
            speed.products[_UPPER] = doc["products"]
            speed.products.T[_UPPER] = doc["products"]
            speed.targets = np.array(doc["targets"], dtype=float)
            speed.coefficients = np.array(doc["coefficients"], dtype=float)
            speed.spread, speed.largest, speed.n = float(doc["spread"]), float(doc["largest"]), int(doc["n"])
        return speed


_FLOOR = np.eye(INPUTS) * RIDGE_FLOOR
_UPPER = np.triu_indices(INPUTS)
