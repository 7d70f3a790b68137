"""How fast a run uses energy and time: what its own epochs say, and what similar past runs say to that.

The rate is the mean of the run's epochs without the first one (compilation, caches and data loading come
once) with more weight on recent ones, drawn towards similar past runs by the precision of both. Where
progress has no epochs, it is the recent rate, which misleads while a run warms up. Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, isfinite, log, sqrt

# Spread of an epoch's energy within a run and of a rate that does not last (log), where a run's own epochs
# do not tell yet: mean errors of 7.8, 5.5 and 4.6 % after 2, 5 and 10 epochs need about these.
EPOCH_SPREAD = 0.08
EPOCH_SPREAD_WEIGHT = 3.0
LASTING_SHARE = 0.42
# Where the warm-up has no end that the epochs would tell, recent power misleads early on (log, by share done).
EARLY_SPREAD, EARLY_SHARE, LATE_SPREAD = 0.45, 0.1, 0.003
# After one epoch only: how much more it used than the others will. Between none (1.0) and what `mean x epochs`
# errs by after two epochs on real runs (37 %: 1.74); the spread holds both ends.
WARM_UP = 1.4
FIRST_EPOCH_SPREAD = 0.30
RECENT_SHARE = 0.3
# Parts of the recent past whose rates are compared.
BLOCKS = 5
# Spread of the rates of like runs where there are too few to tell.
LIKE_SPREAD = 0.05
# An epoch that used so many times the median is an interruption, not an epoch.
OUTLIER = 3.0
# A guess from elsewhere that is further than so many spreads from the run's own rate is of other work.
STRANGE = 3.0
# How rates went on is half believed after so many runs.
GROWTH_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class Point:
    """What a run had used (kWh) and how long it had run (s) when so much of it was done."""

    done: float
    elapsed_s: float
    energy_kwh: float


@dataclass(frozen=True, slots=True)
class Course:
    """A run so far: ends of epochs in order, where it is now, and how much there is to do.

    `unit` is what `done` and `total` count: epochs, steps or seconds. `first` is where the run began (more
    than 0 where it was resumed). `total` is None where nobody said.
    """

    unit: str
    points: tuple[Point, ...]
    now: Point
    total: float | None
    first: float = 0.0

    @property
    def share(self) -> float:
        """Which part of the run is done, 0 to 1; 0 where the total is not known."""
        return min(1.0, max(0.0, self.now.done / self.total)) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Use per unit of progress, and the spread of its logarithm; `n` increments speak for it."""

    value: float
    spread: float
    n: int


@dataclass(frozen=True, slots=True)
class Experience:
    """What similar past runs say: their rates, how rates went on, where they ended, how forecasts did.

    `growth_*` are (rest of the run) / (rate at the same point); `ends` the shares of their plan at which those
    ended that came as far as this one; `scores` the errors of past forecasts in units of their spread;
    `unlike` is the spread (log) that rates have because the runs differ in kind.
    """

    rates_kwh: tuple[float, ...] = ()
    rates_s: tuple[float, ...] = ()
    growth_kwh: tuple[float, ...] = ()
    growth_s: tuple[float, ...] = ()
    ends: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    unlike: float = 0.0

    @property
    def early(self) -> int:
        """How many of them stopped before their plan was done."""
        return sum(end < 1.0 for end in self.ends)


NO_EXPERIENCE = Experience()


def own_rate(course: Course, quantity: str) -> Rate | None:
    """The run's own use per unit of progress; None before it has got anywhere."""
    steps = _increments(course, quantity)
    if not steps:
        return None
    if course.unit != "epochs":
        reached = course.points[-1].done
        recent = [s for s in steps if s[2] > reached - RECENT_SHARE * (reached - course.first)] or steps
        value = _mean([(use, width) for use, width, _ in recent])
        spread = LATE_SPREAD + EARLY_SPREAD * exp(-((course.share / EARLY_SHARE) ** 2))
        return Rate(value, sqrt(spread**2 + _wavering(recent, value) ** 2), len(steps))
    if len(steps) == 1:
        return Rate(steps[0][0] / WARM_UP, FIRST_EPOCH_SPREAD, 1)
    rest = steps[1:]
    weighted = [(use, width * (1.0 + i / len(rest))) for i, (use, width, _) in enumerate(rest)]
    value = _mean(weighted)
    epochs = sum(width for _, width, _ in rest)
    jitter = _jitter(rest, value)
    return Rate(value, jitter * sqrt(LASTING_SHARE + 1.0 / max(1.0, epochs)), len(rest))


def _increments(course: Course, quantity: str) -> list[tuple[float, float, float]]:
    """(use per unit, units, done at its end) of each part between two points; the first begins with the run."""
    before, used = course.first, 0.0
    steps = []
    for point in course.points:
        value, width = getattr(point, quantity), point.done - before
        if width > 0 and value >= used:
            steps.append(((value - used) / width, width, point.done))
            before, used = point.done, value
    return steps


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    """Weighted mean, in which a value counts for at most OUTLIER times the weighted median."""
    ordered = sorted(weighted)
    half = sum(weight for _, weight in weighted) / 2
    reached = accumulate(weight for _, weight in ordered)
    median = next((value for (value, _), sum_w in zip(ordered, reached, strict=True) if sum_w >= half), 0.0)
    most = OUTLIER * median if median > 0 else float("inf")
    return sum(min(value, most) * weight for value, weight in weighted) / (2 * half)


def _wavering(recent: Sequence[tuple[float, float, float]], value: float) -> float:
    """How far the rates of a few parts of the recent past lie apart, as the error of what their mean foretells."""
    size = max(1, len(recent) // BLOCKS)
    parts = [recent[i : i + size] for i in range(0, len(recent), size)]
    if value <= 0 or len(parts) < 2:
        return 0.0
    rates = [sum(use * width for use, width, _ in part) / sum(w for _, w, _ in part) for part in parts]
    squares = sum(min(1.0, abs(rate / value - 1.0)) ** 2 for rate in rates)
    return sqrt(squares / (len(parts) - 1) / 2)


def _jitter(rest: Sequence[tuple[float, float, float]], value: float) -> float:
    """Relative spread of single epochs, drawn towards EPOCH_SPREAD where there are few."""
    if value <= 0:
        return EPOCH_SPREAD
    squares = sum(width * min(OUTLIER, use / value - 1.0) ** 2 for use, width, _ in rest)
    known = EPOCH_SPREAD_WEIGHT * EPOCH_SPREAD**2
    return sqrt((known + squares) / (EPOCH_SPREAD_WEIGHT + len(rest) - 1))


def best(own: Rate | None, rates: Sequence[float], growth: Sequence[float], unlike: float) -> Rate | None:
    """The own rate and what similar runs say, weighted by precision (log)."""
    if own is not None and own.value > 0:
        own = _as_it_went_on(own, growth)
    told = _told(rates, unlike)
    if told is None or (own is not None and own.value <= 0):
        return own
    middle, spread = told
    if own is None:
        return Rate(exp(middle), spread, 0)
    apart = log(own.value) - middle
    if abs(apart) > STRANGE * sqrt(own.spread**2 + spread**2):
        return own
    ours, theirs = own.spread**-2, spread**-2
    value = exp((ours * log(own.value) + theirs * middle) / (ours + theirs))
    # Both may err for the same reason: together they are not as sure as two that know nothing of each other.
    return Rate(value, max(min(own.spread, spread) * 0.9, (ours + theirs) ** -0.5), own.n)


def _as_it_went_on(own: Rate, growth: Sequence[float]) -> Rate:
    """The own rate, by how the rates of like runs went on after this point and how far those lay apart."""
    told = _told(growth, 0.0)
    if told is None:
        return own
    n = len(growth)
    middle, spread = told
    weight = n / (n + GROWTH_WEIGHT)
    if spread >= own.spread:
        weight *= (own.spread / spread) ** 2
    mixed = sqrt(((1 - weight) * own.spread) ** 2 + weight * spread**2)
    return Rate(own.value * exp(weight * middle), mixed, own.n)


def _told(values: Sequence[float], unlike: float) -> tuple[float, float] | None:
    """Median of the logarithms and the spread of a next one; None where there are none."""
    logs = sorted(log(value) for value in values if value > 0 and isfinite(value))
    if not logs:
        return None
    n = len(logs)
    middle = (logs[(n - 1) // 2] + logs[n // 2]) / 2
    squares = sum(min(1.0, abs(value - middle)) ** 2 for value in logs)
    return middle, sqrt((2 * LIKE_SPREAD**2 + squares) / (n + 1) * (1.0 + 1.0 / n) + unlike**2)
