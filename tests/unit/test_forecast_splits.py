"""What a model may learn from."""

from __future__ import annotations

import numpy as np

from spark_jobs.forecast.backtest.splits import Refit, folds_of_runs, refits

MINUTE = 60_000
HOUR = 60 * MINUTE


def test_a_training_learns_nothing_whose_actual_came_later() -> None:
    issued = np.arange(0, 100) * float(MINUTE)
    refit = Refit(50 * MINUTE, 100 * MINUTE)
    for horizon_s, last in ((60, 49), (900, 35)):
        learned = np.flatnonzero(refit.may_learn(issued, horizon_s))
        assert learned.max() == last
        assert (issued[learned] + horizon_s * 1000 <= refit.at_ms).all()
        assert not (refit.may_learn(issued, horizon_s) & refit.serves(issued)).any()


def test_trainings_follow_one_another_and_serve_each_forecast_once() -> None:
    issued = np.arange(0, 24 * 60) * float(MINUTE)
    found = list(refits(issued, 12 * HOUR, 6 * HOUR))
    assert [r.at_ms for r in found] == [12 * HOUR, 18 * HOUR]
    served = np.sum([r.serves(issued) for r in found], axis=0)
    assert (served[issued >= 12 * HOUR] == 1).all()
    assert (served[issued < 12 * HOUR] == 0).all()


def test_no_training_for_a_night_without_windows() -> None:
    issued = np.concatenate([np.arange(0, 60), np.arange(30 * 60, 31 * 60)]) * float(MINUTE)
    assert [r.at_ms for r in refits(issued, 0, 6 * HOUR)] == [0, 30 * HOUR]


def test_folds_hold_every_run_once_and_depend_on_the_seed_alone() -> None:
    runs = [f"run-{i % 23}" for i in range(200)]
    folds = folds_of_runs(runs, 5, seed=3)
    assert len(folds) == 5
    assert sorted(name for fold in folds for name in fold) == sorted(set(runs))
    assert folds == folds_of_runs(list(reversed(runs)), 5, seed=3)
    assert folds != folds_of_runs(runs, 5, seed=4)


def test_fewer_runs_than_folds_leave_no_empty_fold() -> None:
    assert folds_of_runs(["a", "b"], 5, seed=0) in (
        [frozenset({"a"}), frozenset({"b"})],
        [frozenset({"b"}), frozenset({"a"})],
    )
