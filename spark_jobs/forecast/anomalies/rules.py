"""The three rules by which a series of closed windows looks wrong. Each holds a few numbers and no history.

A rule is asked window by window and answers with a Finding while something is wrong, None while nothing is.
Nothing in here reads a clock or a store; the same windows give the same findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from statistics import median
from typing import Any, TypeAlias

from spark_jobs.forecast.series import Observation

MS = 1000
# (horizon in s, the five quantiles in W that were forecast for this window, what came in W)
Judged: TypeAlias = tuple[int, Sequence[float], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a rule speaks. Chosen with `python -m bench anomalies`, on other seeds than it prints."""

    # power: so many windows in a row outside of the interval, which on both sides of the median is as wide as the
    # 90 % interval, but at most `errors` times the usual error, and at least `least_w` and `least_share` of it.
    windows: int = 3
    errors: float = 3.0
    least_w: float = 5.0
    least_share: float = 0.1
    # The usual error is the median of so many, and known after so many: a mean remembers the start of a run.
    usual: int = 15
    known: int = 10
    # The level before an anomaly is the median of so many windows; the power has to leave that too.
    before: int = 5
    # Windows after a start, a gap or a change of run in which no forecast is held against the series.
    settle: int = 5
    # A level that lasts so many windows is the new normal; so many windows inside end an anomaly.
    accept: int = 30
    inside: int = 2
    # idle GPU
    idle_pct: float = 5.0
    busy_pct: float = 20.0
    idle_windows: int = 5
    never_busy_windows: int = 15
    idle_share: float = 0.8
    # stuck counter
    stuck_windows: int = 5
    zero_windows: int = 3
    moved_pct: float = 3.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong: since when, in words, and by which numbers."""

    since_ms: int
    severity: str
    words: str
    evidence: Mapping[str, Any]


@dataclass(slots=True)
class OffForecast:
    """Power outside of what was forecast before the deviation began, and off the level that it had then.

    The forecasts that are judged look at least `windows` ahead, so that all windows of a verdict are judged by
    forecasts from before the first of them: one step ahead, every level is what was expected a window later. While
    the anomaly lasts its first interval stays the measure, and what was forecast meanwhile never counts.
    """

    limits: Limits = LIMITS
    count: int = 0
    side: int = 0
    since_ms: int = 0
    low: float = 0.0
    high: float = 0.0
    level_w: float = 0.0
    horizon_s: int = 0
    open: bool = False
    back: int = 0
    # Forecasts from before this say nothing.
    from_ms: int = 0
    # The last errors of the forecasts that were judged (W).
    errors_w: list[float] = field(default_factory=list)
    # The last powers that were judged (W).
    recent: list[float] = field(default_factory=list)

    def settle(self, at_ms: int) -> None:
        """Something else begins: forecasts that were issued before `at_ms` are about another thing."""
        self.count, self.open, self.back, self.from_ms, self.recent = 0, False, 0, at_ms, []

    def observe(self, window: Observation, window_ms: int, judged: Sequence[Judged]) -> Finding | None:
        """Take in the next window (W) and the forecasts that were about it."""
        if self.open:
            return self._while_open(window, window_ms)
        fair = self._fair(window.start_ms + window_ms, window_ms, judged)
        if fair is None:
            return None
        low, high = self._band(fair[1])
        self.errors_w = [*self.errors_w, abs(window.power_w - float(fair[1][2]))][-self.limits.usual :]
        side = (window.power_w > high) - (window.power_w < low)
        level = self.level_w if self.count else median(self.recent or [window.power_w])
        self.recent = [*self.recent, window.power_w][-self.limits.before :]
        if side * (window.power_w - level) <= self._least(level):
            side = 0  # the forecast was wrong, and nothing happened
        if side == 0 or side != self.side:
            self.count = 0
        if side == 0:
            return None
        if self.count == 0:
            self.side, self.since_ms, self.horizon_s = side, window.start_ms, fair[0]
            self.low, self.high, self.level_w = low, high, level
        self.count += 1
        self.open = self.count >= self.limits.windows
        return self._finding(window) if self.open else None

    def _fair(self, end_ms: int, window_ms: int, judged: Sequence[Judged]) -> Judged | None:
        """The forecast to judge by: the shortest that looks far enough ahead, if its past is of this context."""
        enough_s = self.limits.windows * window_ms // MS
        far = [one for one in judged if one[0] >= enough_s]
        fair = min(far, key=lambda one: one[0], default=None)
        return fair if fair is not None and end_ms - fair[0] * MS >= self.from_ms else None

    def _band(self, quantiles: Sequence[float]) -> tuple[float, float]:
        """The interval (W): the forecast's own, no wider than what is usual while nothing begins or ends.

        The 90 % interval has to hold over the starts and ends of runs too, which are not judged here.
        """
        p05, _, p50, _, p95 = (float(quantile) for quantile in quantiles)
        least = self._least(p50)
        known = len(self.errors_w) >= self.limits.known
        usual = self.limits.errors * median(self.errors_w) if known else inf
        return p50 - max(min(p50 - p05, usual), least), p50 + max(min(p95 - p50, usual), least)

    def _least(self, level_w: float) -> float:
        return max(self.limits.least_w, self.limits.least_share * abs(level_w))

    def _while_open(self, window: Observation, window_ms: int) -> Finding | None:
        self.count += 1
        self.back = self.back + 1 if self.low <= window.power_w <= self.high else 0
        if self.back >= self.limits.inside or self.count > self.limits.accept:
            self.settle(window.start_ms + window_ms)
            return None
        return self._finding(window)

    def _finding(self, window: Observation) -> Finding:
        where = "above" if self.side > 0 else "below"
        band = f"{max(0.0, self.low):.4g} to {self.high:.4g} W"
        words = f"{window.power_w:.4g} W is {where} the {band} that were forecast, for {self.count} windows"
        evidence = {
            "power_w": window.power_w,
            "low_w": max(0.0, self.low),
            "high_w": self.high,
            "level_before_w": self.level_w,
            "horizon_s": self.horizon_s,
            "windows": self.count,
            "side": where,
        }
        return Finding(self.since_ms, "warning", words, evidence)


@dataclass(slots=True)
class IdleGpu:
    """A run is there, its GPUs do nothing, and the power says the same."""

    limits: Limits = LIMITS
    run_id: str | None = None
    busy_w: float = 0.0
    count: int = 0
    since_ms: int = 0

    def observe(self, window: Observation, run_id: str | None) -> Finding | None:
        """Take in the next window, and the run that it belongs to (None: to none)."""
        if run_id != self.run_id:
            self.run_id, self.busy_w, self.count = run_id, 0.0, 0
        used = window.gpu_utilization_pct
        if run_id is None or used is None:
            self.count = 0
            return None
        if used >= self.limits.busy_pct:
            self.busy_w += (window.power_w - self.busy_w) * (0.2 if self.busy_w else 1.0)
        near_idle = not self.busy_w or window.power_w <= self.limits.idle_share * self.busy_w
        if used >= self.limits.idle_pct or not near_idle:
            self.count = 0
            return None
        if self.count == 0:
            self.since_ms = window.start_ms
        self.count += 1
        due = self.limits.idle_windows if self.busy_w else self.limits.never_busy_windows
        return self._finding(window, used) if self.count >= due else None

    def _finding(self, window: Observation, used: float) -> Finding:
        before = f"after {self.busy_w:.4g} W when busy" if self.busy_w else "and were never busy in this run"
        now = f"{used:.3g} %, {window.power_w:.4g} W"
        words = f"the GPUs of run {self.run_id} are idle ({now}) for {self.count} windows, {before}"
        evidence = {"gpu_utilization_pct": used, "power_w": window.power_w, "windows": self.count}
        evidence |= {"busy_w": self.busy_w} if self.busy_w else {}
        return Finding(self.since_ms, "warning" if self.busy_w else "info", words, evidence)


@dataclass(slots=True)
class StuckCounter:
    """The same value to the last digit while utilisation moves, or no energy at all while there is work."""

    limits: Limits = LIMITS
    power_w: float = -1.0
    count: int = 0
    since_ms: int = 0
    zeros: int = 0
    low_gpu: float | None = None
    high_gpu: float | None = None
    low_cpu: float | None = None
    high_cpu: float | None = None

    def observe(self, window: Observation) -> Finding | None:
        """Take in the next window."""
        if abs(window.power_w - self.power_w) > 1e-9 * abs(self.power_w):  # the mean of equal readings
            self.power_w, self.since_ms, self.count, self.zeros = window.power_w, window.start_ms, 0, 0
            self.low_gpu = self.high_gpu = self.low_cpu = self.high_cpu = None
        self.count += 1
        gpu, cpu = window.gpu_utilization_pct, window.cpu_utilization_pct
        self.low_gpu, self.high_gpu = _range(self.low_gpu, self.high_gpu, gpu)
        self.low_cpu, self.high_cpu = _range(self.low_cpu, self.high_cpu, cpu)
        moved = max(_width(self.low_gpu, self.high_gpu), _width(self.low_cpu, self.high_cpu))
        used = max(gpu or 0.0, cpu or 0.0)
        self.zeros += window.power_w == 0 and used >= self.limits.busy_pct
        if self.zeros >= self.limits.zero_windows:
            words = f"no energy is counted for {self.count} windows, while the utilisation is {used:.3g} %"
        elif self.count >= self.limits.stuck_windows and moved >= self.limits.moved_pct:
            same = f"the same {self.power_w:.6g} W to the last digit for {self.count} windows"
            words = f"{same}, while the utilisation moved by {moved:.3g} points"
        else:
            return None
        evidence = {"power_w": self.power_w, "windows": self.count, "utilization_moved_pct": moved}
        return Finding(self.since_ms, "warning", words, evidence)


def _range(low: float | None, high: float | None, value: float | None) -> tuple[float | None, float | None]:
    if value is None:
        return low, high
    return (value if low is None else min(low, value)), (value if high is None else max(high, value))


def _width(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else high - low


def to_doc(rule: OffForecast | IdleGpu | StuckCounter) -> dict[str, Any]:
    """What a rule holds, without its limits and what is not known."""
    return {name: value for name, value in asdict(rule).items() if name != "limits" and value is not None}
