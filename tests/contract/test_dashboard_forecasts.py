"""Reads of forecasts, budgets and alerts against a real document server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from conf.sections import MongoDB
from dashboard.store import Store, connect
from dashboard.store.forecasts import _targets
from schemas.documents import COLLECTIONS, FORECASTS
from tests.dashboard_seed import HOSTILE, filled, seed_hostile, seed_normal

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
NODE = "node/lab-node-1"


@pytest.fixture(scope="module")
def normal(store: Any) -> Iterator[Store]:
    yield from filled(store.address, "dashboard_ahead", seed_normal, NOW)


@pytest.fixture(scope="module")
def hostile(store: Any) -> Iterator[Store]:
    yield from filled(store.address, "dashboard_ahead_hostile", seed_hostile, NOW)


@pytest.fixture(scope="module")
def documents(store: Any, normal: Store) -> Iterator[Any]:
    with connect(MongoDB(uri=store.address)) as client:
        yield client["dashboard_ahead"]


def joined_forecasts(documents: Any, horizon_s: int, hours: int) -> list[dict[str, Any]]:
    """What the stream stored of NODE, read without the code under test."""
    found = documents.energy_forecasts.find({"target": NODE, "horizon_s": horizon_s})
    return [row for row in found if "actual" in row and NOW - hours * HOUR < row["target_at"] <= NOW]


def test_the_newest_forecast_of_each_horizon_is_what_is_ahead(normal: Store) -> None:
    series = {one.target: one for one in normal.forecasts.series()}
    assert series.keys() == {NODE, "node/lab-node-2", "all/", "user/linus", "run/vit-small"}
    assert normal.forecasts.drift(NODE, 300) == NOW - timedelta(minutes=25)
    assert normal.forecasts.drift(NODE, 3600) is None
    newest = series[NODE].last_window_end
    assert newest == NOW
    ahead = normal.forecasts.ahead(NODE, newest)
    assert [forecast.horizon_s for forecast in ahead] == [60, 300, 900, 3600, 21_600, 86_400]
    assert {forecast.issued_at for forecast in ahead} == {NOW}
    assert all(f.target_at == NOW + timedelta(seconds=f.horizon_s) for f in ahead)
    assert {f.fallback for f in normal.forecasts.ahead("node/lab-node-2", NOW)} == {
        "the model could not be read: hash of data.json differs"
    }


@pytest.mark.parametrize("hours", [1, 24])
def test_scores_are_those_of_the_stored_forecasts(normal: Store, documents: Any, hours: int) -> None:
    rows = joined_forecasts(documents, 300, hours)
    score = normal.forecasts.score(NODE, 300, NOW - hours * HOUR, NOW)
    last = sum(abs(row["naive_error"]) for row in rows)
    seasonal = sum(abs(row.get("seasonal_error", row["naive_error"])) for row in rows)
    assert score.n == len(rows) > 50
    assert score.served_mae == pytest.approx(sum(abs(row["error"]) for row in rows) / len(rows))
    assert score.naive_mae == pytest.approx(min(last, seasonal) / len(rows))
    assert score.coverage(80) == pytest.approx(sum(row["in_80"] for row in rows) / len(rows))
    assert score.coverage(90) == pytest.approx(sum(row["in_90"] for row in rows) / len(rows))


def test_past_forecasts_are_joined_in_the_server_and_gaps_stay_away(normal: Store, documents: Any) -> None:
    rows = joined_forecasts(documents, 60, 3)
    fine = normal.forecasts.past(NODE, 60, NOW - 3 * HOUR, NOW, 1000)
    assert fine.width_s == 60
    assert {point.at: point.actual for point in fine.points if point.actual is not None} == {
        row["target_at"]: pytest.approx(row["actual"]) for row in rows
    }
    assert len(fine.points) == 180 - 10
    coarse = normal.forecasts.past(NODE, 60, NOW - 3 * HOUR, NOW, 40)
    assert len(coarse.points) <= 40
    assert sum(point.n_joined for point in coarse.points) == len(rows)
    assert all(sum(dict(point.weights).values()) == pytest.approx(1.0) for point in coarse.points)


def test_no_mean_of_past_forecasts_stands_ahead_of_the_newest_window(normal: Store) -> None:
    newest = NOW - timedelta(minutes=2)
    points = normal.forecasts.past(NODE, 60, newest - 3 * HOUR, newest, 40).points
    assert points[-1].at == newest
    assert [later.at - point.at for point, later in pairwise(points[:3])] == [timedelta(minutes=5)] * 2


def test_reads_of_past_forecasts_begin_with_exactly_the_fields_of_their_index() -> None:
    first = _targets(NODE, NOW - HOUR, NOW, {"horizon_s": 60})[0]["$match"]
    index = next(collection.indexes[0] for collection in COLLECTIONS if collection.name == FORECASTS)
    assert set(first) == {name for name, _ in index.keys}


def test_numbers_that_are_none_count_in_no_score(hostile: Store) -> None:
    target = f"node/{HOSTILE[0]}"
    assert hostile.forecasts.score(target, 900, NOW - 24 * HOUR, NOW).n == 0
    assert hostile.forecasts.score(target, 300, NOW - 24 * HOUR, NOW).n > 50
    assert all(p.point is None for p in hostile.forecasts.past(target, 900, NOW - HOUR, NOW, 100).points)


def test_budgets_at_risk_come_first_and_open_alerts_before_resolved_ones(
    normal: Store, hostile: Store
) -> None:
    budgets = normal.budgets.all()
    assert [budget.name for budget in budgets[:2]] == ["fleet-co2", "vit-small-cap"]
    assert [budget.at_risk for budget in budgets] == [True, True, False, False, False]
    assert {budget.name: budget.status for budget in budgets}["new-one"] is None
    alerts = normal.alerts.some()
    assert [alert.state for alert in alerts] == ["open"] * 3 + ["resolved"] * 2
    assert normal.alerts.n_open() == 3
    assert {a.rule for a in normal.alerts.some(("resolved",), ("idle_gpu", "power_anomaly"))} == {"idle_gpu"}
    assert [a.rule for a in normal.alerts.of("node", "lab-node-1")] == ["power_anomaly"]
    assert normal.alerts.one(alerts[0].id) == alerts[0]
    assert {budget.name for budget in hostile.budgets.all()} == {*HOSTILE, "bare"}
    assert {alert.message for alert in hostile.alerts.some()} == {*HOSTILE, None}


def test_a_run_knows_its_end(normal: Store) -> None:
    found = normal.forecasts.of_run("vit-small")
    assert found is not None
    assert (found.method, found.epoch, found.total_epochs, len(found.history)) == ("epochs", 12, 20, 12)
    assert normal.forecasts.of_run("wine-svm") is None
