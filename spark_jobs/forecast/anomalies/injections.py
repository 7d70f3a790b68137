"""Labelled anomalies in traces of closed windows, so that what a watch finds can be counted.

Each injection changes a stretch of a trace and says so in a Label; everything is drawn from the given generator,
so that a seed makes the same traces. The traces themselves are real ones, or `synthetic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from spark_jobs.forecast.anomalies.watch import IDLE, POWER, STUCK
from spark_jobs.forecast.series import Observation

Windows: TypeAlias = list[Observation]


@dataclass(frozen=True, slots=True)
class Label:
    """An anomaly that is there by construction: windows `first` to `last` of a trace, both included."""

    kind: str
    rule: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A series of closed windows, and what was put into it."""

    target: str
    windows: tuple[Observation, ...]
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of anomaly: the rule that is to find it, its least and greatest length in windows, its making."""

    rule: str
    shortest: int
    longest: int
    change: Callable[[Windows, np.random.Generator], Windows]


def _scaled(windows: Windows, factor: float) -> Windows:
    return [replace(w, power_w=w.power_w * factor, energy_kwh=_times(w.energy_kwh, factor)) for w in windows]


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def spike(windows: Windows, draw: np.random.Generator) -> Windows:
    """Power 25 to 60 % higher, at the same utilisation."""
    return _scaled(windows, float(draw.uniform(1.25, 1.6)))


def drop(windows: Windows, draw: np.random.Generator) -> Windows:
    """Power 25 to 60 % lower, at the same utilisation."""
    return _scaled(windows, float(draw.uniform(0.4, 0.75)))


def power_limit(windows: Windows, draw: np.random.Generator) -> Windows:
    """Power capped at 60 to 85 % of the stretch's own mean, as after `nvidia-smi -pl`."""
    cap = float(np.mean([w.power_w for w in windows]) * draw.uniform(0.6, 0.85))
    noise = draw.normal(0.0, 0.002 * cap, len(windows))
    return [
        replace(w, power_w=min(w.power_w, cap + float(e)), energy_kwh=None)
        for w, e in zip(windows, noise, strict=True)
    ]


def hang(windows: Windows, draw: np.random.Generator) -> Windows:
    """The run is there and does nothing: GPU utilisation 0 to 3 %, power 20 to 45 % of what it was."""
    level = float(np.mean([w.power_w for w in windows]) * draw.uniform(0.2, 0.45))
    return [
        replace(
            w,
            power_w=level * float(draw.uniform(0.98, 1.02)),
            gpu_utilization_pct=float(draw.uniform(0.0, 3.0)),
            energy_kwh=None,
        )
        for w in windows
    ]


def stuck(windows: Windows, draw: np.random.Generator) -> Windows:
    """The meter repeats its last value while the utilisation goes on, and moves by at least 4 points."""
    swing = np.linspace(0.0, -float(draw.uniform(4.0, 12.0)), len(windows))
    value = windows[0].power_w
    return [
        replace(
            w, power_w=value, gpu_utilization_pct=_shifted(w.gpu_utilization_pct, float(s)), energy_kwh=None
        )
        for w, s in zip(windows, swing, strict=True)
    ]


def zero(windows: Windows, draw: np.random.Generator) -> Windows:
    """The meter counts nothing while there is work."""
    return [replace(w, power_w=0.0, energy_kwh=0.0) for w in windows]


def _shifted(value: float | None, by: float) -> float | None:
    return None if value is None else min(100.0, max(0.0, value + by))


KINDS: Mapping[str, Kind] = {
    "spike": Kind(POWER, 5, 15, spike),
    "drop": Kind(POWER, 5, 15, drop),
    "power_limit": Kind(POWER, 10, 20, power_limit),
    "hang": Kind(IDLE, 7, 20, hang),
    "stuck": Kind(STUCK, 7, 15, stuck),
    "zero": Kind(STUCK, 5, 15, zero),
}


def inject(trace: Trace, kind: str, first: int, length: int, draw: np.random.Generator) -> Trace:
    """The trace with an anomaly in `length` windows from `first` on."""
    made = KINDS[kind]
    windows = list(trace.windows)
    windows[first : first + length] = made.change(windows[first : first + length], draw)
    label = Label(kind, made.rule, first, first + length - 1)
    return replace(trace, windows=tuple(windows), labels=(*trace.labels, label))


def places(windows: Sequence[Observation], window_ms: int, warm: int, length: int) -> list[int]:
    """Where `length` windows fit that follow one another without a gap, in one run, `warm` windows into it.

    Only while the GPU works: what is idle already cannot hang, and zero energy of an idle machine proves nothing.
    """
    found, begun = [], 0
    for place, window in enumerate(windows):
        before = windows[place - 1] if place else None
        if before is None or before.run_id != window.run_id or window.start_ms - before.start_ms != window_ms:
            begun = place
        if (window.gpu_utilization_pct or 0.0) < 30.0:
            begun = max(begun, place + 1 - warm)
        if place - begun + 1 >= warm + length:
            found.append(place - length + 1)
    return found


def synthetic(draw: np.random.Generator, target: str, n: int, window_ms: int, start_ms: int) -> Trace:
    """A node that trains one run after another: levels, slow waves, epochs, short dips, idle time between runs.

    Levels 150 to 700 W, noise of 1 to 3 % with a memory of some windows, a dip of one window now and then
    (validation), utilisation that goes with the power. Runs of 60 to 300 windows, pauses of 5 to 30.
    """
    windows: Windows = []
    number = 0
    while len(windows) < n:
        number += 1
        level, idle = float(draw.uniform(150, 700)), float(draw.uniform(30, 80))
        length, pause = int(draw.integers(60, 300)), int(draw.integers(5, 30))
        every, noise = int(draw.integers(6, 40)), float(draw.uniform(0.01, 0.03))
        memory = 0.0
        for step in range(length):
            memory = 0.8 * memory + noise * float(draw.normal())
            share = (0.7 if step < 2 else 1.0) * (0.75 if step % every == every - 1 else 1.0)
            power = idle + (level - idle) * share * (1.0 + memory)
            used = min(100.0, max(0.0, 90.0 * share + float(draw.normal(0, 1.5))))
            at = start_ms + len(windows) * window_ms
            windows.append(
                Observation(at, power, used, 15.0 + float(draw.normal()), None, f"{target}-{number}")
            )
        for _ in range(pause):
            at = start_ms + len(windows) * window_ms
            windows.append(Observation(at, idle * (1 + 0.01 * float(draw.normal())), 0.0, 2.0, None, None))
    return Trace(target, tuple(windows[:n]))
