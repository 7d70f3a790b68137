"""How forecasts are judged."""

from __future__ import annotations

import numpy as np
import pytest

from spark_jobs.forecast.backtest.scores import (
    FEWEST_RESIDUALS,
    Judged,
    coverage,
    geometric_mean,
    mae,
    residual_quantiles,
    row,
    strong_naive,
    weighted_quantile_loss,
    worst_coverage,
)
from spark_jobs.forecast.series import LEVELS


def judged(points: list[float], actual: list[float], half: float = 0.0) -> Judged:
    """Forecasts a minute apart with quantiles at equal distances."""
    point = np.array(points)
    offsets = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) * half
    return Judged(np.arange(len(points)) * 60_000.0, point, point[:, None] + offsets, np.array(actual))


def test_mae_by_hand() -> None:
    assert mae(judged([10.0, 20.0], [11.0, 17.0])) == 2.0


def test_weighted_quantile_loss_by_hand() -> None:
    of = judged([10.0], [12.0])
    by_hand = 2 * sum(level * 2.0 for level in LEVELS) / (12.0 * len(LEVELS))
    assert weighted_quantile_loss(of) == pytest.approx(by_hand)


def test_quantile_loss_of_a_point_mass_at_the_actual_is_zero() -> None:
    assert weighted_quantile_loss(judged([5.0, 6.0], [5.0, 6.0])) == 0.0


def test_coverage_counts_the_ends() -> None:
    of = judged([10.0, 10.0, 10.0, 10.0], [11.0, 9.0, 11.5, 13.0], half=1.0)
    assert coverage(of, 0.10, 0.90) == 0.5
    assert coverage(of, 0.05, 0.95) == 0.75


def test_worst_span_is_found_and_small_ones_are_left_out() -> None:
    points = [10.0] * 400
    actual = [10.0] * 360 + [50.0] * 40
    of = judged(points, actual, half=1.0)
    assert worst_coverage(of, 0.10, 0.90) == 0.0
    assert worst_coverage(of, 0.10, 0.90, fewest=100) == 1.0


def test_residuals_count_only_once_their_actual_is_known() -> None:
    n = 60
    issued = np.arange(n) * 60_000.0
    horizon = 10
    actual = np.full(n, 100.0)
    actual[30:] = 500.0
    found = residual_quantiles(issued, issued + horizon * 60_000.0, np.full(n, 90.0), actual)
    first = FEWEST_RESIDUALS + horizon - 1
    assert (found[:first] == 90.0).all()
    assert (found[first] == 100.0).all()
    # The jump at forecast 30 is seen at its target, ten windows later, and not before.
    assert (found[30 + horizon - 1] == 100.0).all()
    assert found[30 + horizon + 3][-1] > 100.0


def test_strong_naive_is_the_better_one() -> None:
    models = {"naive": judged([1.0], [3.0]), "seasonal_naive": judged([2.0], [3.0])}
    assert strong_naive(models) == "seasonal_naive"


def test_a_perfect_naive_has_no_ratio() -> None:
    scores = row("node_power", "all", 60, "served", judged([2.0], [3.0]), judged([3.0], [3.0]))
    assert scores["mae"] == 1.0
    assert scores["mae_ratio"] is None


def test_unknown_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        judged([float("nan")], [1.0])


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([]) is None
