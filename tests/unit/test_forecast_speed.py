"""The speed layer: its inputs see only the past, it learns what a series does, and no input breaks it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.forecast.layers.speed import INPUTS, LIMIT, SPEED_FEATURES, Speed, bounded, speed_row
from spark_jobs.forecast.series import Observation

WINDOW_MS = 60_000
HOSTILE = st.one_of(
    st.floats(0, 1e4),
    st.sampled_from([0.0, 5e-324, 1e-300, 1e150, 1e308, float("inf"), float("nan"), -1e308, 200.0]),
)
STEPS = st.integers(1, 5)


def series(powers, steps=None, run_ids=None):
    at, history = 0, []
    for i, power in enumerate(powers):
        history.append(Observation(at * WINDOW_MS, power, run_id=run_ids[i] if run_ids else None))
        at += steps[i] if steps else 1
    return history


def by_name(row):
    return dict(zip(SPEED_FEATURES, row.tolist(), strict=True))


def errors_of(powers, speed, delay=1):
    """Sizes of the errors of the layer and of the last value, learning each window when it has closed."""
    history, own, naive = series(powers), [], []
    rows = [speed_row(history[: i + 1], WINDOW_MS) for i in range(len(powers))]
    forecasts = {}
    for i, power in enumerate(powers):
        j = i - delay
        if j >= 0:
            own.append(abs(forecasts[j] - power))
            naive.append(abs(powers[j] - power))
            speed.learn(rows[j], powers[j], power)
        forecasts[i] = speed.predict(rows[i], power)
    return np.array(own), np.array(naive)


def test_inputs_are_what_their_names_say():
    powers = [100.0] * 50 + [90.0, 110.0, 100.0, 120.0, 130.0]
    row = by_name(speed_row(series(powers), WINDOW_MS))
    mean = sum(powers) / 55
    assert row["scale_w"] == pytest.approx(mean)
    assert row["step_1"] == pytest.approx(10 / mean)
    assert row["step_2"] == pytest.approx(20 / mean)
    assert row["above_mean_5"] == pytest.approx((130 - 110) / mean)
    assert row["above_median_5"] == pytest.approx((130 - 110) / mean)
    assert row["above_median_15"] == pytest.approx(30 / mean)
    assert row["above_median_60"] == pytest.approx(30 / mean)
    assert row["fresh"] < 1e-9


def test_inputs_have_no_unit():
    rng = np.random.default_rng(1)
    powers = rng.uniform(50, 300, 80)
    watts = speed_row(series(powers), WINDOW_MS)
    tens = speed_row(series(powers * 10), WINDOW_MS)
    assert tens[0] == pytest.approx(watts[0] * 10)
    assert tens[1:] == pytest.approx(watts[1:])


def test_inputs_look_back_sixty_windows_of_time_and_no_further():
    recent = [float(p) for p in range(100, 160)]
    one, other = series([1.0, *recent]), series([9000.0, *recent])
    assert speed_row(one, WINDOW_MS).tolist() == speed_row(other, WINDOW_MS).tolist()
    gap = [Observation(0, 9000.0), *(Observation((100 + i) * WINDOW_MS, 100.0) for i in range(5))]
    assert by_name(speed_row(gap, WINDOW_MS))["scale_w"] == 100.0


@pytest.mark.parametrize(
    ("steps", "runs", "age"),
    [
        ([1, 1, 1, 1, 1], None, 4),
        ([1, 1, 2, 1, 1], None, 5),
        ([1, 1, 4, 1, 1], None, 1),
        ([1, 1, 1, 1, 1], ["a", "a", "b", "b", "b"], 2),
        ([1, 1, 1, 1, 1], ["a", "a", "a", "a", "b"], 0),
        ([80, 1, 1, 1, 1], None, 3),
    ],
    ids=["start", "one missing", "gap", "other run", "other run now", "long gap"],
)
def test_fresh_counts_from_a_start_a_gap_or_another_run(steps, runs, age):
    row = by_name(speed_row(series([100.0] * 5, steps, runs), WINDOW_MS))
    assert row["fresh"] == pytest.approx(np.exp(-age / 2))


def test_it_learns_a_pattern_that_the_last_value_misses():
    powers = [200.0 + 30.0 * (i % 2) for i in range(200)]
    own, naive = errors_of(powers, Speed())
    assert own[-100:].mean() < 0.1 * naive[-100:].mean()


def test_it_learns_how_a_job_starts_from_earlier_starts():
    powers, at, history, speed, seen = [], 0, [], Speed(), []
    for job in range(12):
        for i, power in enumerate([60.0, 120.0, *[180.0] * 28]):
            history.append(Observation(at * WINDOW_MS, power))
            powers.append((job, i))
            at += 1
        at += 5
    for i in range(len(history) - 1):
        x = speed_row(history[: i + 1], WINDOW_MS)
        if powers[i][1] == 0:
            seen.append(speed.predict(x, 60.0))
        if powers[i][0] == powers[i + 1][0]:
            speed.learn(x, history[i].power_w, history[i + 1].power_w)
    assert seen[0] == pytest.approx(60.0)
    assert abs(seen[-1] - 120.0) < 20.0


def test_noise_around_a_level_is_forecast_better_than_by_the_last_value():
    rng = np.random.default_rng(3)
    own, naive = errors_of(200 + rng.normal(0, 5, 800), Speed())
    assert own[100:].mean() < 0.85 * naive[100:].mean()


def test_an_odd_window_hardly_moves_what_was_learned():
    rng = np.random.default_rng(4)
    powers = list(200 + rng.normal(0, 5, 400))
    calm, jolted = Speed(), Speed()
    errors_of(powers, calm)
    errors_of(powers, jolted)
    x = speed_row(series(powers), WINDOW_MS)
    before = calm.predict(x, powers[-1])
    jolted.learn(x, powers[-1], 5000.0)
    assert abs(jolted.predict(x, powers[-1]) - before) < 5.0


def test_inputs_that_stand_still_for_long_do_not_wind_up_the_gain():
    rng = np.random.default_rng(5)
    powers = [200.0] * 3000 + list(200 + rng.normal(0, 5, 200))
    own, naive = errors_of(powers, Speed())
    assert own[3000:3060].mean() < 1.1 * naive[3000:3060].mean()
    assert own[3100:].mean() < 0.9 * naive[3100:].mean()


def test_a_softened_layer_learns_new_behaviour_sooner():
    rng = np.random.default_rng(6)
    calm = 200 + rng.normal(0, 5, 300)
    saw = np.array([200.0 + 30.0 * (i % 2) for i in range(25)])
    found = {}
    for softened in (False, True):
        speed = Speed()
        errors_of(calm, speed)
        if softened:
            speed.soften()
        found[softened] = errors_of(saw, speed)[0][5:].mean()
    assert found[True] < 0.5 * found[False]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(HOSTILE, STEPS), min_size=1, max_size=60), HOSTILE)
def test_whatever_the_powers_every_number_stays_finite(entries, actual):
    powers, steps = [p for p, _ in entries], [s for _, s in entries]
    history, speed = series(powers, steps), Speed()
    for i in range(len(history)):
        x = speed_row(history[: i + 1], WINDOW_MS)
        assert x.shape == (len(SPEED_FEATURES),)
        assert np.isfinite(x).all()
        assert x[0] > 0
        assert np.abs(x[1:]).max() <= LIMIT
        forecast = speed.predict(x, powers[i])
        assert np.isfinite(forecast)
        assert forecast >= 0
        speed.learn(x, powers[i], powers[i + 1] if i + 1 < len(powers) else actual)
        assert np.isfinite(speed.coefficients).all()


def test_state_survives_storage_exactly():
    rng = np.random.default_rng(7)
    powers = list(200 + rng.normal(0, 5, 120))
    speed = Speed()
    errors_of(powers, speed)
    doc = speed.to_doc()
    again = Speed.from_doc(json.loads(json.dumps(doc)))
    assert again.to_doc() == doc
    more = list(200 + rng.normal(0, 5, 50))
    assert errors_of(more, speed)[0].tolist() == errors_of(more, again)[0].tolist()


def test_state_over_other_inputs_starts_anew():
    speed = Speed()
    errors_of([100.0, 130.0] * 30, speed)
    doc = {**speed.to_doc(), "targets": [0.0] * (INPUTS - 1)}
    assert Speed.from_doc(doc).to_doc() == Speed().to_doc()


def test_no_number_is_too_large_or_none_at_all():
    assert bounded(float("nan")) == 0.0
    assert bounded(float("-inf")) == -1e150
    assert bounded(12.5) == 12.5
