"""What the batch model sees: scaled by the series itself, never the future, always a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from spark_jobs.forecast.backtest.splits import LeakError, check_no_leak
from spark_jobs.forecast.models.features import FEATURES, LEVEL, LOOK_BACK, MISSING, matrix
from spark_jobs.forecast.series import Observation

WINDOW = 60_000
RUN = (60.0, 110.0, 120.0, 121.0, 140.0, 150.0, 151.0, 150.0, 149.0, 150.0, 151.0, 90.0)


def series(powers: Sequence[float], start: int = 0, **known: str) -> list[Observation]:
    """One observation per minute."""
    return [Observation((start + i) * WINDOW, p, 80.0, 10.0, 7000.0, **known) for i, p in enumerate(powers)]


def runs(count: int, scale: float = 1.0) -> list[Observation]:
    """Runs alike, with pauses of four minutes."""
    step = len(RUN) + 4
    return [
        one for k in range(count) for one in series([p * scale for p in RUN], k * step, run_id=f"run-{k}")
    ]


def named(history: Sequence[Observation]) -> dict[str, float]:
    """The features of the newest window by name."""
    return dict(zip(FEATURES, matrix(history, WINDOW)[0], strict=True))


def test_a_planted_future_changes_no_feature() -> None:
    check_no_leak(matrix, runs(4), WINDOW, samples=40)


def test_a_leaky_feature_is_caught() -> None:
    def leaky(history: Sequence[Observation], window_ms: int, ends: Sequence[int]) -> np.ndarray:
        rows = matrix(history, window_ms, ends)
        rows[:, 0] += max(one.power_w for one in history)
        return rows

    with pytest.raises(LeakError, match="reads the future"):
        check_no_leak(leaky, runs(4), WINDOW)


def test_rows_of_many_issue_times_are_those_of_each_alone() -> None:
    history = runs(3)
    ends = [one.start_ms + WINDOW for one in history]
    together = matrix(history, WINDOW, ends)
    alone = np.concatenate([matrix(history[: i + 1], WINDOW) for i in range(len(history))])
    assert np.array_equal(together, alone)


def test_a_row_looks_back_no_further_than_it_says() -> None:
    long = series([100.0 + i % 7 for i in range(LOOK_BACK + 50)])
    assert np.array_equal(matrix(long, WINDOW), matrix(long[-LOOK_BACK:], WINDOW))


def test_another_scale_of_power_changes_only_the_level() -> None:
    small, large = named(runs(3)), named(runs(3, scale=2.5))
    assert large.pop(LEVEL) == pytest.approx(2.5 * small.pop(LEVEL))
    assert large == pytest.approx(small)


def test_what_followed_in_the_run_before_is_known() -> None:
    step = len(RUN) + 4
    history = [*runs(2), *series(RUN[:4], 2 * step, run_id="run-2")]
    row = named(history)
    assert row["analog_1"] * row[LEVEL] == pytest.approx(RUN[4] - RUN[3])
    assert row["analog_2"] * row[LEVEL] == pytest.approx(RUN[5] - RUN[3])
    assert row["analog_seen_1"] == 1.0


def test_a_gap_stays_a_gap() -> None:
    before = runs(1)
    row = named([*before, Observation(before[-1].start_ms + 10 * WINDOW, 100.0, run_id="other")])
    assert row["lag_1"] == MISSING
    assert row["gap"] == pytest.approx(np.log1p(10))
    end_of_run_in_the_gap = named([*runs(1), *series(RUN[:11], len(RUN) + 4, run_id="run-1")])
    assert end_of_run_in_the_gap["analog_5"] == MISSING


def test_an_issue_time_before_every_window_has_no_level() -> None:
    row = matrix(series([100.0], start=5), WINDOW, [0])[0]
    assert row[-1] == 0.0
    assert set(row[:-1]) == {MISSING}


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(series([100.0]), id="one point"),
        pytest.param(series([0.0] * 30), id="zeros"),
        pytest.param(series([150.0] * 300), id="constant"),
        pytest.param(series([150.0] * 30 + [0.0] * 5), id="jump to zero"),
        pytest.param(series([float("nan")] * 3 + [100.0, float("nan"), float("inf"), -5.0]), id="NaN"),
        pytest.param(series([100.0] * 20) + series([90.0] * 5, start=3), id="clock steps back"),
        pytest.param(series([100.0] * 20) + series([90.0] * 5, start=10**6), id="clock jumps ahead"),
        pytest.param([replace(o, gpu_utilization_pct=float("nan")) for o in runs(2)], id="NaN utilisation"),
        pytest.param([Observation(o.start_ms, o.power_w) for o in runs(3)], id="power alone"),
        pytest.param([replace(o, energy_kwh=0.0) for o in runs(2)], id="no energy"),
        pytest.param(series([1e12, 1e-12] * 20), id="absurd powers"),
    ],
)
def test_odd_series_give_finite_rows(history: list[Observation]) -> None:
    ends = [one.start_ms + WINDOW for one in history]
    assert np.isfinite(matrix(history, WINDOW, ends)).all()


def test_only_readings_that_are_no_number_give_an_empty_row() -> None:
    assert matrix(series([float("nan")] * 5), WINDOW)[0][-1] == 0.0
    assert matrix([], WINDOW).shape == (1, len(FEATURES))
