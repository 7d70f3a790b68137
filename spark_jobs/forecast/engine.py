"""One series' forecasts: issued when a window closes, judged and learned from when the actual one does.

The stream and the backtest run this same code, so that what is published offline is what is served. Nothing in
here reads a clock, a store or a model: the batch model's predictions are given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.units import kwh_from_j
from spark_jobs.forecast.anomalies.watch import AnomalyWatch, Signal
from spark_jobs.forecast.cells import MS, Cell, Issued, Joined, Pending
from spark_jobs.forecast.layers.speed import speed_row
from spark_jobs.forecast.series import Floats, Observation

DAY_MS = 86_400_000
# A forecast stays at hand for so many windows after its actual: late events may still change that one.
KEPT_WINDOWS = 5


@dataclass(frozen=True, slots=True)
class Horizons:
    """Which horizons are due when (s). Short ones at every window, long ones at each multiple of `long_every_s`."""

    window_ms: int
    short_s: tuple[int, ...]
    long_s: tuple[int, ...] = ()
    long_every_s: int = 900

    def due(self, end_ms: int) -> tuple[int, ...]:
        """Horizons of the forecasts that are issued at the end of a window."""
        due = [h for h in self.short_s if self._whole(h)]
        if self.long_s and end_ms % (self.long_every_s * MS) == 0:
            due += [h for h in self.long_s if self._whole(h) and h not in due]
        return tuple(sorted(due))

    def _whole(self, horizon_s: int) -> bool:
        return horizon_s * MS % self.window_ms == 0


class Series:
    """The state of one series: its last windows, its cells, its forecasts on their way.

    With a `watch`, what it says of the windows gathers in `signals`, for the caller to take. `kind` is what it has
    in common with others that come and go, as the runs of a model do: the next one starts with what it has learned.
    """

    def __init__(
        self,
        target: str,
        horizons: Horizons,
        history: int,
        watch: AnomalyWatch | None = None,
        kind: str | None = None,
    ) -> None:
        self.target = target
        self.kind = kind
        self.horizons = horizons
        self.history: deque[Observation] = deque(maxlen=history)
        self.watch = watch
        self.signals: list[Signal] = []
        self.cells: dict[int, Cell] = {}
        self.pending: dict[int, list[Pending]] = {}
        self.known: set[tuple[int, int]] = set()
        # Up to here (ms) the cells have learned before; what is closed again changes nothing.
        self.learned_ms = 0
        self._day: dict[int, float] = {}

    @property
    def last_ms(self) -> int | None:
        """End of the newest closed window."""
        return self.history[-1].start_ms + self.horizons.window_ms if self.history else None

    def remember(self, windows: Iterable[Observation]) -> None:
        """Take in windows of before, in order of time: nothing is issued and nothing learned."""
        for window in windows:
            self._append(window)

    def expect(self, pendings: Iterable[Pending]) -> None:
        """Take in forecasts that were issued by an earlier process."""
        for pending in pendings:
            self.pending.setdefault(pending.issued.target_ms, []).append(pending)
            self.known.add((pending.issued.issued_ms, pending.issued.horizon_s))

    def close(self, window: Observation) -> list[Joined]:
        """Take in the next closed window: forecasts of it are judged, and the cells learn.

        A window that is not newer than the last one changes nothing (see `correct`).
        """
        end = window.start_ms + self.horizons.window_ms
        if self.last_ms is not None and end <= self.last_ms:
            return []
        self._append(window)
        if end <= self.learned_ms:
            return []
        for waiting in self.pending.values():
            for pending in waiting:
                if (
                    pending.issued.issued_ms < end <= pending.issued.target_ms
                    and window.energy_kwh is not None
                ):
                    pending.energy_kwh += window.energy_kwh
                    pending.windows += 1
        joined = [self._join(pending, window.power_w, end) for pending in self.pending.get(end, ())]
        if self.watch is not None:
            judged = [(one.issued.horizon_s, one.issued.quantiles, one.actual) for one in joined]
            self.signals += self.watch.observe(window, judged)
        self._drop(end - KEPT_WINDOWS * self.horizons.window_ms)
        return joined

    def _join(self, pending: Pending, actual: float, end_ms: int) -> Joined:
        issued = pending.issued
        cell = self.cells.setdefault(issued.horizon_s, Cell())
        alarm = cell.learn(pending, actual, end_ms)
        pending.joined = True
        return Joined(issued, actual, self._span_energy(pending), alarm)

    def _span_energy(self, pending: Pending) -> float | None:
        due = pending.issued.horizon_s * MS // self.horizons.window_ms
        return pending.energy_kwh if pending.windows == due else None

    def correct(self, window: Observation) -> list[Joined]:
        """Take in what late events made of a closed window: its forecasts are judged again, nothing is learned."""
        for place, held in enumerate(self.history):
            if held.start_ms == window.start_ms and held != window:
                self.history[place] = window
                self._day[window.start_ms] = window.power_w
                end = window.start_ms + self.horizons.window_ms
                found = [p for p in self.pending.get(end, ()) if p.joined]
                return [Joined(p.issued, window.power_w, None, False) for p in found]
        return []

    def issue(
        self, changes: Mapping[int, Floats], version: str, fallbacks: Mapping[int, str | None]
    ) -> list[Issued]:
        """Forecast from the newest window; `changes` are the batch model's quantiles per horizon (W), `fallbacks`
        say why a horizon has none. A horizon that was issued at this window before is left alone.
        """
        end = self.last_ms
        if end is None or end <= self.learned_ms:
            return []
        due = [h for h in self.horizons.due(end) if (end, h) not in self.known]
        if not due:
            return []
        inputs = speed_row(tuple(self.history), self.horizons.window_ms)
        bare = [self._forecast(h, inputs, changes.get(h), version, fallbacks.get(h)) for h in due]
        issued = [_with_energy(one, bare, self.history[-1], self.horizons.window_ms) for one in bare]
        self.expect(Pending(one, inputs) for one in issued)
        return issued

    def _forecast(
        self,
        horizon_s: int,
        inputs: Floats,
        changes: Floats | None,
        version: str,
        fallback: str | None,
    ) -> Issued:
        cell = self.cells.setdefault(horizon_s, Cell())
        last, end = self.history[-1].power_w, self.history[-1].start_ms + self.horizons.window_ms
        seasonal = self._day.get(end - self.horizons.window_ms + horizon_s * MS - DAY_MS)
        batch = None if changes is None else max(0.0, last + float(changes[len(changes) // 2]))
        layers = cell.blend.predict(inputs, last, batch, seasonal)
        quantiles = cell.conformal.quantiles(layers.point, changes, last)
        missing = None if changes is not None else fallback
        return Issued(self.target, end, horizon_s, version, last, seasonal, layers, tuple(quantiles), missing)

    def _append(self, window: Observation) -> None:
        self.history.append(window)
        self._day[window.start_ms] = window.power_w
        oldest = next(iter(self._day))
        while window.start_ms - oldest > DAY_MS:
            del self._day[oldest]
            oldest = next(iter(self._day))

    def _drop(self, before_ms: int) -> None:
        for end in [end for end in self.pending if end < before_ms]:
            for pending in self.pending.pop(end):
                self.known.discard((pending.issued.issued_ms, pending.issued.horizon_s))


def _with_energy(one: Issued, all_due: Sequence[Issued], last: Observation, window_ms: int) -> Issued:
    """Energy of the span: the path of the power through the horizons that were issued together, window by window.

    Between horizons the path is a straight line, before the first one it is that one. The 10 and 90 % ends
    follow the powers' own, as if all windows erred alike: an upper bound of the width.
    """
    steps = one.horizon_s * MS // window_ms
    nodes = [i for i in all_due if i.horizon_s <= one.horizon_s]
    places = [i.horizon_s * MS / window_ms for i in nodes]
    seconds = window_ms / MS
    paths = (
        [i.layers.point for i in nodes],
        [i.quantiles[1] for i in nodes],
        [i.quantiles[3] for i in nodes],
    )
    point, low, high = (kwh_from_j(_area(places, path, steps) * seconds) for path in paths)
    ratio = None
    if last.energy_kwh and last.emissions_kg is not None:
        ratio = last.emissions_kg / last.energy_kwh
    return replace(one, energy_kwh=(point, low, high), kg_per_kwh=ratio)


def _area(places: Sequence[float], values: Sequence[float], steps: int) -> float:
    """Sum of the piecewise linear path at 1, 2, … `steps`."""
    return float(np.interp(np.arange(1, steps + 1), places, values).sum())
