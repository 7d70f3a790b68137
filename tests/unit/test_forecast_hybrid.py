"""The blend: follows the better layer, forgives no drift, and never leaves the ground whatever it is given."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.forecast.layers.hybrid import LAYERS, PROBATION, Blend
from spark_jobs.forecast.layers.speed import LONGEST, speed_row
from spark_jobs.forecast.series import Observation

WINDOW_MS = 60_000
HOSTILE = st.one_of(
    st.floats(0, 1e4), st.sampled_from([0.0, 5e-324, 1e150, 1e308, float("inf"), float("nan"), -1e308, 200.0])
)
MAYBE = st.one_of(st.none(), HOSTILE)


def replay(powers, batch=None, blend=None, seasonal=None):
    """One window ahead over all powers; `batch(i)` forecasts window i + 1. Layers by window, and alarms."""
    blend = blend or Blend()
    history = [Observation(i * WINDOW_MS, float(power)) for i, power in enumerate(powers)]
    made, found = [], []
    for i in range(len(powers) - 1):
        x = speed_row(history[max(0, i - LONGEST) : i + 1], WINDOW_MS)
        last = history[i].power_w
        layers = blend.predict(x, last, batch(i) if batch else None, seasonal(i) if seasonal else None)
        made.append(layers)
        if blend.learn(layers, x, last, history[i + 1].power_w):
            found.append(i + 1)
    return made, found


def mae(made, powers, name=None, start=0):
    values = [layers.point if name is None else layers.values[name] for layers in made]
    return float(np.abs(np.array(values) - powers[1:])[start:].mean())


def noisy(seed, n=400, level=200.0):
    return level + np.random.default_rng(seed).normal(0, 5, n)


def test_a_new_blend_trusts_the_batch_model_and_without_one_the_last_value():
    x = speed_row([Observation(0, 200.0)], WINDOW_MS)
    assert Blend().predict(x, 200.0, 250.0).point == pytest.approx(250.0, abs=2.0)
    assert Blend().predict(x, 200.0, None).point == pytest.approx(200.0, rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.1, 3.0], ids=str)
def test_without_a_drift_it_is_hardly_worse_than_its_better_layer(share):
    """A batch model that knows the future but for `share` of the noise; 0: all of it."""
    powers, other = noisy(1, 1500), noisy(2, 1500) - 200
    made, _ = replay(powers, lambda i: powers[i + 1] + share * other[i])
    better = min(mae(made, powers, name, 100) for name in ("last", "batch", "speed"))
    assert mae(made, powers, None, 100) <= 1.02 * better + 0.02


def test_a_useless_batch_model_costs_little_against_the_last_value():
    rng = np.random.default_rng(3)
    powers = 200 + np.cumsum(rng.normal(0, 2, 600))
    made, _ = replay(powers, lambda i: 400.0)
    assert mae(made, powers, None, 60) <= 1.03 * mae(made, powers, "last", 60)


def test_a_season_that_is_right_takes_over():
    powers = 200 + np.random.default_rng(4).uniform(-50, 50, 300)
    made, _ = replay(powers, seasonal=lambda i: powers[i + 1] + 1.0)
    assert made[-1].weights["seasonal"] > 0.95


def test_a_false_alarm_is_taken_back():
    powers, blend = noisy(5), Blend()
    replay(powers, lambda i: powers[i + 1], blend)
    before = dict(blend.losses)
    blend.restart()
    x = speed_row([Observation(0, 200.0)], WINDOW_MS)
    assert blend.predict(x, 200.0, 300.0).weights["batch"] < 1e-3
    replay(powers[: PROBATION + 1], lambda i: powers[i + 1], blend)
    assert blend.trial is None
    assert blend.losses["batch"][1] > 0.9 * before["batch"][1]


def test_a_model_that_goes_on_failing_stays_out_after_its_alarm():
    powers = np.concatenate([noisy(6), noisy(7, 200, 320.0)])
    made, found = replay(powers, lambda i: 200.0)
    assert found[0] in (400, 401)
    assert all(layers.weights["batch"] < 1e-3 for layers in made[403:])
    assert made[403].point == pytest.approx(320.0, abs=25.0)


def test_what_lost_has_to_prove_itself_to_the_next_series_and_what_won_earns_no_credit():
    lost, won = Blend(), Blend()
    replay(noisy(11, 100), lambda i: 260.0, lost)
    replay(noisy(11, 100), lambda i: float(noisy(11, 100)[i + 1]), won)
    assert lost.trial is None
    x = speed_row([Observation(0, 200.0)], WINDOW_MS)
    assert lost.heir().predict(x, 200.0, 260.0).weights["batch"] < 1e-3
    assert won.heir().predict(x, 200.0, 260.0).weights["batch"] > 0.5
    heir, first = won.heir(), Blend()
    for blend in (heir, first):
        replay(noisy(12, 8), lambda i: 260.0, blend)
    assert first.predict(x, 200.0, 260.0).weights["batch"] < 1e-3
    assert heir.predict(x, 200.0, 260.0).weights["batch"] < 1e-3


def test_a_jump_at_the_start_of_a_job_is_no_drift():
    powers, blend, at, found = noisy(8, 300), Blend(), 0, 0
    history = []
    for power in [*powers, *powers + 60]:
        history.append(Observation(at * WINDOW_MS, float(power)))
        at += 6 if len(history) == 300 else 1
    for i in range(len(history) - 1):
        x = speed_row(history[max(0, i - LONGEST) : i + 1], WINDOW_MS)
        right = history[i + 1].power_w if i < 302 else history[i].power_w
        model = 200.0 if 300 <= i < 303 else right
        layers = blend.predict(x, history[i].power_w, model)
        if i != 299:
            found += blend.learn(layers, x, history[i].power_w, history[i + 1].power_w)
    assert found == 0


def check(layers):
    assert set(layers.values) == set(layers.weights)
    assert set(layers.values) <= set(LAYERS)
    assert "last" in layers.values
    assert all(np.isfinite(value) for value in layers.values.values())
    assert all(0 <= weight <= 1 for weight in layers.weights.values())
    assert sum(layers.weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert np.isfinite(layers.point)
    within = 1e-9 * max(1.0, *map(abs, layers.values.values()))
    assert min(layers.values.values()) - within <= layers.point <= max(layers.values.values()) + within


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(HOSTILE, MAYBE, MAYBE), min_size=2, max_size=50))
def test_whatever_it_is_given_every_number_stays_finite(entries):
    blend = Blend()
    history = [Observation(i * WINDOW_MS, power) for i, (power, _, _) in enumerate(entries)]
    for i in range(len(entries) - 1):
        x = speed_row(history[: i + 1], WINDOW_MS)
        _, batch, seasonal = entries[i]
        layers = blend.predict(x, history[i].power_w, batch, seasonal)
        check(layers)
        assert blend.learn(layers, x, history[i].power_w, history[i + 1].power_w) in (True, False)
    doc = blend.to_doc()
    assert json.loads(json.dumps(doc, allow_nan=False)) == doc
    assert Blend.from_doc(doc).to_doc() == doc


@pytest.mark.parametrize("cut", [50, 402, 405], ids=["calm", "in the trial", "after the trial"])
def test_state_survives_storage_exactly(cut):
    powers = np.concatenate([noisy(9), noisy(10, 60, 320.0)])
    straight = Blend()
    replay(powers[:cut], lambda i: 200.0, straight)
    again = Blend.from_doc(json.loads(json.dumps(straight.to_doc())))
    assert again.to_doc() == straight.to_doc()
    rest = powers[cut:]
    assert replay(rest, lambda i: 200.0, straight) == replay(rest, lambda i: 200.0, again)
