"""What a training run will have used when it is finished: energy and time at completion, with an 80 % interval.

A run's course is what it has used when so much of it was done. What is left is `rate x remaining`: the rate is
the mean of what its own epochs used, without the first one (compilation, caches and data loading come once)
and with more weight on recent ones, drawn towards similar past runs by the precision of both. The interval
is of the remaining part only, so it closes as the run goes on. Past runs that stopped early are scenarios of
their own. Pure functions; energies in kWh, times in s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from statistics import NormalDist

from spark_jobs.forecast.runs.rates import NO_EXPERIENCE, Course, Experience, Point, Rate, best, own_rate

# Where there are fewer scores of past forecasts than this, normal ones stand in.
PRIOR_SCORES = 6
NODES = tuple(NormalDist().inv_cdf((i + 0.5) / 41) for i in range(41))
Z80 = NormalDist().inv_cdf(0.9)
# That a run does what was planned counts as so many past runs.
PLANNED = 4
LONGEST = 20.0  # exp of more is no estimate


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate with its 80 % interval."""

    point: float
    p10: float
    p90: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """Energy (kWh) and duration (s) at completion; None where the total is not known. `spread` is of the rest."""

    method: str
    energy_kwh: Range | None
    duration_s: Range | None
    per_unit_kwh: float
    per_unit_s: float
    spread: float


def outlook(course: Course, past: Experience = NO_EXPERIENCE) -> Outlook | None:
    """What the course leads to; None where neither the run nor its like say anything yet."""
    use = best(own_rate(course, "energy_kwh"), past.rates_kwh, past.growth_kwh, past.unlike)
    pace = best(own_rate(course, "elapsed_s"), past.rates_s, past.growth_s, past.unlike)
    if use is None or pace is None:
        return None
    method = course.unit if course.points else "similar_runs"
    if course.total is None:
        return Outlook("rate", None, None, use.value, pace.value, use.spread)
    anchor = course.points[-1] if course.points else Point(course.first, 0.0, 0.0)
    if course.now.done != anchor.done:  # steps say how far it is within an epoch, or it went back
        anchor = course.now
    energy = _range(course, anchor.energy_kwh, course.now.energy_kwh, anchor.done, use, past)
    duration = _range(course, anchor.elapsed_s, course.now.elapsed_s, anchor.done, pace, past)
    return Outlook(method, energy, duration, use.value, pace.value, use.spread)


def width80(scores: Sequence[float]) -> float:
    """Half width of the 80 % interval in spreads: the 80 % quantile of the sizes of past errors.

    Conformal over runs (Vovk et al., 2005; Lei et al., 2018), without their correction for few scores, which
    would cover more than 80 %; until there are PRIOR_SCORES, normal errors stand in for those that lack.
    """
    n = max(0, PRIOR_SCORES - len(scores))
    prior = (NormalDist().inv_cdf(0.5 + (i + 0.5) / (2 * n)) for i in range(n))
    return _quantile(sorted([*prior, *(abs(score) for score in scores)]), 0.8)


def _range(
    course: Course, anchor: float, least: float, done: float, rate: Rate, past: Experience
) -> Range | None:
    """Use at completion: each end that past runs came to, times how the rate may turn out."""
    total = course.total or 0.0
    ends = [end for end in past.ends if end * total > done]
    scenarios = [1.0] * PLANNED + ends if past.early else [1.0]
    factor = width80(past.scores) / Z80
    values = sorted(
        max(least, anchor + rate.value * max(0.0, end * total - done) * _exp(z * factor * rate.spread))
        for end in scenarios
        for z in NODES
    )
    low, middle, high = (_quantile(values, q) for q in (0.1, 0.5, 0.9))
    if 2 * scenarios.count(1.0) >= len(scenarios):  # the plan is the likeliest: the point is what it costs
        planned = max(least, anchor + rate.value * max(0.0, total - done))
        middle, high = planned, max(high, planned)
    return Range(middle, min(low, middle), high) if isfinite(high) else None


def _exp(value: float) -> float:
    return exp(max(-LONGEST, min(LONGEST, value)))


def _quantile(values: Sequence[float], q: float) -> float:
    """Of sorted values, each in the middle of its share; linear in between."""
    place = min(max(q * len(values) - 0.5, 0.0), len(values) - 1.0)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def score(actual_rest: float, forecast_rest: float, spread: float) -> float | None:
    """Error of a forecast of what was left, in its own spreads (log); None where nothing was left to say."""
    if actual_rest <= 0 or forecast_rest <= 0 or spread <= 0:
        return None
    return (log(actual_rest) - log(forecast_rest)) / spread
