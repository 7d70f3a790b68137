"""Drift: found within two windows where there is one, hardly ever where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.forecast.layers.drift import LARGEST, RANGE_WARM_UP, WARM_UP, Drift, Range

SHOCKS = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "heavy tails": lambda rng, n: rng.standard_t(3, n),
    "double exponential": lambda rng, n: rng.laplace(0, 1, n),
}
SIZES = st.floats(0, 1e12)


def errors_of(rng, shape, persistence, n):
    """Sizes of the errors of a model that knows the mean and the persistence, and of the last value's."""
    shocks, y = SHOCKS[shape](rng, n), np.zeros(n)
    for i in range(1, n):
        y[i] = persistence * y[i - 1] + shocks[i]
    model, last = np.abs(y[1:] - persistence * y[:-1]), np.abs(np.diff(y))
    return model, last


def alarms(drift, errors, references):
    return [i for i, (e, r) in enumerate(zip(errors, references, strict=True)) if drift.update(e, r)]


@pytest.mark.parametrize("shape", SHOCKS)
@pytest.mark.parametrize("persistence", [0.0, 0.8, 0.98])
def test_at_most_one_false_alarm_in_ten_thousand_windows(shape, persistence):
    found = 0
    for seed in range(5):
        found += len(alarms(Drift(), *errors_of(np.random.default_rng(seed), shape, persistence, 10_001)))
    assert found <= 5


@pytest.mark.parametrize("seed", range(20))
def test_a_step_of_ten_ordinary_errors_is_found_in_two_windows(seed):
    model, last = errors_of(np.random.default_rng(seed), "normal", 0.8, 400)
    drift = Drift()
    assert alarms(drift, model, last) == []
    # The window of the step is a surprise to both; in the next one only the model still errs.
    assert not drift.update(12.0, 12.0)
    assert drift.update(12.0, 0.5)


def test_a_jump_that_the_last_value_misses_too_is_no_drift():
    drift = Drift()
    alarms(drift, *errors_of(np.random.default_rng(1), "normal", 0.5, 200))
    assert alarms(drift, [100.0] * 50, [100.0] * 50) == []


def test_one_odd_window_that_returns_is_no_drift():
    rng = np.random.default_rng(2)
    model, last = errors_of(rng, "normal", 0.5, 500)
    model[300], last[300], last[301] = 200.0, 200.0, 200.0
    assert alarms(Drift(), model, last) == []


def test_no_alarm_before_an_ordinary_error_is_known():
    drift = Drift()
    assert alarms(drift, [1.0] * (WARM_UP - 1) + [1e9], [0.0] * WARM_UP) == []


def test_while_the_last_value_errs_too_nothing_speaks_against_the_model():
    drift = Drift()
    alarms(drift, *errors_of(np.random.default_rng(3), "normal", 0.5, 500))
    assert alarms(drift, [60.0, 60.0], [60.0, 30.0]) == []  # a change that takes two windows
    assert drift.update(60.0, 0.5)


def test_errors_of_a_part_of_a_per_cent_are_of_no_matter():
    drift = Drift()
    assert alarms(drift, [0.0005] * 100 + [0.04, 0.0005] + [0.0005] * 20, [0.001] * 122) == []
    assert alarms(drift, [0.04] * 5, [0.001] * 5) == [1]


def test_after_an_alarm_it_starts_anew():
    drift = Drift()
    alarms(drift, [1.0] * 100, [1.0] * 100)
    assert drift.update(LARGEST, 0.0)
    assert drift.to_doc() == Drift().to_doc()


@given(st.lists(st.tuples(SIZES, SIZES), max_size=60))
def test_state_is_finite_and_survives_storage_exactly(pairs):
    drift = Drift()
    for error, reference in pairs:
        drift.update(error, reference)
    doc = drift.to_doc()
    assert np.isfinite(list(doc.values())).all()
    again = Drift.from_doc(json.loads(json.dumps(doc)))
    assert again.to_doc() == doc
    assert again.update(5.0, 1.0) == drift.update(5.0, 1.0)


def moves(powers, known=(100.0, 150.0)):
    """Numbers of the windows at which a range that knows some powers says that the series has moved."""
    found = Range()
    for i in range(RANGE_WARM_UP):
        assert not found.update(known[i % len(known)])
    return [i for i, power in enumerate(powers) if found.update(power)]


@pytest.mark.parametrize(
    ("powers", "said"),
    [
        pytest.param([300.0] * 9, [1], id="a level that it never had, told once"),
        pytest.param([50.0] * 9, [1], id="a lower one"),
        pytest.param([150.0, 100.0] * 9, [], id="back and forth between known levels"),
        pytest.param([300.0, 150.0] * 9, [], id="glitches that do not last"),
        pytest.param([190.0, 70.0] * 9, [], id="a little beyond"),
        pytest.param([300.0] * 9 + [100.0] * 9 + [300.0] * 9, [1], id="known from then on"),
    ],
)
def test_a_series_that_moves_to_a_power_that_it_never_had_is_told_in_two_windows(powers, said):
    assert moves(powers) == said


def test_nothing_is_new_before_the_range_is_known():
    found = Range()
    assert not any(found.update(power) for power in [1.0] * (RANGE_WARM_UP - 2) + [1000.0] * 9)


def test_a_range_survives_storage_exactly():
    found = Range()
    for power in [100.0, 150.0] * RANGE_WARM_UP + [300.0]:
        found.update(power)
    again = Range.from_doc(json.loads(json.dumps(found.to_doc())))
    assert again.to_doc() == found.to_doc()
    assert again.update(300.0)
