"""Watches one series of closed windows for anomalies: raised once, seen while they last, resolved when over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from spark_jobs.forecast.anomalies.rules import (
    LIMITS,
    Finding,
    IdleGpu,
    Judged,
    Limits,
    OffForecast,
    StuckCounter,
    to_doc,
)
from spark_jobs.forecast.series import Observation

POWER, IDLE, STUCK = "power_anomaly", "idle_gpu", "stuck_counter"
RULES = (POWER, IDLE, STUCK)
RAISED, SEEN, RESOLVED = "raised", "seen", "resolved"
# So many windows without a document, and what follows is judged as a new beginning.
GAP_WINDOWS = 3
KNOWN_RUNS = 8


@dataclass(frozen=True, slots=True)
class Signal:
    """What became of an anomaly at a window. `since_ms` names it among those of its rule and series."""

    rule: str
    state: str
    since_ms: int
    at_ms: int
    severity: str
    message: str
    evidence: Mapping[str, Any]
    run_id: str | None = None


@dataclass(slots=True)
class AnomalyWatch:
    """The anomalies of one series, `node/…` or `run/…`, whose windows are `window_ms` long.

    A few dozen numbers, kept by `to_doc`: a watch that is read back goes on as if nothing had been.
    """

    target: str
    window_ms: int
    limits: Limits = LIMITS
    last_ms: int | None = None
    runs: list[str | None] = field(default_factory=list)
    open: dict[str, Signal] = field(default_factory=dict)
    power: OffForecast = field(init=False)
    idle: IdleGpu = field(init=False)
    stuck: StuckCounter = field(init=False)

    def __post_init__(self) -> None:
        self.power, self.idle = OffForecast(self.limits), IdleGpu(self.limits)
        self.stuck = StuckCounter(self.limits)

    def observe(self, window: Observation, joined: Sequence[Judged]) -> list[Signal]:
        """Take in the next closed window and the forecasts that were about it.

        A window that is not newer than the last one, or whose power is no number, changes nothing.
        """
        if not isfinite(window.power_w) or (self.last_ms is not None and window.start_ms <= self.last_ms):
            return []
        window = replace(
            window,
            power_w=float(window.power_w),
            gpu_utilization_pct=_finite(window.gpu_utilization_pct),
            cpu_utilization_pct=_finite(window.cpu_utilization_pct),
        )
        dimension, _, key = self.target.partition("/")
        run_id = key if dimension == "run" else window.run_id
        gap = self.last_ms is None or window.start_ms - self.last_ms > GAP_WINDOWS * self.window_ms
        if gap:
            self.idle, self.stuck = IdleGpu(self.limits), StuckCounter(self.limits)
        if self._is_new(run_id) or gap:
            self.power.settle(window.start_ms + self.limits.settle * self.window_ms)
        self.last_ms = window.start_ms
        found = {
            POWER: self.power.observe(window, self.window_ms, [one for one in joined if _whole(one)]),
            IDLE: self.idle.observe(window, run_id),
            STUCK: self.stuck.observe(window),
        }
        end_ms = window.start_ms + self.window_ms
        return [signal for rule in RULES for signal in self._signals(rule, found[rule], end_ms, run_id)]

    def _is_new(self, run_id: str | None) -> bool:
        """Whether the run, or none, takes over here.

        Runs that share a node take turns in using most of its energy: that is no beginning.
        """
        if self.runs and self.runs[-1] == run_id:
            return False
        known = run_id is not None and run_id in self.runs
        self.runs = [*(run for run in self.runs if run != run_id), run_id][-KNOWN_RUNS:]
        return not known

    def _signals(self, rule: str, found: Finding | None, at_ms: int, run_id: str | None) -> list[Signal]:
        held = self.open.get(rule)
        signals = []
        if held is not None and found is None:
            del self.open[rule]
            signals.append(replace(held, state=RESOLVED, at_ms=at_ms))
        if found is not None:
            words = f"{self.target}: {found.words}"
            run = held.run_id if held else run_id
            state = SEEN if held else RAISED
            signal = Signal(rule, state, found.since_ms, at_ms, found.severity, words, found.evidence, run)
            self.open[rule] = signal
            signals.append(signal)
        return signals

    def to_doc(self) -> dict[str, Any]:
        """As it is stored, some 500 bytes."""
        opened = {
            rule: {name: getattr(one, name) for name in Signal.__slots__} for rule, one in self.open.items()
        }
        return {
            "last_ms": self.last_ms,
            "runs": list(self.runs),
            "open": opened,
            "power": to_doc(self.power),
            "idle": to_doc(self.idle),
            "stuck": to_doc(self.stuck),
        }

    @classmethod
    def from_doc(
        cls, target: str, window_ms: int, doc: Mapping[str, Any], limits: Limits = LIMITS
    ) -> AnomalyWatch:
        """As it was stored; a state that another version has stored in its own shape is begun anew."""
        try:
            opened = {rule: Signal(**one) for rule, one in doc["open"].items()}
            made = cls(target, window_ms, limits, doc["last_ms"], list(doc["runs"]), opened)
            made.power = OffForecast(limits, **doc["power"])
            made.idle = IdleGpu(limits, **doc["idle"])
            made.stuck = StuckCounter(limits, **doc["stuck"])
        except (KeyError, TypeError, AttributeError):
            return cls(target, window_ms, limits)
        return made


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None


def _whole(judged: Judged) -> bool:
    return all(isfinite(quantile) for quantile in judged[1])
