"""Intervals: as often right as they say, wide before anything is known, ascending and finite whatever comes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.forecast.layers.conformal import WINDOW, Conformal
from spark_jobs.forecast.series import LEVELS

HOSTILE = st.one_of(
    st.floats(0, 1e4), st.sampled_from([0.0, 5e-324, 1e150, 1e308, float("inf"), float("nan"), -1e308, 200.0])
)
CHANGES = st.one_of(
    st.none(),
    st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5).map(lambda values: np.array(sorted(values))),
    st.just(np.array([-1e308, -1.0, 0.0, 1.0, 1e308])),
    st.just(np.array([float("nan")] * 5)),
)


def replay(points, actuals, changes=None, conformal=None, delay=1):
    """Quantiles of each forecast, learning each one `delay` forecasts later; shape (n, 5)."""
    conformal = conformal or Conformal()
    made = []
    for i, point in enumerate(points):
        j = i - delay
        if j >= 0:
            conformal.learn(made[j], points[j], actuals[j])
        made.append(conformal.quantiles(point, None if changes is None else changes[i], point))
    return np.array(made)


def covered(made, actuals, low, high, start=0):
    inside = (actuals >= made[:, low]) & (actuals <= made[:, high])
    return float(inside[start:].mean())


def spreads(kind, n):
    return {
        "constant": np.full(n, 5.0),
        "changing": np.where(np.arange(n) // 150 % 2 == 0, 2.0, 15.0),
        "growing": np.linspace(3.0, 12.0, n),
    }[kind]


@pytest.mark.parametrize("kind", ["constant", "changing", "growing"])
@pytest.mark.parametrize("delay", [1, 15])
@pytest.mark.parametrize("shape", ["none", "too narrow", "no width", "too wide"])
def test_intervals_hold_as_often_as_they_say(kind, delay, shape):
    n, rng = 3000, np.random.default_rng(1)
    actuals = 200 + spreads(kind, n) * rng.laplace(0, 1, n)
    off = {"none": None, "too narrow": 0.5, "no width": 0.0, "too wide": 30.0}[shape]
    changes = None if off is None else np.tile(off * np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), (n, 1))
    made = replay(np.full(n, 200.0), actuals, changes, delay=delay)
    assert covered(made, actuals, 1, 3, 300) == pytest.approx(0.80, abs=0.02)
    assert covered(made, actuals, 0, 4, 300) == pytest.approx(0.90, abs=0.02)


def test_each_tail_holds_where_errors_are_lopsided():
    n, rng = 4000, np.random.default_rng(2)
    actuals = 200 + rng.exponential(5.0, n)
    made = replay(np.full(n, 203.0), actuals)
    for i, level in ((1, 0.10), (3, 0.90), (4, 0.95)):
        assert float((actuals < made[:, i])[300:].mean()) == pytest.approx(level, abs=0.02)


def test_few_residuals_already_give_their_shape():
    rng = np.random.default_rng(2)
    p05, _, p50, _, p95 = replay(np.full(80, 203.5), 200 + rng.exponential(5.0, 80))[-1]
    assert p95 - p50 > 3 * (p50 - p05)


def test_after_a_change_of_spread_no_long_stretch_is_far_off():
    n, rng = 2400, np.random.default_rng(3)
    actuals = 200 + np.where(np.arange(n) < 1200, 2.0, 20.0) * rng.normal(0, 1, n)
    made = replay(np.full(n, 200.0), actuals)
    inside = (actuals >= made[:, 1]) & (actuals <= made[:, 3])
    assert min(float(inside[i : i + 360].mean()) for i in range(300, n - 360)) >= 0.70


def test_before_anything_is_known_intervals_are_wide():
    low, *_, high = Conformal().quantiles(200.0, None, 200.0)
    assert low < 100.0
    assert high > 300.0
    low, *_, high = Conformal().quantiles(200.0, None, 200.0, volatility_w=10.0)
    assert 170 < low < 180
    assert 220 < high < 230


def test_the_batch_models_shape_is_kept_around_the_point():
    changes = np.array([-30.0, -10.0, 0.0, 5.0, 6.0])
    assert Conformal().quantiles(200.0, changes, 190.0) == pytest.approx((170.0, 190.0, 200.0, 205.0, 206.0))


def test_shape_that_is_no_number_is_not_used():
    broken = np.array([float("nan")] * 5)
    assert Conformal().quantiles(200.0, broken, 200.0) == Conformal().quantiles(200.0, None, 200.0)


def test_a_series_that_stands_still_has_no_width_and_no_error():
    made = replay(np.full(300, 50.0), np.full(300, 50.0))
    assert made[-1].tolist() == [50.0] * 5 or np.ptp(made[-1]) < 50.0
    assert covered(made, np.full(300, 50.0), 1, 3) == 1.0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(HOSTILE, HOSTILE, CHANGES), min_size=1, max_size=60))
def test_whatever_comes_quantiles_ascend_from_zero_and_are_finite(entries):
    conformal = Conformal()
    for point, actual, changes in entries:
        found = conformal.quantiles(point, changes, point)
        assert len(found) == len(LEVELS)
        assert all(type(value) is float for value in found)
        assert np.isfinite(found).all()
        assert list(found) == sorted(found)
        assert found[0] >= 0
        conformal.learn(found, point, actual)
    doc = conformal.to_doc()
    assert json.loads(json.dumps(doc, allow_nan=False)) == doc
    assert Conformal.from_doc(doc).to_doc() == doc


def test_state_is_bounded_and_survives_storage_exactly():
    rng = np.random.default_rng(4)
    conformal = Conformal()
    replay(np.full(500, 200.0), 200 + rng.normal(0, 5, 500), conformal=conformal)
    doc = conformal.to_doc()
    assert len(doc["scores"]) == WINDOW
    again = Conformal.from_doc(json.loads(json.dumps(doc)))
    assert again.quantiles(200.0, None, 200.0) == conformal.quantiles(200.0, None, 200.0)
    actuals = 200 + rng.normal(0, 5, 50)
    points = np.full(50, 200.0)
    assert replay(points, actuals, None, again).tolist() == replay(points, actuals, None, conformal).tolist()
