"""From documents of forecasts, budgets and alerts to what the pages show, odd ones included."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dashboard.display import ENERGY
from dashboard.store import Run
from dashboard.store.alerts import to_alert
from dashboard.store.budgets import to_budget
from dashboard.store.forecast_rows import RunForecast, Score, Span, When
from dashboard.store.forecasts import (
    alarm,
    flattened,
    to_forecast,
    to_model,
    to_past,
    to_run_forecast,
)
from dashboard.views.forecast import between, named
from dashboard.views.forecast_parts import ends
from dashboard.views.run_forecast import cards, counts_for, method, times

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
H = timedelta(hours=1)


def test_a_forecast_holds_what_its_document_has() -> None:
    document: dict[str, Any] = {
        "issued_at": T0,
        "target_at": T0 + H,
        "horizon_s": 3600,
        "point": 5.0,
        "p90": math.nan,
        "weights": {"batch": 0.25, "last": "x"},
        "energy": {"unit": "kWh", "point": 1.0, "p10": 0.5},
        "emissions": {"point": 0.3, "g_per_kwh": 300.0, "source": "s"},
    }
    made = to_forecast(document)
    assert made is not None
    assert (made.point, made.p90, made.fallback) == (5.0, None, None)
    assert made.weights == (("batch", 0.25),)
    assert made.energy_kwh == Span(point=1.0, p10=0.5)
    assert (made.g_per_kwh, made.intensity_source) == (300.0, "s")
    assert to_forecast(document | {"issued_at": "soon"}) is None
    assert to_forecast(document | {"energy": "much"}).energy_kwh is None  # type: ignore[union-attr]


def test_a_bucket_is_known_by_its_end() -> None:
    row = {
        "_id": int(T0.timestamp() * 1000),
        "n": 5,
        "n_joined": 4,
        "point": 2.0,
        "w_last": 1.0,
        "w_speed": None,
    }
    made = to_past(row, 300)
    assert made.at == T0 + timedelta(minutes=5)
    assert (made.n, made.n_joined, made.actual) == (5, 4, None)
    assert made.weights == (("last", 1.0),)


def test_a_bucket_that_still_fills_stands_at_its_newest_target() -> None:
    row = {"_id": int(T0.timestamp() * 1000), "n": 2, "n_joined": 2, "newest": T0 + timedelta(minutes=2)}
    assert to_past(row, 300).at == T0 + timedelta(minutes=2)


def test_a_drift_alarm_is_read_per_horizon() -> None:
    at_ms = int(T0.timestamp() * 1000)
    states = {"60": {"drift_ms": at_ms}, "300": 1, "900": {"drift_ms": 10**30}}
    assert alarm(states, 60) == T0
    assert [alarm(states, horizon_s) for horizon_s in (300, 900, 3600)] == [None, None, None]
    assert alarm("none", 60) is None


def test_strong_naive_is_the_better_of_the_two() -> None:
    score = Score(
        n=4, n_seasonal=4, n_80=3, n_90=4, n_intervals=4, served_sum=8, last_sum=20, seasonal_sum=16
    )
    assert (score.served_mae, score.naive_mae, score.ratio) == (2.0, 4.0, 0.5)
    assert score.naive_name == "seasonal"
    assert (score.coverage(80), score.coverage(90)) == (0.75, 1.0)


def test_without_a_day_before_strong_naive_is_the_last_value() -> None:
    score = Score(n=4, served_sum=8, last_sum=20, seasonal_sum=0)
    assert (score.naive_mae, score.naive_name) == (5.0, "last value")


@pytest.mark.parametrize("score", [Score(), Score(n=3, served_sum=1.0)], ids=["none", "exact naive"])
def test_a_ratio_that_cannot_be_is_not_known(score: Score) -> None:
    assert score.ratio is None
    assert score.coverage(80) is None


def test_a_model_says_on_what_it_was_trained() -> None:
    made = to_model(
        {
            "_id": "v1",
            "data": {"first": T0, "last": T0 + H},
            "served_horizons_s": [60, "x"],
            "scores": {"60": {"mae": 1.5}},
        }
    )
    assert (made.data_from, made.data_to) == (T0, T0 + H)
    assert made.served_horizons_s == (60,)
    assert made.scores == (("60.mae", "1.5"),)
    assert to_model({"_id": "v1", "served_horizons_s": "60", "data": 3}).served_horizons_s == ()


def test_nested_evidence_is_flat_text() -> None:
    evidence = {"k": 3, "windows": [{"w": 1.5}, {"w": None}], "deep": {"a": {"b": "<b>"}}}
    assert dict(flattened(evidence)) == {"k": "3", "windows 1.w": "1.5", "deep.a.b": "<b>"}


def test_a_budget_without_a_status_was_never_evaluated() -> None:
    made = to_budget({"_id": "b", "limit": 2.0, "status": "good"})
    assert made.status is None
    assert not made.at_risk
    assert made.share(1.0) == 50.0
    assert to_budget({"_id": "b", "limit": 0}).share(1.0) is None


@pytest.mark.parametrize(
    ("status", "risky"),
    [
        ({"actual": 1.0, "probability": 0.49}, False),
        ({"actual": 1.0, "probability": 0.5}, True),
        ({"actual": 2.0}, True),
        ({}, False),
    ],
)
def test_a_budget_is_at_risk_when_it_is_more_likely_to_break_than_not(
    status: dict[str, float], risky: bool
) -> None:
    assert to_budget({"_id": "b", "limit": 2.0, "status": status}).at_risk is risky


def test_an_alert_of_another_shape_is_shown_as_far_as_it_is_known() -> None:
    made = to_alert({"_id": "a", "subject": "x", "deliveries": ["y", {"state": "sent"}], "evidence": 3})
    assert (made.dimension, made.rule) == (None, None)
    assert [delivery.state for delivery in made.deliveries] == ["sent"]
    assert made.evidence == (("value", "3"),)


def run_forecast(**given: Any) -> RunForecast:
    made = to_run_forecast({"issued_at": T0, "epoch": 3, "total_epochs": 9} | given)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "epochs"}, "By epochs, 3 of 9 done: from its own epochs, the first one apart."),
        (
            {"method": "epochs", "note": "with 4 similar runs"},
            "3 of 9 done: with 4 similar runs. As of 2026-01-01",
        ),
        ({"method": "similar_runs", "n_similar": 7}, "from 7 similar past runs, as no epoch has ended yet."),
        ({"method": "rate"}, "total_epochs is not known"),
        ({"method": "none"}, "No estimate yet"),
        ({"method": "<b>"}, "not known"),
    ],
)
def test_the_method_of_a_runs_forecast_is_named_in_words(given: dict[str, Any], said: str) -> None:
    assert said in method(run_forecast(**given))


def test_the_history_of_a_run_leaves_out_what_is_no_forecast() -> None:
    history = [{"epoch": 1, "energy_kwh": {"point": 1.0}}, {"epoch": 2}, "x", {"energy_kwh": {"point": 1.0}}]
    assert [entry.epoch for entry in run_forecast(history=history).history] == [1.0]
    assert to_run_forecast("soon") is None


def test_a_run_without_total_epochs_shows_its_rate_and_a_finished_one_its_error() -> None:
    rate = cards(run_forecast(method="rate", per_epoch_kwh=0.5, per_epoch_s=60.0), T0)
    assert [(card.label, card.value) for card in rate] == [
        ("Per epoch", "500 Wh"),
        ("Time per epoch", "1 min"),
    ]
    history = [{"epoch": 1, "energy_kwh": {"point": 1.1}}]
    done = cards(run_forecast(history=history, actual_energy_kwh=1.0, error_pct=10.0), T0)
    assert {card.label: card.value for card in done}["Mean error"] == "10.0 %"
    soon = cards(run_forecast(energy_kwh={"point": 1.1}, finishes_at={"point": T0 + H}), T0)
    assert {card.label: card.value for card in soon}["Finishes in"] == "1 h"


def test_a_run_that_ended_before_its_first_forecast_shows_what_it_was_and_no_forecast() -> None:
    done = run_forecast(
        method="none", note="the run has ended (completed)", energy_kwh={"point": 1.0}, actual_energy_kwh=1.0
    )
    assert [(card.label, card.value) for card in cards(done, T0)] == [("It was", "1.00 kWh")]
    assert method(done) == "The run ended before there was a forecast."


def test_a_run_without_an_estimate_says_so_once() -> None:
    said = method(run_forecast(method="none", note="no epoch has ended: no estimate yet", issued_at=T0))
    assert said.startswith("No estimate yet: no epoch has ended. As of ")


def test_evidence_has_readable_numbers_and_times() -> None:
    evidence = {"actual": 4.5448494058908295, "forecast_pct": 761919.0236712209, "w": 2.5e7, "n": 3, "at": T0}
    assert dict(flattened(evidence)) == {
        "actual": "4.54485",
        "forecast_pct": "761919",
        "w": "25000000",
        "n": "3",
        "at": f"{T0:%Y-%m-%d %H:%M:%S} UTC",
    }


def test_a_run_shows_the_intervals_of_energy_and_emissions() -> None:
    spans = {
        "energy_kwh": {"point": 1.0, "p10": 0.5, "p90": 1.5},
        "emissions_kg": {"point": 0.2, "p10": 0.1, "p90": 0.3},
    }
    shown = {card.label: card.value for card in cards(run_forecast(**spans), T0)}
    assert shown["Energy, 80 % interval"] == "0.500 – 1.50 kWh"
    assert shown["Emissions, 80 % interval"] == "100 – 300 g"


def test_a_finished_run_shows_its_first_forecast_and_not_the_last_one() -> None:
    history = [
        {"epoch": epoch, "energy_kwh": {"point": point, "p10": 0.5 * point, "p90": 2.0 * point}}
        for epoch, point in ((1, 3.0), (2, 1.0))
    ]
    done = run_forecast(energy_kwh={"point": 1.0}, history=history, actual_energy_kwh=1.0, error_pct=100.0)
    assert [(card.label, card.value) for card in cards(done, T0)] == [
        ("First forecast", "3.00 kWh"),
        ("Its 80 % interval", "1.50 – 6.00 kWh"),
        ("It was", "1.00 kWh"),
        ("Mean error", "100.0 %"),
    ]


def test_intervals_are_written_in_one_unit() -> None:
    assert ends(Span(point=1.0, p10=0.5, p90=1.5), ENERGY) == "0.500 – 1.50 kWh"
    assert ends(Span(point=1.0), ENERGY) == "–"
    assert between(None) == "–"
    assert times(When(point=T0, p10=T0, p90=T0 + H)) == "00:00 – 01:00 UTC"
    assert times(When(point=T0, p10=T0, p90=T0 + 24 * H)) == "01 Jan 00:00 – 02 Jan 00:00 UTC"


@pytest.mark.parametrize(
    ("scope", "key", "counts"),
    [
        ("all", None, True),
        ("run", "r", True),
        ("user", "ada", True),
        ("node", "n2", True),
        ("project", "p", False),
    ],
)
def test_a_run_counts_for_the_budgets_of_what_it_belongs_to(
    scope: str, key: str | None, counts: bool
) -> None:
    run = Run(run_id="r", user_id="ada", nodes=("n1", "n2"))
    assert counts_for(to_budget({"_id": "b", "scope": scope, "key": key}), run) is counts


def test_series_have_names() -> None:
    assert named("all/") == "All runs"
    assert named("node/a/b") == "Node · a/b"
