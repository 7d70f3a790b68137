"""Which windows a model may learn from: before a refit with an embargo, of other runs; and whether features leak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.errors import PipelineError
from spark_jobs.forecast.series import Floats, Observation

Mask = NDArray[np.bool_]
Features = Callable[[Sequence[Observation], int, Sequence[int]], Floats]


class LeakError(PipelineError):
    """A feature reads what was not known yet."""


@dataclass(frozen=True, slots=True)
class Refit:
    """A training at a time (ms): it serves the issue times in [at_ms, until_ms)."""

    at_ms: int
    until_ms: int

    def may_learn(self, issued_ms: Floats, horizon_s: int) -> Mask:
        """Rows whose actual was known at the refit: the target window had ended. This is the embargo."""
        return np.asarray(issued_ms + horizon_s * 1000 <= self.at_ms)

    def serves(self, issued_ms: Floats) -> Mask:
        """Rows that are forecast with this training."""
        return np.asarray((issued_ms >= self.at_ms) & (issued_ms < self.until_ms))


def refits(issued_ms: Floats, from_ms: int, every_ms: int) -> Iterator[Refit]:
    """Trainings from `from_ms` on, every so often; those without a new row to forecast are left out."""
    newest = int(np.max(issued_ms, initial=0))
    at = from_ms
    while at <= newest:
        refit = Refit(at, at + every_ms)
        if refit.serves(issued_ms).any():
            yield refit
        at += every_ms


def folds_of_runs(runs: Sequence[str], count: int, seed: int) -> list[frozenset[str]]:
    """Runs dealt out to folds in an order drawn from the seed; no run is in two."""
    names = sorted(set(runs))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    folds = [frozenset(names[i] for i in shuffled[k::count]) for k in range(count)]
    return [fold for fold in folds if fold]


def check_no_leak(
    features: Features,
    history: Sequence[Observation],
    window_ms: int,
    samples: int = 12,
    seed: int = 0,
) -> None:
    """Compare rows with and without a future that is made up. Raises LeakError where one of them differs.

    A row must not change when all windows after its issue time are replaced by others, nor when they are gone.
    """
    if len(history) < 3:
        return
    places = np.random.default_rng(seed).integers(1, len(history) - 1, samples)
    for place in sorted({int(p) for p in places}):
        ends = [history[place].start_ms + window_ms]
        told = features(history, window_ms, ends)
        for name, other in (("gone", history[: place + 1]), ("changed", _planted(history, place))):
            if not np.array_equal(features(other, window_ms, ends), told, equal_nan=True):
                raise LeakError(
                    f"a feature at window {place} reads the future: it changes when later windows are {name}"
                )


def _planted(history: Sequence[Observation], place: int) -> list[Observation]:
    later = [
        replace(
            one, power_w=one.power_w * 3.0 + 50.0, gpu_utilization_pct=1.0, run_id="planted", energy_kwh=None
        )
        for one in history[place + 1 :]
    ]
    return [*history[: place + 1], *later]
