"""What a run will have used: the estimate from its epochs, from its like, and its interval."""

from __future__ import annotations

import random
from dataclasses import replace
from math import isfinite
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.forecast.backtest import run_energy as run_backtest
from spark_jobs.forecast.runs.documents import told
from spark_jobs.forecast.runs.energy import outlook, score, width80
from spark_jobs.forecast.runs.rates import Course, Experience, Point
from spark_jobs.forecast.runs.similar import Likeness, PastRun, PastRuns, Score


def course(energies: list[float], total: float | None, per_s: float = 10.0, first: float = 0.0) -> Course:
    """The course of a run from its epochs' energies (kWh), which take 10 s each."""
    points, used = [], 0.0
    for i, kwh in enumerate(energies, 1):
        used += kwh
        points.append(Point(first + i, per_s * i, used))
    now = points[-1] if points else Point(first, 0.0, 0.0)
    return Course("epochs", tuple(points), now, total, first)


def test_the_first_epoch_is_apart() -> None:
    found = outlook(course([1.7, 1.0, 1.0], 20.0))
    assert found is not None
    assert found.energy_kwh is not None
    assert found.energy_kwh.point == pytest.approx(20.7)
    assert found.per_unit_kwh == pytest.approx(1.0)


def test_after_the_first_epoch_alone_its_warm_up_is_allowed_for_and_the_interval_is_wide() -> None:
    one, two = (outlook(course(energies, 20.0)) for energies in ([1.4], [1.4, 1.0]))
    assert one is not None
    assert two is not None
    assert one.energy_kwh is not None
    assert two.energy_kwh is not None
    assert one.energy_kwh.point == pytest.approx(1.4 + 19.0)
    wide, narrow = (found.energy_kwh.p90 - found.energy_kwh.p10 for found in (one, two) if found.energy_kwh)
    assert wide > 2 * narrow


def test_an_epoch_that_was_interrupted_does_not_set_the_rate() -> None:
    found = outlook(course([1.0, 1.0, 1.0, 40.0, 1.0, 1.0], 20.0))
    assert found is not None
    assert found.per_unit_kwh < 1.6


@given(
    st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30),
    st.floats(0.0, 1e6) | st.none(),
    st.lists(st.floats(1e-9, 1e6), max_size=6),
    st.lists(st.floats(0.05, 1.0), max_size=6),
    st.lists(st.floats(-1e3, 1e3), max_size=30),
)
def test_an_estimate_is_finite_ordered_and_never_below_what_was_used(
    energies: list[float], total: float | None, rates: list[float], ends: list[float], scores: list[float]
) -> None:
    so_far = course(energies, total)
    found = outlook(so_far, Experience(tuple(rates), tuple(rates), (), (), tuple(ends), tuple(scores)))
    assert found is not None
    for known, least in ((found.energy_kwh, so_far.now.energy_kwh), (found.duration_s, so_far.now.elapsed_s)):
        if known is not None:
            assert all(map(isfinite, (known.point, known.p10, known.p90)))
            assert least <= known.p10 <= known.point <= known.p90
    assert total is not None or found.method == "rate"


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=20), st.integers(21, 60), st.floats(1.01, 10.0))
def test_a_run_that_uses_more_is_forecast_to_use_more(
    energies: list[float], total: int, factor: float
) -> None:
    one, more = (outlook(course([kwh * f for kwh in energies], float(total))) for f in (1.0, factor))
    assert one is not None
    assert more is not None
    assert one.energy_kwh is not None
    assert more.energy_kwh is not None
    assert more.energy_kwh.point == pytest.approx(factor * one.energy_kwh.point)


def test_nothing_used_is_forecast_as_nothing() -> None:
    found = outlook(course([0.0, 0.0, 0.0], 20.0))
    assert found is not None
    assert found.energy_kwh is not None
    assert (found.energy_kwh.point, found.energy_kwh.p90) == (0.0, 0.0)


def test_a_resumed_run_has_only_the_rest_before_it() -> None:
    found = outlook(course([1.0, 1.0, 1.0], 20.0, first=10.0))
    assert found is not None
    assert found.energy_kwh is not None
    assert found.energy_kwh.point == pytest.approx(10.0)


def test_a_run_that_went_back_is_to_do_those_epochs_again() -> None:
    so_far = course([1.0] * 6, 10.0)
    back = replace(so_far, now=Point(2.0, 90.0, 9.0))
    found = outlook(back)
    assert found is not None
    assert found.energy_kwh is not None
    assert found.energy_kwh.point == pytest.approx(9.0 + 8.0)


def test_a_run_that_did_more_than_planned_has_used_what_it_used() -> None:
    found = outlook(course([1.0] * 6, 4.0))
    assert found is not None
    assert found.energy_kwh is not None
    assert found.energy_kwh.point == found.energy_kwh.p90 == 6.0


def test_what_a_long_epoch_has_used_already_is_the_least_that_the_run_will_use() -> None:
    so_far = course([1.0, 1.0], 3.0)
    found = outlook(replace(so_far, now=Point(2.0, 90.0, 9.0)))
    assert found is not None
    assert found.energy_kwh is not None
    assert found.duration_s is not None
    assert found.energy_kwh.p10 == found.energy_kwh.point == 9.0
    assert found.duration_s.p10 == 90.0


def test_the_first_epoch_of_a_resumed_run_is_one_epoch() -> None:
    found = outlook(course([1.4], 20.0, first=10.0))
    assert found is not None
    assert found.per_unit_kwh == pytest.approx(1.0)


def past_runs(*runs: tuple[str, Likeness, list[float], float]) -> PastRuns:
    past = PastRuns()
    for name, likeness, energies, total in runs:
        past.add(PastRun(name, likeness, course(energies, total)))
    return past


LIKE = Likeness("resnet", "cifar", ("n1",), {"lr": 0.1})


def test_the_nearest_kind_of_run_is_asked() -> None:
    past = past_runs(
        ("other-node", replace(LIKE, nodes=("n2",)), [5.0] * 4, 4.0),
        ("other-lr", replace(LIKE, settings={"lr": 1}), [2.0] * 4, 4.0),
        ("same", LIKE, [1.0] * 4, 4.0),
    )
    found = past.like("new", LIKE)
    assert [run.run_id for run in found.runs] == ["same"]
    assert found.kind == "model, dataset, node and hyperparameters"
    assert [r.run_id for r in past.like("same", LIKE).runs] == ["same", "other-lr"][1:]
    assert past.like("new", replace(LIKE, model="vgg")).runs == ()
    assert past.like("new", Likeness()).runs == ()


def test_runs_that_say_nothing_of_their_model_are_not_like_each_other() -> None:
    unnamed = Likeness(None, "cifar", ("n1",))
    assert past_runs(("a", unnamed, [1.0] * 4, 4.0)).like("new", unnamed).runs == ()


def test_past_runs_are_bounded() -> None:
    past = PastRuns()
    for number in range(100):
        run = PastRun(f"r{number}", LIKE, course([1.0] * 3, 3.0))
        past.add(run, [Score("resnet", "2-4", 1.0)] * 10)
        past.add(run, [Score("resnet", "2-4", 9.0)])  # the same run again brings no second score
    assert len(past.like("new", LIKE).runs) == 24
    experience = past.experience(course([1.0, 1.0], 9.0), past.like("new", LIKE))
    assert set(experience.scores) == {1.0}
    assert len(experience.scores) == 60


def test_similar_runs_speak_before_the_first_epoch_ends() -> None:
    past = past_runs(*((f"r{i}", LIKE, [1.6, 1.0, 1.0, 1.0], 4.0) for i in range(4)))
    begun = Course("epochs", (), Point(0.0, 3.0, 0.3), 20.0)
    made = told("new", {"model_name": "resnet", "dataset_name": "cifar", "nodes": ["n1"]}, begun, past)
    assert made.outlook is not None
    assert made.outlook.method == "similar_runs"
    assert made.outlook.energy_kwh is not None
    assert made.outlook.energy_kwh.point == pytest.approx(20.0)
    alone = told("new", {"model_name": "vgg"}, begun, past)
    assert alone.outlook is None


def test_a_run_of_unknown_length_costs_what_its_like_cost_until_it_has_epochs_and_then_a_rate() -> None:
    past = past_runs(*((f"r{i}", LIKE, [1.6, 1.0, 1.0, 1.0], 4.0) for i in range(4)))
    doc = {"model_name": "resnet", "dataset_name": "cifar", "nodes": ["n1"]}
    begun = told("new", doc, Course("epochs", (), Point(0.0, 3.0, 0.3), None), past)
    assert begun.outlook is not None
    assert begun.outlook.energy_kwh is not None
    assert begun.outlook.energy_kwh.point == pytest.approx(4.6)
    later = told("new", doc, course([1.6, 1.0], None), past)
    assert later.outlook is not None
    assert (later.outlook.method, later.outlook.energy_kwh) == ("rate", None)
    assert later.outlook.per_unit_kwh == pytest.approx(1.0, rel=0.02)


def test_runs_that_stopped_early_widen_the_interval_downwards_and_most_of_them_move_the_point() -> None:
    whole = [(f"w{i}", LIKE, [1.0] * 20, 20.0) for i in range(6)]
    early = [(f"e{i}", LIKE, [1.0] * 8, 20.0) for i in range(2)]
    now = course([1.0] * 4, 20.0)
    ranges = []
    for runs in (whole, whole + early, [(f"e{i}", LIKE, [1.0] * 8, 20.0) for i in range(9)]):
        past = past_runs(*runs)
        found = outlook(now, past.experience(now, past.like("new", LIKE)))
        assert found is not None
        assert found.energy_kwh is not None
        ranges.append(found.energy_kwh)
    assert ranges[0].p10 > 15.0
    assert ranges[1].p10 < 10.0
    assert ranges[1].point == pytest.approx(20.0, rel=0.02)
    assert ranges[2].point < 12.0


def test_runs_that_stopped_before_this_point_say_nothing_of_where_it_stops() -> None:
    past = past_runs(*((f"e{i}", LIKE, [1.0] * 4, 20.0) for i in range(5)))
    now = course([1.0] * 10, 20.0)
    assert past.experience(now, past.like("new", LIKE)).ends == ()


def test_the_interval_has_the_width_of_past_errors() -> None:
    assert width80([0.1] * 20) == pytest.approx(0.1)
    assert width80([]) == pytest.approx(1.28, abs=0.2)
    few, many = width80([5.0]), width80([5.0] * 20)
    assert few < many == 5.0


def test_a_forecast_of_nothing_has_no_score() -> None:
    assert score(1.0, 2.0, 0.1) == pytest.approx(-6.93, abs=0.01)
    assert score(0.0, 2.0, 0.1) is None
    assert score(1.0, 0.0, 0.1) is None


def test_made_up_runs_are_forecast_as_well_as_by_the_mean_without_the_first_and_covered() -> None:
    rows = {(row["at"], row["model"]): row for row in run_backtest.epoch_rows()}
    for epochs, most in ((2, 7.8), (5, 5.5), (10, 4.6)):
        served = rows[f"epoch {epochs}, as planned", "served"]
        reference = rows[f"epoch {epochs}, as planned", "mean_without_first"]
        assert served["error_pct"] <= most
        assert served["error_pct"] <= 1.1 * reference["error_pct"]
        assert served["mae_ratio"] < 0.5
        assert 0.75 <= rows[f"epoch {epochs}", "served"]["coverage_80"] <= 0.85


def measured(path: Path, runs: int, apart_s: int = 1000) -> Path:
    """A file shaped like the open data: runs that warm up at low power, one after the other."""
    rng = np.random.default_rng(5)
    frames = []
    for run in range(runs):
        seconds = np.arange(600)
        power = np.where(seconds < 70, 120.0, 200.0) + rng.normal(0.0, 4.0, 600)
        frame = pd.DataFrame({"elapsed_s": seconds, "power_w": power})
        frame["observed_at"] = pd.Timestamp("2023-01-01", tz="UTC") + pd.to_timedelta(
            frame["elapsed_s"] + apart_s * run, unit="s"
        )
        frames.append(frame.assign(run_id=f"run-{run}", machine="n", architecture="a", gpu_name="g"))
    pd.concat(frames).to_parquet(path)
    return path


def test_the_backtest_learns_from_earlier_runs_only(tmp_path: Path) -> None:
    path = measured(tmp_path / "runs.parquet", 8)
    rows = {(row["at"], row["model"]): row for row in run_backtest.rows(path)}
    served, naive = rows["10%", "served"], rows["10%", "naive"]
    assert served["error_pct"] < 0.5 * naive["error_pct"]
    assert served["n"] == 8
    assert served["horizon_s"] is None
    alone = {
        (row["at"], row["model"]): row for row in run_backtest.rows(measured(tmp_path / "one.parquet", 1))
    }
    # The first run has nothing to learn from, not even from those that come later.
    assert alone["10%", "served"]["error_pct"] > 20.0
    worst = max(8 * served["error_pct"], alone["10%", "served"]["error_pct"])
    assert worst == pytest.approx(8 * served["error_pct"], rel=0.2)


def test_a_run_learns_nothing_from_runs_that_have_not_ended(tmp_path: Path) -> None:
    side_by_side = measured(tmp_path / "runs.parquet", 6, apart_s=30)
    served = next(
        row for row in run_backtest.rows(side_by_side) if (row["at"], row["model"]) == ("10%", "served")
    )
    assert served["error_pct"] > 20.0


def test_the_backtest_says_which_columns_a_file_lacks(tmp_path: Path) -> None:
    pd.DataFrame({"run_id": ["a"]}).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="power_w"):
        run_backtest.rows(tmp_path / "bad.parquet")


def test_the_order_of_the_rows_of_a_file_does_not_matter(tmp_path: Path) -> None:
    path = measured(tmp_path / "runs.parquet", 4)
    frame = pd.read_parquet(path)
    order = list(range(len(frame)))
    random.Random(1).shuffle(order)
    frame.iloc[order].to_parquet(tmp_path / "mixed.parquet")
    assert run_backtest.rows(path) == run_backtest.rows(tmp_path / "mixed.parquet")
