"""An amount that is not known yet, by three of its quantiles, and what follows from them. Pure functions.

Distribution: two halves of normal distributions joined at the median (Fechner's split normal with its halves
weighted alike, so that it has exactly the given p10, median and p90). Sums add quantile to quantile, as if all
parts erred the same way: of independent parts the true interval is narrower, so this one errs to the wide side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Z_90 = 1.2815515655446004  # the 90 % quantile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class Spread:
    """p10 <= point <= p90 of an amount; the point is its median."""

    point: float
    p10: float
    p90: float

    @classmethod
    def read(cls, doc: Any) -> Spread | None:
        """From a stored `{point, p10, p90}`; None where one is missing or no finite number."""
        if not isinstance(doc, Mapping):
            return None
        values = [doc.get(name) for name in ("point", "p10", "p90")]
        numbers = [float(v) for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
        if len(numbers) < len(values):
            return None
        point, p10, p90 = numbers
        return cls(point, min(p10, point), max(p90, point))

    def __add__(self, other: Spread) -> Spread:
        return Spread(self.point + other.point, self.p10 + other.p10, self.p90 + other.p90)

    def __mul__(self, factor: float) -> Spread:
        """Scaled by a factor >= 0."""
        return Spread(self.point * factor, self.p10 * factor, self.p90 * factor)

    def plus(self, amount: float) -> Spread:
        """Moved by an amount that is known."""
        return self + exactly(amount)

    def minus_used(self, amount: float) -> Spread:
        """What is left of it after an amount was used: at least 0."""
        return Spread(*(max(0.0, value - amount) for value in (self.point, self.p10, self.p90)))

    def above(self, limit: float) -> float:
        """Probability that the amount reaches a limit."""
        sigma = (self.p90 - self.point if limit >= self.point else self.point - self.p10) / Z_90
        if sigma <= 0:
            # Nothing is spread on this side: all of its half lies at the point.
            return 1.0 if limit <= self.point else 0.0
        return 0.5 * math.erfc((limit - self.point) / sigma / math.sqrt(2))


def exactly(amount: float) -> Spread:
    """An amount without doubt."""
    return Spread(amount, amount, amount)


def probability_of_breaking(end: Spread, spent: float, limit: float) -> float:
    """Probability that the end reaches the limit, knowing that what is spent stays spent.

    P(end >= limit | end >= spent), so the part of the distribution below `spent` counts for nothing.
    """
    if spent >= limit:
        return 1.0
    possible = end.above(spent)
    return 0.0 if possible <= 0 else min(1.0, end.above(limit) / possible)
