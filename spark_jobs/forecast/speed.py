"""The speed layer: what one series' own last hours say, learned anew with every window.

Recursive least squares with exponential forgetting (Haykin, *Adaptive Filter Theory*, ch. 10; Salgado, Goodwin
and Middleton 1988 for the bound on the covariance), predicting the change from the last value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spark_jobs.forecast.series import Floats, Observation

# What `speed_row` returns, in order. The first is the unit (W) of all the others, not an input.
SPEED_FEATURES = ("scale_w", "bias", "step_1", "step_2", "above_mean_5", "above_mean_15", "above_mean_60")
INPUTS = len(SPEED_FEATURES) - 1
LONGEST = 60
# A covariance above this no longer says anything about the series, only that its inputs stood still.
COVARIANCE_LIMIT = 1e4
# No input is larger than so many times the series' own level.
INPUT_LIMIT = 10.0
SCALE_FLOOR_W = 1e-3
HUGE_W = 1e150


def bounded(value: float) -> float:
    """A finite number of W whose square is finite too; NaN is 0."""
    return 0.0 if math.isnan(value) else max(-HUGE_W, min(HUGE_W, value))


def speed_row(history: Sequence[Observation], window_ms: int) -> Floats:
    """The inputs at the end of `history` (not empty, ascending): shape (len(SPEED_FEATURES),).

    Differences and distances from means over the last 5, 15 and 60 windows, divided by the mean level of the last 60;
    means are over the windows that were observed, and the step over a gap is the step between its ends.
    """
    newest = history[-1]
    last = bounded(newest.power_w)
    oldest_ms = newest.start_ms - LONGEST * window_ms
    total, count = 0.0, 0
    means: dict[int, float] = {}
    for seen in reversed(history):
        if seen.start_ms <= oldest_ms:
            break
        back = (newest.start_ms - seen.start_ms) // window_ms
        for span in (5, 15):
            if back >= span and span not in means:
                means[span] = total / count
        total += bounded(seen.power_w)
        count += 1
    mean = total / count
    scale = max(abs(mean), SCALE_FLOOR_W)
    one = bounded(history[-2].power_w) if count > 1 else last
    two = bounded(history[-3].power_w) if count > 2 else one
    moves = (last - one, one - two, last - means.get(5, mean), last - means.get(15, mean), last - mean)
    row = [scale, 1.0, *(max(-INPUT_LIMIT, min(INPUT_LIMIT, move / scale)) for move in moves)]
    return np.array(row)


class Speed:
    """Recursive least squares for one series and horizon. State: coefficients and their covariance."""

    def __init__(self, forget: float = 0.99, ridge: float = 10.0) -> None:
        """`forget`: weight of a window relative to the next; `ridge`: how strongly coefficients start at zero."""
        self.forget, self.ridge = forget, ridge
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.coefficients = np.zeros(INPUTS)
        self.covariance = np.eye(INPUTS) / self.ridge
        self.spread = 0.0
        self.n = 0

    def predict(self, x: Floats, last: float) -> float:
        """Power at the horizon (W, not negative): `last` and the learned change."""
        return max(0.0, last + float(x[0]) * float(self.coefficients @ x[1:]))

    def learn(self, x: Floats, last: float, actual: float) -> None:
        """Take in what became of the forecast made from `x` and `last` (W).

        The residual is clipped at 3 of its own recent mean size (Huber 1964): one odd window moves the
        coefficients no further than an ordinary large one.
        """
        inputs = x[1:]
        residual = (bounded(actual) - bounded(last)) / float(x[0]) - float(self.coefficients @ inputs)
        residual = max(-INPUT_LIMIT, min(INPUT_LIMIT, residual))
        limit = 3.0 * self.spread if self.n >= 8 else INPUT_LIMIT
        clipped = max(-limit, min(limit, residual))
        direction = self.covariance @ inputs
        gain = direction / (self.forget + float(inputs @ direction))
        self.coefficients = self.coefficients + gain * clipped
        self.covariance = (self.covariance - np.outer(gain, direction)) / self.forget
        self.covariance = (self.covariance + self.covariance.T) / 2
        if float(np.trace(self.covariance)) > COVARIANCE_LIMIT:
            self.covariance = np.eye(INPUTS) / self.ridge
        self.n += 1
        self.spread += (abs(residual) - self.spread) * max(0.05, 1.0 / self.n)

    def to_doc(self) -> dict[str, Any]:
        """As stored."""
        return {
            "coefficients": self.coefficients.tolist(),
            "covariance": self.covariance.ravel().tolist(),
            "spread": self.spread,
            "n": self.n,
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Speed:
        """Read back what `to_doc` wrote; a state of another shape starts anew."""
        speed = cls()
        if len(doc["coefficients"]) == INPUTS:
            speed.coefficients = np.array(doc["coefficients"], dtype=float)
            speed.covariance = np.array(doc["covariance"], dtype=float).reshape(INPUTS, INPUTS)
            speed.spread, speed.n = float(doc["spread"]), int(doc["n"])
        return speed
