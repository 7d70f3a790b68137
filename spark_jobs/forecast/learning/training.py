"""A model from the past of many series, judged on the later part of it: the part that it has not learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray

from schemas.errors import PipelineError
from spark_jobs.forecast.learning.promotion import Score
from spark_jobs.forecast.models.features import matrix
from spark_jobs.forecast.series import LEVELS, BatchModel, Floats, Observation

Fit = Callable[[Floats, Mapping[int, Floats]], BatchModel]

DAY_MS = 86_400_000
MS = 1000
# Bounds memory and time (some 4 s of a core per horizon): of more windows every second, third … is learned from.
MOST_ROWS = 12_000
# Neighbours tell nearly the same of a distant time: rows of a horizon are a twelfth of it apart, or this (s).
APART_S = 900
# The later part of the past, by which a model is judged.
TEST_SHARE = 0.25
# A horizon with fewer known changes than this is left out.
FEWEST_TO_LEARN = 200
FEWEST_TO_JUDGE = 50


class TooLittleError(PipelineError):
    """There is not enough past yet; nothing was trained and nothing changed."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of all series, one per issue time, in order of time. What is not known is NaN.

    `changes` and `seasonal` are changes of power from the last value (W) per horizon (s): the actual one, and
    the one that the value a day before the target would have said.
    """

    rows: Floats
    issued_ms: Floats
    groups: tuple[str, ...]
    changes: Mapping[int, Floats]
    seasonal: Mapping[int, Floats]

    def where(self, mask: NDArray[np.bool_]) -> Table:
        """The rows for which `mask` holds."""
        return self.at(np.flatnonzero(mask))

    def at(self, chosen: NDArray[np.intp]) -> Table:
        """The rows with these numbers, in this order."""
        return Table(
            self.rows[chosen],
            self.issued_ms[chosen],
            tuple(self.groups[i] for i in chosen),
            {h: change[chosen] for h, change in self.changes.items()},
            {h: change[chosen] for h, change in self.seasonal.items()},
        )


def table_of(
    series: Mapping[str, Sequence[Observation]],
    window_ms: int,
    horizons_s: Sequence[int],
    most_rows: int = MOST_ROWS,
) -> Table:
    """Features and changes of every series; `most_rows` at most, evenly spread over the windows of each."""
    clean = {target: tuple(_clean(history)) for target, history in sorted(series.items())}
    step = ceil(max(1, sum(map(len, clean.values()))) / most_rows)
    parts = [
        _part(target, history, window_ms, horizons_s, step)
        for target, history in clean.items()
        if len(history) > 1
    ]
    if not parts:
        raise TooLittleError(_too_little(0, horizons_s))
    joined = Table(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.issued_ms for part in parts]),
        tuple(group for part in parts for group in part.groups),
        {h: np.concatenate([part.changes[h] for part in parts]) for h in horizons_s},
        {h: np.concatenate([part.seasonal[h] for part in parts]) for h in horizons_s},
    )
    return joined.at(np.argsort(joined.issued_ms, kind="stable"))


def before(table: Table, cut_ms: float) -> tuple[Table, dict[int, Floats]]:
    """What was known at `cut_ms`: rows issued by then, and of their changes those whose target had come.

    That is the embargo: a row within a horizon of the cut would tell what happens after it.
    """
    past = table.where(table.issued_ms <= cut_ms)
    known = {
        h: np.where(past.issued_ms + h * MS <= cut_ms, change, np.nan) for h, change in past.changes.items()
    }
    return past, known


def fit_before(fit: Fit, table: Table, cut_ms: float, horizons_s: Sequence[int]) -> BatchModel:
    """A model of all that was known at `cut_ms`, for these horizons (s)."""
    past, known = before(table, cut_ms)
    return fit(past.rows, {h: known[h] for h in horizons_s})


def enough_for(table: Table, cut_ms: float) -> tuple[int, ...]:
    """The horizons (s) with enough to learn from before `cut_ms` and enough to judge by after it.

    Raises TooLittleError where there is none.
    """
    known = before(table, cut_ms)[1]
    found = tuple(h for h in can_judge(table, cut_ms) if np.isfinite(known[h]).sum() >= FEWEST_TO_LEARN)
    if not found:
        raise TooLittleError(_too_little(len(table.issued_ms), tuple(table.changes)))
    return found


def can_judge(table: Table, cut_ms: float) -> tuple[int, ...]:
    """The horizons (s) with enough actuals to judge by after `cut_ms`."""
    later = table.where(table.issued_ms > cut_ms).changes
    return tuple(h for h in sorted(later) if np.isfinite(later[h]).sum() >= FEWEST_TO_JUDGE)


def cut_of(table: Table, share: float = TEST_SHARE) -> float:
    """Where the later part of a table begins (ms): all of it that is issued after this is for judging."""
    return float(np.quantile(table.issued_ms, 1 - share)) if len(table.issued_ms) else 0.0


def judged(model: BatchModel, table: Table, cut_ms: float) -> dict[int, Score]:
    """How well a model does after `cut_ms`, per horizon, beside the naive forecasts on the same rows."""
    later = table.where(table.issued_ms > cut_ms)
    said = model.predict(later.rows) if len(later.issued_ms) else {}
    found = {}
    for horizon, changes in sorted(said.items()):
        actual = later.changes.get(horizon)
        if actual is not None and np.isfinite(actual).sum() >= FEWEST_TO_JUDGE:
            found[horizon] = _score(changes, actual, later.seasonal[horizon], later.groups)
    return found


def _score(said: Floats, actual: Floats, seasonal: Floats, groups: Sequence[str]) -> Score:
    seen = np.isfinite(actual)
    said, actual, seasonal = said[seen], actual[seen], seasonal[seen]
    names = np.array(groups)[seen]
    point = said[:, len(LEVELS) // 2]
    errors, naive = np.abs(point - actual), np.abs(actual)
    # Where nothing is known of the day before, the last value is all that a seasonal forecast has.
    daily = np.abs(np.where(np.isfinite(seasonal), seasonal, 0.0) - actual)
    within = {
        name: float(np.mean((said[:, low] <= actual) & (actual <= said[:, high])))
        for name, low, high in (("coverage_80", 1, 3), ("coverage_90", 0, 4))
    }
    ratios = {name: _ratio(errors[names == name], naive[names == name]) for name in sorted(set(names))}
    return Score(
        n=len(actual),
        mae_w=float(errors.mean()),
        naive_mae_w=float(naive.mean()),
        seasonal_mae_w=float(daily.mean()),
        **within,
        groups={str(name): ratio for name, ratio in ratios.items() if ratio is not None},
    )


def _ratio(errors: Floats, naive: Floats) -> float | None:
    total = float(naive.sum())
    return float(errors.sum()) / total if total > 0 else None


def _clean(history: Sequence[Observation]) -> Iterator[Observation]:
    """In order of time, every window once, and no power that is none."""
    ordered = sorted(history, key=lambda one: one.start_ms)
    for one, after in pairwise([*ordered, None]):
        last_of_its_time = one is not None and (after is None or after.start_ms > one.start_ms)
        if one is not None and last_of_its_time and isfinite(one.power_w) and one.power_w >= 0:
            yield one


def _part(
    target: str, history: Sequence[Observation], window_ms: int, horizons_s: Sequence[int], step: int
) -> Table:
    starts = np.array([one.start_ms for one in history], dtype=np.int64)
    power = np.array([one.power_w for one in history])
    places = np.arange(len(history) - 1, -1, -step)[::-1]
    at, last = starts[places], power[places]
    issued = at + window_ms
    changes = {h: _power_at(starts, power, at + h * MS) - last for h in horizons_s}
    every = {h: max(1, min(h // 12, APART_S) * MS // (window_ms * step)) for h in horizons_s}
    number = issued // (window_ms * step)
    day_before = {h: _power_at(starts, power, at + h * MS - DAY_MS) - last for h in horizons_s}
    return Table(
        matrix(history, window_ms, issued.tolist()),
        issued.astype(np.float64),
        (target.partition("/")[0],) * len(places),
        {h: np.where(number % every[h] == 0, change, np.nan) for h, change in changes.items()},
        # At horizons of more than a day the day before the target has not been seen yet.
        {h: change if h * MS <= DAY_MS else np.full(len(places), np.nan) for h, change in day_before.items()},
    )


def _power_at(starts: NDArray[np.int64], power: Floats, wanted: NDArray[np.int64]) -> Floats:
    """The power of the windows that start at these times (ms); NaN where there is none: gaps stay gaps."""
    found = np.minimum(np.searchsorted(starts, wanted), len(starts) - 1)
    return np.where(starts[found] == wanted, power[found], np.nan)


def _too_little(rows: int, horizons_s: Sequence[int]) -> str:
    return (
        f"found {rows} windows to learn from, expected at least {FEWEST_TO_LEARN} whose power "
        f"{min(horizons_s, default=0)} s later is known, and {FEWEST_TO_JUDGE} later ones to judge by; "
        "let the stream run longer, or give a file with --data"
    )
