"""What subjects have used and will use, read from a real document server."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from joulestream.alerting.budgets import Budget
from joulestream.alerting.evaluation import Evaluation
from schemas.carbon import intensity
from spark_jobs.store import Db
from tests.alerting import (
    MINUTE,
    NOW,
    add_budget,
    budget,
    ends_at,
    evaluator,
    node_window,
    power_forecast,
    run_doc,
    set_run,
    set_settled,
    set_windows,
    window,
)

pytestmark = pytest.mark.stack
MONTH = datetime(2026, 3, 1, tzinfo=timezone.utc)


def look(db: Db, wanted: Budget, at: datetime = NOW, **flags: Any) -> Evaluation:
    made = evaluator(db, **flags)
    made.look(at)
    return made.evaluations(wanted, at)[0]


def test_a_run_is_its_summary(stream_db: Db) -> None:
    set_run(stream_db, "r", 1.25)
    assert look(stream_db, budget("b", "run", "r", 5.0)).spent == 1.25
    assert look(stream_db, budget("b", "run", "r", 5.0, "kg")).spent == pytest.approx(0.5)
    money = look(stream_db, budget("b", "run", "r", 5.0, "EUR"), alerts__tariff_per_kwh=0.32)
    assert money.spent == pytest.approx(0.4)


@pytest.mark.parametrize("unit", ["kWh", "kg", "EUR"])
def test_what_is_not_known_is_not_zero(stream_db: Db, unit: str) -> None:
    set_run(stream_db, "silent", None, user_id="ada", project="p")
    for scope, key in (
        ("run", "silent"),
        ("run", "none"),
        ("user", "ada"),
        ("project", "p"),
        ("node", "n"),
        ("all", None),
    ):
        found = look(stream_db, budget("b", scope, key, 5.0, unit), alerts__tariff_per_kwh=0.3)
        assert (found.spent, found.outlook.end, found.probability) == (None, None, None)
        assert "no energy known yet" in found.notes


def test_a_budget_in_another_currency_is_not_known_and_says_why(stream_db: Db) -> None:
    set_run(stream_db, "r", 1.0)
    found = look(stream_db, budget("b", "run", "r", 5.0, "USD"), alerts__tariff_per_kwh=0.3)
    assert found.spent is None
    assert any("USD" in note for note in found.notes)


@pytest.mark.parametrize(("scope", "key"), [("user", "ada"), ("all", None)])
def test_a_month_is_the_windows_that_begin_in_it(stream_db: Db, scope: str, key: str | None) -> None:
    inside = [MONTH, MONTH + 5 * MINUTE, NOW.replace(second=0)]
    outside = [MONTH - MINUTE, datetime(2026, 4, 1, tzinfo=timezone.utc)]
    windows = [window(scope, key or "all", start, 0.1) for start in inside + outside]
    set_windows(
        stream_db, [*windows, window("user", "bob", MONTH, 7.0), window(scope, key or "all", MONTH + MINUTE)]
    )
    assert look(stream_db, budget("b", scope, key, 5.0, period="month")).spent == pytest.approx(
        0.3, rel=1e-12
    )
    assert look(stream_db, budget("b", scope, key, 5.0, period="total")).spent == pytest.approx(
        0.5, rel=1e-12
    )
    assert look(stream_db, budget("b", scope, key, 5.0, "kg", period="day")).spent == pytest.approx(
        0.04, rel=1e-12
    )


def test_sums_stay_exact_while_windows_change(stream_db: Db) -> None:
    """Settled windows are read once; a late event, a repair and open windows still show."""
    made, wanted = evaluator(stream_db), budget("b", "user", "ada", 5.0, period="month")
    start = NOW.replace(second=0) - timedelta(hours=1)
    starts = [start + n * MINUTE for n in range(61)]

    def spent(at: datetime) -> float | None:
        made.look(at)
        return made.evaluations(wanted, at)[0].spent

    set_windows(stream_db, [window("user", "ada", at, 1.0) for at in starts[:50]])
    set_settled(stream_db, starts[40])
    assert spent(NOW) == 50.0
    # An open window grows, new ones come, the watermark moves on.
    set_windows(stream_db, [window("user", "ada", at, 2.0) for at in starts[45:55]])
    assert spent(NOW) == 45 + 20
    set_settled(stream_db, starts[52])
    assert spent(NOW) == 45 + 20
    # A late event changes a window that was settled long ago, and is counted.
    set_windows(stream_db, [window("user", "ada", starts[0], 11.0)])
    set_settled(stream_db, starts[52], late=1)
    assert wait_for(lambda: spent(NOW), 45 + 20 + 10)


def wait_for(read: Any, expected: float, timeout_s: float = 20.0) -> bool:
    import time

    until = time.monotonic() + timeout_s
    while read() != expected and time.monotonic() < until:
        time.sleep(0.05)
    return bool(read() == expected)


def test_settled_windows_are_not_read_again(stream_db: Db) -> None:
    made, wanted = evaluator(stream_db), budget("b", "user", "ada", 5.0, period="month")
    starts = [NOW.replace(second=0) - n * MINUTE for n in range(60)]
    set_windows(stream_db, [window("user", "ada", at, 1.0) for at in starts])
    set_settled(stream_db, starts[5])
    made.look(NOW)
    assert made.evaluations(wanted, NOW)[0].spent == 60.0
    # Not a way in which the stream changes them: only to see that they are not read.
    stream_db.aggregated_metrics.update_many(
        {"window_start": {"$lt": starts[20]}}, {"$set": {"energy_kwh": 9.0}}
    )
    made.look(NOW)
    assert made.evaluations(wanted, NOW)[0].spent == 60.0


def test_a_project_is_its_runs_whole_or_by_their_windows(stream_db: Db) -> None:
    set_run(stream_db, "inside", 1.0, project="p")
    set_run(stream_db, "other", 100.0, project="q")
    before = MONTH - timedelta(hours=1)
    set_run(
        stream_db, "before", 10.0, "completed", project="p", started_at=before, last_event_at=before + MINUTE
    )
    set_run(
        stream_db, "across", 3.0, "completed", project="p", started_at=before, last_event_at=MONTH + MINUTE
    )
    set_windows(
        stream_db, [window("run", "across", MONTH - MINUTE, 2.75), window("run", "across", MONTH, 0.25)]
    )
    assert look(stream_db, budget("b", "project", "p", 5.0, period="month")).spent == pytest.approx(1.25)
    assert look(stream_db, budget("b", "project", "p", 5.0)).spent == pytest.approx(14.0)


def test_a_node_has_co2e_where_its_region_is_known_with_the_source_named(stream_db: Db) -> None:
    stream_db.node_aggregates.insert_many([node_window(n, MONTH, 2.0) for n in ("paris", "nowhere", "mars")])
    for node, region in (("paris", "FRA"), ("mars", "XX")):
        where = {
            "ingest": {"topic": "node.metrics", "partition": 0, "offset": 1, "recorded_at": NOW, "batch": 0}
        }
        sample = {"_id": f"s|{node}|p|1", "node_id": node, "timestamp": NOW, "region_iso": region}
        stream_db.node_metrics.insert_one(sample | where)
    kwh = look(stream_db, budget("b", "node", "paris", 5.0))
    assert (kwh.spent, kwh.notes) == (2.0, ("no forecast yet",))
    kg = look(stream_db, budget("b", "node", "paris", 5.0, "kg"))
    assert kg.spent == pytest.approx(2.0 * intensity("FRA").g_per_kwh / 1000)
    assert any(intensity("FRA").source in note for note in kg.notes)
    for node in ("nowhere", "mars"):
        unknown = look(stream_db, budget("b", "node", node, 5.0, "kg"))
        assert unknown.spent is None
        assert any(note.startswith("CO2e not known") for note in unknown.notes)


def test_the_last_minutes_of_a_period_still_count_and_those_before_the_budget_do_not(stream_db: Db) -> None:
    midnight = datetime(2026, 3, 10, tzinfo=timezone.utc)
    set_windows(
        stream_db, [window("user", "ada", midnight - MINUTE, 4.0), window("user", "ada", midnight, 1.0)]
    )
    made, at = evaluator(stream_db), midnight + 2 * MINUTE
    made.look(at)
    daily = budget("b", "user", "ada", 5.0, period="day", created_at=midnight - timedelta(hours=3))
    assert [(e.period.label, e.spent) for e in made.evaluations(daily, at)] == [
        ("2026-03-10", 1.0),
        ("2026-03-09", 4.0),
    ]
    young = budget("b", "user", "ada", 5.0, period="day", created_at=midnight + MINUTE)
    assert [e.period.label for e in made.evaluations(young, at)] == ["2026-03-10"]


def test_windows_that_cross_midnight_are_named(stream_db: Db) -> None:
    set_windows(stream_db, [window("user", "ada", MONTH, 1.0)])
    wanted = budget("b", "user", "ada", 5.0, period="day")
    assert not any("midnight" in note for note in look(stream_db, wanted).notes)
    assert any("midnight" in note for note in look(stream_db, wanted, stream__window_s=7).notes)


def test_a_runs_forecast_is_its_own(stream_db: Db) -> None:
    finish = NOW + timedelta(hours=1)
    set_run(stream_db, "r", 4.0, forecast=ends_at(5.0, 4.5, 7.0, finish))
    found = look(stream_db, budget("b", "run", "r", 7.0))
    assert found.outlook.end is not None
    assert (found.outlook.end.point, found.outlook.end.p10, found.outlook.end.p90) == (5.0, 4.5, 7.0)
    assert (found.outlook.at, found.outlook.method) == (finish, "runs")
    assert found.probability == pytest.approx(0.1 / found.outlook.end.above(4.0))
    set_run(stream_db, "r", 5.1, "completed", forecast=ends_at(5.0, 4.5, 7.0, finish))
    done = look(stream_db, budget("b", "run", "r", 7.0))
    assert (done.outlook.end, done.run_ended, done.notes) == (None, True, ("the run has ended",))


def test_a_users_total_is_spent_and_what_the_active_runs_still_need(stream_db: Db) -> None:
    set_windows(stream_db, [window("user", "ada", MONTH, 10.0)])
    set_run(stream_db, "a", 4.0, user_id="ada", forecast=ends_at(5.0, 4.5, 6.0, NOW + timedelta(hours=1)))
    set_run(stream_db, "b", 1.0, user_id="ada", forecast=ends_at(3.0, 2.0, 5.0, NOW + timedelta(hours=2)))
    set_run(stream_db, "c", 1.0, user_id="bob", forecast=ends_at(90.0, 90.0, 90.0))
    stale = NOW - timedelta(minutes=5)
    set_run(stream_db, "d", 1.0, user_id="ada", forecast=ends_at(90.0, 90.0, 90.0), last_event_at=stale)
    end = look(stream_db, budget("b", "user", "ada", 50.0)).outlook.end
    assert end is not None
    assert (end.point, end.p10, end.p90) == pytest.approx((13.0, 11.5, 16.0))
    set_run(stream_db, "e", 1.0, user_id="ada")
    found = look(stream_db, budget("b", "user", "ada", 50.0))
    assert "1 of 3 active runs have no forecast and are not in it" in found.notes


def test_a_run_that_ends_after_the_period_counts_with_its_share(stream_db: Db) -> None:
    at = datetime(2026, 3, 10, 23, tzinfo=timezone.utc)
    finish = at + timedelta(hours=4)
    recent = at - timedelta(seconds=10)
    set_windows(stream_db, [window("user", "ada", at - timedelta(hours=2), 2.0)])
    forecast = ends_at(10.0, 10.0, 10.0, finish)
    set_run(stream_db, "a", 2.0, user_id="ada", forecast=forecast, last_event_at=recent)
    end = look(stream_db, budget("b", "user", "ada", 50.0, period="day"), at).outlook.end
    assert end is not None
    assert end.point == pytest.approx(2.0 + 8.0 / 4)


def test_after_the_last_run_the_mean_power_of_the_period_goes_on(stream_db: Db) -> None:
    at = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
    set_windows(stream_db, [window("user", "ada", at - timedelta(hours=6), 6.0)])
    finish = at + timedelta(hours=2)
    forecast = ends_at(3.0, 2.0, 5.0, finish)
    set_run(stream_db, "a", 1.0, user_id="ada", forecast=forecast, last_event_at=at - timedelta(seconds=5))
    end = look(stream_db, budget("b", "user", "ada", 50.0, period="day"), at).outlook.end
    assert end is not None
    # 2 kWh until 14:00, then 1 kWh per hour until midnight, which nobody has begun to use.
    assert end.point == pytest.approx(6 + 2 + 10)
    assert (end.p10, end.p90) == pytest.approx((6 + 1 + 0, 6 + 4 + 20))


def test_a_first_job_of_some_minutes_is_not_taken_for_a_habit(stream_db: Db) -> None:
    at = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
    set_windows(stream_db, [window("user", "ada", at - 5 * MINUTE, 1.0)])
    forecast = ends_at(3.0, 3.0, 3.0, at + timedelta(hours=1))
    set_run(stream_db, "a", 1.0, user_id="ada", forecast=forecast, last_event_at=at - timedelta(seconds=5))
    for period, rest_h, least_h in (("day", 11, 1.0), ("month", 21.5 * 24 - 1, 31.0)):
        end = look(stream_db, budget("b", "user", "ada", 50.0, period=period), at).outlook.end
        assert end is not None
        assert end.point == pytest.approx(1 + 2 + 1.0 / least_h * rest_h)


@pytest.mark.parametrize(
    ("scope", "key", "target"), [("user", "ada", "user/ada"), ("all", None, "all/"), ("node", "n", "node/n")]
)
def test_a_period_goes_on_with_the_longest_forecast_power_that_fits(
    stream_db: Db, scope: str, key: str | None, target: str
) -> None:
    at = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
    if scope == "node":
        stream_db.node_aggregates.insert_one(node_window("n", at - timedelta(hours=10), 10.0))
    else:
        set_windows(stream_db, [window(scope, key or "all", at - timedelta(hours=10), 10.0)])
    stream_db.energy_forecasts.insert_many(
        [
            power_forecast(target, at - MINUTE, 60 * 60 * 24, 99.0, 99.0, 99.0),  # longer than the day
            power_forecast(target, at, 60 * 60 * 6, 3.0, 2.0, 6.0),
            power_forecast(target, at - 15 * MINUTE, 60 * 60 * 6, 77.0, 77.0, 77.0),  # not the newest
            power_forecast(target, at - MINUTE, 60, 88.0, 88.0, 88.0),  # shorter
            power_forecast(f"{target}x", at, 60 * 60 * 6, 66.0, 66.0, 66.0),
        ]
    )
    found = look(stream_db, budget("b", scope, key, 50.0, period="day"), at)
    assert found.outlook.method == "power"
    assert found.outlook.end is not None
    # 3 kWh until 18:00, then 1 kWh per hour, as in the ten hours so far.
    assert found.outlook.end.point == pytest.approx(10 + 3 + 6)
    assert found.outlook.end.p90 == pytest.approx(10 + (3 + 6) * 2)
    assert found.outlook.at == datetime(2026, 3, 11, tzinfo=timezone.utc)
    old = look(stream_db, budget("b", scope, key, 50.0, period="day"), at + timedelta(hours=2))
    note = "no forecast yet" if scope == "node" else "nothing runs, so nothing is forecast"
    assert (old.outlook.end, old.notes) == (None, (note,))


def test_a_project_whose_runs_are_over_says_that_nothing_runs(stream_db: Db) -> None:
    set_run(stream_db, "r", 5.0, "completed", project="p")
    set_windows(stream_db, [window("run", "r", MONTH, 5.0)])
    found = look(stream_db, budget("b", "project", "p", 50.0, period="month"))
    assert (found.outlook.end, found.notes) == (None, ("nothing runs, so nothing is forecast",))
    set_run(stream_db, "s", 1.0, project="p")
    assert look(stream_db, budget("b", "project", "p", 50.0, period="month")).notes == ("no forecast yet",)


def test_a_forecast_that_is_too_long_counts_with_its_share(stream_db: Db) -> None:
    at = datetime(2026, 3, 10, 23, 59, 30, tzinfo=timezone.utc)
    set_windows(stream_db, [window("user", "ada", at - timedelta(hours=2), 1.0)])
    stream_db.energy_forecasts.insert_one(power_forecast("user/ada", at, 60, 0.2, 0.1, 0.3))
    end = look(stream_db, budget("b", "user", "ada", 50.0, period="day"), at).outlook.end
    assert end is not None
    assert end.point == pytest.approx(1.1)


def test_emissions_are_the_forecasts_own_else_by_the_mean_intensity(stream_db: Db) -> None:
    forecast = ends_at(5.0, 4.0, 6.0)
    set_run(stream_db, "r", 4.0, forecast=forecast)
    end = look(stream_db, budget("b", "run", "r", 5.0, "kg")).outlook.end
    assert end is not None
    assert (end.point, end.p90) == pytest.approx((2.0, 2.4))
    own = {"emissions_kg": {"point": 3.0, "p10": 2.0, "p90": 4.0}}
    set_run(stream_db, "r", 4.0, forecast=forecast | own)
    end = look(stream_db, budget("b", "run", "r", 5.0, "kg")).outlook.end
    assert end is not None
    assert (end.point, end.p90) == pytest.approx((3.0, 4.0))
    end = look(stream_db, budget("b", "run", "r", 5.0, "EUR"), alerts__tariff_per_kwh=0.5).outlook.end
    assert end is not None
    assert end.point == pytest.approx(2.5)


def test_a_forecast_of_another_shape_is_no_forecast(stream_db: Db) -> None:
    for odd in ("soon", 3, {"energy_kwh": 5.0}, {"energy_kwh": {"point": 5.0}}, {"finishes_at": 7}):
        stream_db.training_run_summary.replace_one({"_id": "r"}, run_doc("r", 4.0, forecast=odd), upsert=True)
        found = look(stream_db, budget("b", "run", "r", 5.0))
        assert (found.spent, found.outlook.end) == (4.0, None)
        assert "no forecast yet" in found.notes


def test_add_budget_is_what_the_store_gives_back(stream_db: Db) -> None:
    made = add_budget(stream_db, "b", "all", None, 5.0, period="week", channels=("mail",))
    (doc,) = stream_db.budgets.find()
    assert Budget.from_doc(doc) == made


def test_a_day_and_the_month_that_begins_with_it_are_two_sums(stream_db: Db) -> None:
    at = MONTH + timedelta(days=1, minutes=2)
    set_windows(
        stream_db, [window("user", "ada", MONTH, 4.0), window("user", "ada", MONTH + timedelta(days=1), 1.0)]
    )
    set_settled(stream_db, at)
    made, early = evaluator(stream_db), MONTH - timedelta(days=3)
    month, day = (budget("b", "user", "ada", 5.0, period=p, created_at=early) for p in ("month", "day"))
    made.look(at)
    assert [e.spent for e in made.evaluations(month, at)] == [5.0]
    assert [e.spent for e in made.evaluations(day, at)] == [1.0, 4.0]
    made.look(at)
    assert [e.spent for e in made.evaluations(day, at)] == [1.0, 4.0]
