"""Scenarios with a known change: what the demo scores, and how soon the blend is itself again after a drift."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import asdict
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from joulestream.verbs.forecast import app
from spark_jobs.forecast.backtest.traces import TraceError
from spark_jobs.forecast.layers import drift_replay
from spark_jobs.forecast.layers.drift_replay import (
    MODELS,
    REPETITIONS,
    Replay,
    frozen_forecasts,
    replayed,
    scores,
    seeds_of,
    windows_to_recovery,
)
from spark_jobs.forecast.layers.hybrid import Blend, Layers
from spark_jobs.forecast.layers.scenarios import CHANGE, KINDS, Scenario, generated, measured
from spark_jobs.forecast.layers.speed import SPEED_FEATURES
from spark_jobs.forecast.series import Observation

DATA = os.environ.get("JOULE_BENCH_DATA", "")


@cache
def table(kind, repetitions):
    seeds = seeds_of(1)[:repetitions]
    scenarios = [generated(kind, seed) for seed in seeds]
    done = [
        replayed(scenario, frozen_forecasts(scenario, seed))
        for scenario, seed in zip(scenarios, seeds, strict=True)
    ]
    return {score.model: score for score in scores(scenarios, done)}


def test_a_step_is_found_and_got_over_in_two_windows():
    found = table("step", 10)
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
    found = table(kind, 3)
    assert found["dynamic"].mae_w <= 0.65 * found["batch"].mae_w
    assert found["dynamic"].alarm_windows is not None
    assert found["dynamic"].mae_w < 1.05 * found["naive"].mae_w


def test_without_a_drift_the_blend_is_within_a_hundredth_of_its_better_layer():
    found = table("none", 6)
    better = min(found[name].mae_w for name in ("batch", "speed", "naive"))
    assert found["dynamic"].mae_w <= 1.01 * better
    assert found["dynamic"].false_alarms == 0
    assert found["dynamic"].alarm_windows is None


def test_one_lucky_window_after_an_alarm_gives_no_layer_the_lead():
    blend = Blend()
    x = np.array([100.0, *([0.0] * (len(SPEED_FEATURES) - 1))])
    for _ in range(50):
        blend.learn(Layers({"last": 102.0, "speed": 102.0}, {}, 102.0), x, 102.0, 100.0)
    blend.restart()
    blend.learn(Layers({"last": 102.0, "speed": 101.0}, {}, 102.0), x, 102.0, 100.0)
    weights = blend.predict(x, 100.0, None).weights
    assert weights["last"] > weights["speed"]


def series(change, windows=30):
    observed = tuple(Observation(i * 60_000, 100.0) for i in range(windows))
    return Scenario("made up", "", observed, change, 5, True)


def replay(sizes, *alarms):
    return Replay({name: np.array(sizes) for name in MODELS}, alarms)


def test_errors_are_means_over_the_repetitions():
    calm = [1.0] * 10
    replays = [replay(calm + [2.0] * 20, 10), replay(calm + [-4.0] * 20, 10)]
    found = {score.model: score for score in scores([series(10)] * 2, replays)}
    assert {score.repetitions for score in found.values()} == {2}
    assert found["naive"].mae_w == 3.0
    assert found["naive"].rmse_w == pytest.approx(10**0.5)
    assert found["naive"].old_mae_w == 1.0
    assert found["naive"].alarm_windows is None
    assert found["dynamic"].recovery_windows is None


def test_chance_in_one_repetition_does_not_delay_the_recovery_of_the_mean():
    lucky, odd = [1.0] * 12 + [0.6] * 18, [1.0] * 12 + [1.6] * 18
    assert windows_to_recovery(np.array(odd), 10, 1.0) is None
    (dynamic,) = (s for s in scores([series(10)] * 2, [replay(lucky), replay(odd)]) if s.model == "dynamic")
    assert dynamic.recovery_windows == 0


@pytest.mark.parametrize(
    ("alarms", "latest", "false"),
    [
        pytest.param([(11,), (13, 20)], 4, 0, id="the latest of the first alarms"),
        pytest.param([(11,), ()], None, 0, id="one repetition without"),
        pytest.param([(3, 11), (9, 10)], 2, 2, id="those before the change are false"),
    ],
)
def test_the_latest_alarm_counts_and_the_false_ones_are_added_up(alarms, latest, false):
    replays = [replay([1.0] * 30, *of) for of in alarms]
    (dynamic,) = (s for s in scores([series(10)] * 2, replays) if s.model == "dynamic")
    assert (dynamic.alarm_windows, dynamic.false_alarms) == (latest, false)
    assert dynamic.calm_windows == 18


def test_where_nothing_changes_every_alarm_is_false():
    (dynamic,) = (s for s in scores([series(None)], [replay([1.0] * 30, 5, 29)]) if s.model == "dynamic")
    assert (dynamic.alarm_windows, dynamic.false_alarms, dynamic.calm_windows) == (None, 2, 29)


def test_two_seeds_share_no_repetition():
    assert len(set(seeds_of(0)) | set(seeds_of(1))) == 2 * REPETITIONS


def test_scenarios_change_where_they_say_and_are_the_same_for_a_seed():
    calm = np.array([w.power_w for w in generated("none", 5).windows])
    for kind in KINDS:
        powers = np.array([w.power_w for w in generated(kind, 5).windows])
        assert powers[:CHANGE].tolist() == calm[:CHANGE].tolist()
        assert (kind == "none") == (powers.tolist() == calm.tolist())


def test_recovery_counts_windows_until_the_next_ones_are_as_good_as_before():
    sizes = np.array([1.0] * 10 + [50.0, 50.0] + [1.1] * 30)
    assert windows_to_recovery(sizes, 10, 1.0) == 2
    assert windows_to_recovery(np.full(60, 5.0), 10, 1.0) is None


def test_every_model_is_scored():
    assert set(table("none", 6)) == set(MODELS)


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
        done = replayed(scenario, frozen_forecasts(scenario, 1))
        found = {one.model: one for one in scores([scenario], [done])}
        dynamic = found["dynamic"]
        assert (dynamic.alarm_windows, dynamic.false_alarms) == (2, 0)
        assert dynamic.recovery_windows is not None
        assert dynamic.recovery_windows <= 2
        assert dynamic.mae_w <= 0.65 * found["batch"].mae_w


def test_measured_runs_of_one_architecture_are_refused(tmp_path):
    write_runs(tmp_path, {"small": 100.0})
    with pytest.raises(TraceError, match="one architecture"):
        measured(tmp_path)


def test_the_verb_prints_what_the_replays_scored(monkeypatch):
    monkeypatch.setattr(drift_replay, "REPETITIONS", 2)
    told = CliRunner().invoke(app, ["drift-demo", "--seed", "1", "--json"])
    found = json.loads(told.stdout)
    assert [scenario["scenario"] for scenario in found["scenarios"]] == list(KINDS)
    step = {score["model"]: score for score in found["scores"] if score["scenario"] == "step"}
    expected = [generated("step", seed) for seed in (2, 3)]
    done = [
        replayed(scenario, frozen_forecasts(scenario, seed))
        for scenario, seed in zip(expected, (2, 3), strict=True)
    ]
    assert step == {score.model: asdict(score) for score in scores(expected, done)}
    assert "scikit-learn" in found["batch_model"]
    (none,) = (s for s in found["scores"] if (s["scenario"], s["model"]) == ("none", "dynamic"))
    assert (none["repetitions"], none["calm_windows"]) == (2, 3598)
