"""Drift: found within two windows where there is one, hardly ever where there is none; the blend is soon itself."""

from __future__ import annotations

import gzip
import json
import os
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from joulestream.verbs.forecast import app
from spark_jobs.forecast.backtest.traces import TraceError
from spark_jobs.forecast.layers.drift import LARGEST, RANGE_WARM_UP, WARM_UP, Drift, Range
from spark_jobs.forecast.layers.drift_replay import (
    MODELS,
    frozen_forecasts,
    replayed,
    scores,
    windows_to_recovery,
)
from spark_jobs.forecast.layers.scenarios import CHANGE, KINDS, generated, measured

DATA = os.environ.get("JOULE_BENCH_DATA", "")
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


@cache
def table(kind, seed):
    scenario = generated(kind, seed)
    done = replayed(scenario, frozen_forecasts(scenario, seed))
    return {score.model: score for score in scores(scenario, done)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_step_is_found_and_got_over_in_two_windows(seed):
    found = table("step", seed)
    dynamic = found["dynamic"]
    assert dynamic.alarm_windows is not None
    assert dynamic.alarm_windows <= 2
    assert dynamic.recovery_windows is not None
    assert dynamic.recovery_windows <= 2
    assert dynamic.false_alarms == 0
    assert dynamic.mae_w <= 0.65 * found["batch"].mae_w
    assert dynamic.mae_w < found["static"].mae_w
    assert dynamic.mae_w < 1.05 * found["naive"].mae_w


@pytest.mark.parametrize("kind", ["gradual", "recurring"])
def test_other_drifts_leave_the_frozen_model_behind_too(kind):
    found = table(kind, 1)
    assert found["dynamic"].mae_w <= 0.65 * found["batch"].mae_w
    assert found["dynamic"].alarm_windows is not None
    assert found["dynamic"].mae_w < 1.05 * found["naive"].mae_w


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_without_a_drift_the_blend_is_within_a_hundredth_of_its_better_layer(seed):
    found = table("none", seed)
    better = min(found[name].mae_w for name in ("batch", "speed", "naive"))
    assert found["dynamic"].mae_w <= 1.01 * better
    assert found["dynamic"].false_alarms == 0


def test_scenarios_change_where_they_say_and_are_the_same_for_a_seed():
    calm = np.array([w.power_w for w in generated("none", 5).windows])
    for kind in KINDS:
        powers = np.array([w.power_w for w in generated(kind, 5).windows])
        assert powers[:CHANGE].tolist() == calm[:CHANGE].tolist()
        assert (kind == "none") == (powers.tolist() == calm.tolist())


def test_recovery_counts_windows_until_the_next_ones_are_as_good_as_before():
    errors = np.array([1.0] * 10 + [50.0, -50.0] + [1.1] * 30)
    assert windows_to_recovery(errors, 10, 1.0) == 2
    assert windows_to_recovery(np.full(60, 5.0), 10, 1.0) is None


def test_every_model_is_scored():
    assert set(table("none", 1)) == set(MODELS)


def write_runs(folder, powers):
    """Two runs of half an hour for each architecture, at its power, a reading every ten seconds."""
    frames = []
    for number, (architecture, power_w) in enumerate([*powers.items()] * 2):
        start = pd.Timestamp("2023-01-01", tz="UTC") + timedelta(hours=number)
        run = {"run_id": f"box-{architecture}-{number}", "machine": "box", "architecture": architecture}
        elapsed = np.arange(180) * 10
        at = start + pd.to_timedelta(elapsed, unit="s")
        frames.append(pd.DataFrame({**run, "elapsed_s": elapsed, "observed_at": at, "power_w": power_w}))
    pd.concat(frames).to_parquet(folder / "runs.parquet")


LIMITS = """gpu_model,dataset,network,batch_size,optimizer,power_limit_w,average_power_w
v100,d,n,1,adam,100,90
v100,d,n,1,adam,250,180
v100,d,n,2,adam,100,80
v100,d,n,2,adam,250,200
v100,d,n,3,adam,100,60
v100,d,n,3,adam,250,200
"""


def test_measured_scenarios_change_where_the_new_work_or_the_new_limit_begins(tmp_path):
    write_runs(tmp_path, {"big": 300.0, "small": 100.0})
    with gzip.open(tmp_path / "spec_power_open.csv.gz", "wt") as file:
        file.write(LIMITS)
    new, limit = measured(tmp_path)
    assert [w.power_w for w in new.windows] == [100.0] * 60 + [300.0] * 60
    assert (new.change, len({w.run_id for w in new.windows})) == (60, 4)
    assert limit.change == 36
    assert [w.power_w for w in limit.windows] == pytest.approx([300.0] * 36 + [300.0 * 0.4] * 24)


@pytest.mark.skipif(not DATA, reason="JOULE_BENCH_DATA names no folder of measured data")
def test_measured_changes_are_found_and_got_over_in_two_windows():
    for scenario in measured(Path(DATA)):
        found = {
            one.model: one for one in scores(scenario, replayed(scenario, frozen_forecasts(scenario, 1)))
        }
        dynamic = found["dynamic"]
        assert (dynamic.alarm_windows, dynamic.false_alarms) == (2, 0)
        assert dynamic.recovery_windows is not None
        assert dynamic.recovery_windows <= 2
        assert dynamic.mae_w <= 0.65 * found["batch"].mae_w


def test_measured_runs_of_one_architecture_are_refused(tmp_path):
    write_runs(tmp_path, {"small": 100.0})
    with pytest.raises(TraceError, match="one architecture"):
        measured(tmp_path)


def test_the_verb_prints_what_the_replay_scored():
    told = CliRunner().invoke(app, ["drift-demo", "--seed", "1", "--json"])
    found = json.loads(told.stdout)
    assert [scenario["scenario"] for scenario in found["scenarios"]] == list(KINDS)
    step = {score["model"]: score for score in found["scores"] if score["scenario"] == "step"}
    assert step["dynamic"]["mae_w"] == table("step", 1)["dynamic"].mae_w
    assert step["dynamic"]["alarm_windows"] == 2
    assert "scikit-learn" in found["batch_model"]
