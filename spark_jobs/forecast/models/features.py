"""What a batch model sees of a series at the end of a window: numbers without a unit, scaled by the series itself.

Powers are divided by the series' own recent level, times are counted in windows, so that another GPU or another
window length gives rows of the same kind. A row is made of windows that start at or before its own: nothing later
is read. A gap is a gap: it ends a segment (a stretch of work), it is never filled in.

Jobs on a node resemble the ones before them. So each row also says what followed at the same elapsed time in the
segments before this one (`analog_*`), and how long those were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, floor, isfinite, log1p, pi, sin

import numpy as np

from schemas.units import MS_PER_S, j_from_kwh
from spark_jobs.forecast.series import Floats, Observation

# What is not known; MLlib takes no NaN. No feature that is known gets there.
MISSING = -9.0
# A row looks back on so many observations at most, whatever longer history it is given.
LOOK_BACK = 240
# A pause of more windows than this, or another run, begins a new segment.
PAUSE = 2
LAGS = (1, 2, 3, 5, 8, 15)
SPANS = (3, 5, 10, 20, 40)
STEPS = (1, 2, 5, 6, 15, 30)
SEGMENTS = 4
LIMIT = 8.0
DAY_MS = 86_400_000
# The one column with a unit (W), and no input of a model: what the changes of a row are scaled by.
LEVEL = "level_w"
LOWEST_LEVEL_W = 1e-3


@dataclass(frozen=True, slots=True)
class Past:
    """Columns of a series: `at` counts windows since the epoch; what is not known is NaN."""

    at: Floats
    power: Floats
    covered: Floats
    gpu: Floats
    cpu: Floats
    memory: Floats
    starts: tuple[int, ...]
    window_ms: int

    def cut(self, end: int) -> Past:
        """The last observations up to and with number `end`, as many as a row looks back on."""
        first = max(0, end + 1 - LOOK_BACK)
        here = slice(first, end + 1)
        starts = tuple(s - first for s in self.starts if first < s <= end)
        at, power, covered = self.at[here], self.power[here], self.covered[here]
        gpu, cpu, memory = self.gpu[here], self.cpu[here], self.memory[here]
        return Past(at, power, covered, gpu, cpu, memory, (0, *starts), self.window_ms)


def past_of(history: Sequence[Observation], window_ms: int) -> Past:
    """A history as columns. Readings that are no number or below zero, and steps back in time, are left out."""
    kept: list[Observation] = []
    for one in history:
        sane = isfinite(one.power_w) and one.power_w >= 0.0
        if sane and (not kept or one.start_ms > kept[-1].start_ms):
            kept.append(one)
    at = np.array([one.start_ms // window_ms for one in kept], dtype=np.float64)
    power = np.array([one.power_w for one in kept], dtype=np.float64)
    covered = np.array([_covered(one, window_ms) for one in kept], dtype=np.float64)
    gpu, cpu, memory = (
        np.array([_known(getattr(one, name)) for one in kept], dtype=np.float64)
        for name in ("gpu_utilization_pct", "cpu_utilization_pct", "memory_used_mib")
    )
    starts = [0] + [i + 1 for i, (a, b) in enumerate(pairwise(kept)) if _apart(a, b, window_ms)]
    return Past(at, power, covered, gpu, cpu, memory, tuple(starts), window_ms)


def _apart(one: Observation, other: Observation, window_ms: int) -> bool:
    if other.start_ms - one.start_ms > (PAUSE + 1) * window_ms:
        return True
    return one.run_id is not None and other.run_id is not None and one.run_id != other.run_id


def _covered(one: Observation, window_ms: int) -> float:
    """Share of a window that was observed: its energy over its mean power; 1 where that is not known."""
    if one.energy_kwh is None or not isfinite(one.energy_kwh) or one.power_w <= 0.0:
        return 1.0
    return min(1.0, max(0.0, j_from_kwh(one.energy_kwh) / one.power_w / (window_ms / MS_PER_S)))


def _known(value: float | None) -> float:
    return value if value is not None and isfinite(value) else np.nan


def _row(past: Past) -> dict[str, float]:
    """The features of the last observation of a cut past, by name; all finite."""
    level = max(float(np.quantile(past.power, 0.9)), LOWEST_LEVEL_W)
    here = past.power[past.starts[-1] :]
    row = {
        **_recent(past, here, level),
        **_rolling(here, level),
        **_state(past, here),
        **_position(past),
        **_analogs(past, level),
        **_calendar(past),
    }
    return {**{name: _bounded(value) for name, value in row.items()}, LEVEL: level}


def _bounded(value: float) -> float:
    return MISSING if not isfinite(value) else max(-LIMIT, min(LIMIT, value))


def _recent(past: Past, here: Floats, level: float) -> dict[str, float]:
    last = here[-1]
    row = {"level_last": last / level, "covered": float(past.covered[-1])}
    for lag in LAGS:
        row[f"lag_{lag}"] = (last - here[-1 - lag]) / level if len(here) > lag else np.nan
    before = past.starts[-1]
    row["last_before"] = (past.power[before - 1] - last) / level if before else np.nan
    return row


def _rolling(here: Floats, level: float) -> dict[str, float]:
    last = here[-1]
    row: dict[str, float] = {}
    for span in SPANS:
        part = here[-span:]
        low, high, middle = float(np.min(part)), float(np.max(part)), float(np.median(part))
        row[f"min_{span}"] = (low - last) / level
        row[f"max_{span}"] = (high - last) / level
        row[f"median_{span}"] = (middle - last) / level
        row[f"mean_{span}"] = (float(part.mean()) - last) / level
        row[f"std_{span}"] = float(part.std()) / level
    return row


def _state(past: Past, here: Floats) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, column in (("gpu", past.gpu), ("cpu", past.cpu), ("memory", past.memory)):
        own = column[past.starts[-1] :]
        now = own[-1]
        scale = 100.0 if name != "memory" else max(now, 1.0) / 10
        if name != "memory":
            row[name] = now / scale
        for span in (1, 5):
            row[f"{name}_{span}"] = (now - own[-1 - span]) / scale if len(own) > span else np.nan
    off = np.abs(here - np.median(here[-20:])) > 0.05 * max(here[-1], 1e-3)
    odd = np.flatnonzero(off[:-1])
    row["since_odd"] = log1p(len(here) - 1 - odd[-1]) if len(odd) else np.nan
    row["odd_share"] = float(off[-20:].mean())
    return row


def _elapsed(past: Past) -> float:
    first = past.starts[-1]
    return float(past.at[-1] - past.at[first] + past.covered[first])


def _position(past: Past) -> dict[str, float]:
    elapsed = _elapsed(past)
    starts = past.starts
    lengths = [past.at[b - 1] - past.at[a] + past.covered[a] for a, b in pairwise(starts)]
    if starts[0] == 0 and len(past.at) >= LOOK_BACK:
        lengths = lengths[1:]  # the oldest segment may be cut
    lengths = lengths[-SEGMENTS:]
    row = {"elapsed": log1p(elapsed), "elapsed_short": min(elapsed, 40.0) / 5}
    row["segments"] = float(len(lengths))
    last_gap = past.at[starts[-1]] - past.at[starts[-1] - 1] if starts[-1] else np.nan
    row["gap"] = log1p(last_gap)
    for name, value in (
        ("length_last", lengths[-1] if lengths else np.nan),
        ("length_min", min(lengths, default=np.nan)),
        ("length_median", float(np.median(lengths)) if lengths else np.nan),
        ("length_max", max(lengths, default=np.nan)),
    ):
        row[f"left_{name}"] = (value - elapsed) / 10
    row["past_lengths"] = float(np.mean([elapsed > one for one in lengths])) if lengths else np.nan
    return row


def _analogs(past: Past, level: float) -> dict[str, float]:
    """What followed at the same elapsed time in the segments before: changes over each of STEPS windows."""
    elapsed = _elapsed(past)
    last = past.power[-1]
    starts = past.starts[:-1][-SEGMENTS:][::-1]
    places = [past.at[s] + 1.0 - past.covered[s] + elapsed - 1.0 for s in starts]
    now = [_value(past, place) for place in places]
    row: dict[str, float] = {"analog_now": (now[0] - last) / level if now else np.nan}
    ends = [*past.starts, len(past.at)]
    if starts:
        own = past.power[ends[-3] : ends[-2]]
        row["analog_steady"] = (float(np.median(own)) - last) / level
    else:
        row["analog_steady"] = np.nan
    for step in STEPS:
        then = [_value(past, place + step) for place in places]
        changes = [(b - a) / level for a, b in zip(now, then, strict=True)]
        to = [(b - last) / level for b in then]
        seen = [c for c in changes if isfinite(c)]
        row[f"analog_{step}"] = changes[0] if changes else np.nan
        row[f"analog_to_{step}"] = to[0] if to else np.nan
        row[f"analog_median_{step}"] = float(np.median(seen)) if seen else np.nan
        row[f"analog_min_{step}"] = min(seen, default=np.nan)
        row[f"analog_seen_{step}"] = len(seen) / len(changes) if changes else np.nan
    return row


def _value(past: Past, place: float) -> float:
    """Power at a place between windows (in windows since the epoch), of those that were observed; else NaN."""
    low = floor(place)
    share = place - low
    index = int(np.searchsorted(past.at, low))
    n = len(past.at)
    one = past.power[index] if index < n and past.at[index] == low else np.nan
    after = index + (index < n and past.at[index] == low)
    other = past.power[after] if after < n and past.at[after] == low + 1 else np.nan
    if isfinite(one) and isfinite(other):
        return float(one + share * (other - one))
    if share < 0.5:
        return float(one)
    return float(other)


def _calendar(past: Past) -> dict[str, float]:
    turn = 2 * pi * ((past.at[-1] * past.window_ms) % DAY_MS) / DAY_MS
    return {"day_sin": sin(turn), "day_cos": cos(turn)}


FEATURES: tuple[str, ...] = tuple(_row(past_of((Observation(0, 1.0),), 60_000)))


def matrix(history: Sequence[Observation], window_ms: int, ends: Sequence[int] | None = None) -> Floats:
    """One row per issue time in `ends` (ms; default: the end of the newest window), shape (n, len(FEATURES)).

    `history` is in order of time. A row is made of the last LOOK_BACK windows that end at or before its issue
    time; where there is none, it is MISSING throughout with level 0, and no change is forecast from it.
    """
    past = past_of(history, window_ms)
    if ends is None:
        places = [len(past.at) - 1]
    else:
        issued = np.array(ends, dtype=np.float64) / window_ms
        places = [int(i) for i in np.searchsorted(past.at + 1.0, issued + 1e-9, side="right") - 1]
    rows = np.full((len(places), len(FEATURES)), MISSING)
    rows[:, -1] = 0.0
    for row, place in zip(rows, places, strict=True):
        if place >= 0:
            row[:] = list(_row(past.cut(place)).values())
    return rows
