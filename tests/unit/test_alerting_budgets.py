"""Budgets as people type them, their periods and stages, and what three quantiles say of a limit."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.ahead import Alerts
from joulestream.alerting import stages
from joulestream.alerting.budgets import Budget, BudgetError, check, parse_limit
from joulestream.alerting.outbox import LONGEST_S, MAX_ATTEMPTS, backoff_s
from joulestream.alerting.periods import aligned, live_periods, period_at
from joulestream.alerting.spread import Spread, exactly, probability_of_breaking

AT = datetime(2026, 3, 1, 0, 4, tzinfo=timezone.utc)
BUDGET = Budget("b", "user", "ada", 5.0, "kWh", "month", "notify", (), AT, "ada")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5kWh", (5.0, "kWh")),
        (" 0.25 KWH ", (0.25, "kWh")),
        ("2kg", (2.0, "kg")),
        ("1e-3kg", (0.001, "kg")),
        ("5E3EUR", (5000.0, "EUR")),
        ("10eur", (10.0, "EUR")),
        (".5kWh", (0.5, "kWh")),
    ],
)
def test_a_limit_is_a_number_and_its_unit(text: str, expected: tuple[float, str]) -> None:
    assert parse_limit(text, Alerts(tariff_per_kwh=0.3)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5", "its unit"),
        ("kWh", "its unit"),
        ("", "its unit"),
        ("1,5kWh", "its unit"),
        ("nankWh", "its unit"),
        ("0kWh", "above 0"),
        ("-2kg", "above 0"),
        ("1e999kWh", "above 0"),
        ("5J", "expected kWh, kg or EUR"),
        ("5USD", "expected kWh, kg or EUR"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_with_what_to_do(text: str, problem: str) -> None:
    with pytest.raises(BudgetError, match=problem):
        parse_limit(text, Alerts(tariff_per_kwh=0.3))


def test_money_needs_a_price() -> None:
    with pytest.raises(BudgetError, match="JOULE_ALERTS_TARIFF_PER_KWH"):
        parse_limit("10EUR", Alerts())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "a|b"}, "name 'a|b' is no id"),
        ({"name": "x" * 201}, "is no id"),
        ({"key": "a b"}, "user 'a b' is no id"),
        ({"scope": "team"}, "scope 'team'"),
        ({"period": "year"}, "period 'year'"),
        ({"on_break": "kill"}, "on-break 'kill'"),
        ({"channels": ("webhook", "pager")}, "channel 'pager'"),
        ({"scope": "all"}, "has no key"),
        ({"key": None}, "needs a key"),
        ({"limit": math.inf}, "above 0"),
        ({"limit": math.nan}, "above 0"),
    ],
)
def test_a_budget_is_held_to_its_rules(change: dict[str, Any], problem: str) -> None:
    check(BUDGET)
    with pytest.raises(BudgetError, match=problem):
        check(replace(BUDGET, **change))


def test_a_budget_comes_back_as_it_was_stored() -> None:
    assert Budget.from_doc(BUDGET.to_doc()) == BUDGET
    everyone = replace(BUDGET, scope="all", key=None, channels=("mail",))
    assert "key" not in everyone.to_doc()
    assert Budget.from_doc(everyone.to_doc()) == everyone


@pytest.mark.parametrize(
    "doc", [{"_id": "b"}, BUDGET.to_doc() | {"limit": "much"}, BUDGET.to_doc() | {"unit": 3}]
)
def test_a_budget_that_somebody_wrote_by_hand_is_an_error_and_no_crash(doc: dict[str, Any]) -> None:
    with pytest.raises(BudgetError):
        Budget.from_doc(doc)


@pytest.mark.parametrize(
    ("kind", "label", "start", "days"),
    [
        ("day", "2026-03-01", datetime(2026, 3, 1, tzinfo=timezone.utc), 1),
        ("week", "2026-W09", datetime(2026, 2, 23, tzinfo=timezone.utc), 7),
        ("month", "2026-03", datetime(2026, 3, 1, tzinfo=timezone.utc), 31),
    ],
)
def test_periods_begin_at_midnight_in_utc(kind: str, label: str, start: datetime, days: int) -> None:
    period = period_at(kind, AT.astimezone(timezone(timedelta(hours=-5))))
    assert (period.label, period.start, period.end) == (label, start, start + timedelta(days=days))


def test_the_first_days_of_a_year_may_be_of_the_last_week_of_the_one_before() -> None:
    assert period_at("week", datetime(2027, 1, 2, tzinfo=timezone.utc)).label == "2026-W53"
    assert period_at("month", datetime(2026, 12, 31, 23, tzinfo=timezone.utc)).end == datetime(
        2027, 1, 1, tzinfo=timezone.utc
    )


def test_a_period_is_looked_at_until_its_last_events_are_in() -> None:
    assert [p.label for p in live_periods("month", AT, 660)] == ["2026-03", "2026-02"]
    assert [p.label for p in live_periods("month", AT + timedelta(minutes=7), 660)] == ["2026-03"]
    assert [p.label for p in live_periods("total", AT, 660)] == ["total"]


def test_windows_that_cross_midnight_are_known_as_such() -> None:
    assert aligned("day", 60)
    assert not aligned("day", 7)
    assert aligned("total", 7)


def test_of_several_new_stages_only_the_highest_is_raised() -> None:
    assert stages.next_step("actual", 93.0, []) == stages.Step("actual", 90, (50, 80))
    assert stages.next_step("actual", 93.0, [50]) == stages.Step("actual", 90, (80,))
    assert stages.next_step("actual", 93.0, [90]) is None
    assert stages.next_step("actual", 85.0, [90]) is None  # passed with 90, though 80 has no alert of its own
    assert stages.next_step("actual", 49.9, []) is None
    assert stages.next_step("actual", None, []) is None
    assert stages.next_step("actual", 100.0, [50, 80, 90]) == stages.Step("actual", 100, ())


def test_a_forecast_is_back_only_well_below_its_stage() -> None:
    assert not stages.is_over("forecast", 80, 76.0)
    assert stages.is_over("forecast", 80, 74.9)
    assert stages.is_over("actual", 80, 79.9)
    assert not stages.is_over("forecast", 80, None)


@pytest.mark.parametrize(("limit", "probability"), [(8.0, 0.9), (10.0, 0.5), (16.0, 0.1), (1e9, 0.0)])
def test_the_given_quantiles_are_the_distributions(limit: float, probability: float) -> None:
    assert Spread(10.0, 8.0, 16.0).above(limit) == pytest.approx(probability, abs=1e-12)


def test_what_is_spent_stays_spent() -> None:
    end = Spread(10.0, 8.0, 12.0)
    assert probability_of_breaking(end, 11.0, 11.0) == 1.0
    knowing = probability_of_breaking(end, 10.0, 12.0)
    assert knowing == pytest.approx(0.1 / 0.5)
    assert probability_of_breaking(exactly(4.0), 3.0, 5.0) == 0.0
    assert probability_of_breaking(exactly(6.0), 3.0, 5.0) == 1.0
    assert probability_of_breaking(exactly(2.0), 3.0, 5.0) == 0.0


AMOUNTS = st.floats(0, 1e6)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_probability_is_one_and_falls_with_the_limit(
    a: float, b: float, c: float, spent: float, low: float, more: float
) -> None:
    p10, point, p90 = sorted((a, b, c))
    end = Spread(point, p10, p90)
    nearer, farther = (probability_of_breaking(end, spent, limit) for limit in (low, low + more))
    assert 0 <= farther <= nearer <= 1


@pytest.mark.parametrize(
    "doc",
    [
        None,
        3,
        {},
        {"point": 1.0, "p10": 0.5},
        {"point": math.nan, "p10": 0, "p90": 2},
        {"point": "1", "p10": 1, "p90": 2},
    ],
)
def test_a_forecast_that_is_none_is_not_known(doc: Any) -> None:
    assert Spread.read(doc) is None


def test_tries_come_slower_and_slower_and_end() -> None:
    waits = [backoff_s(attempt, 0.999999) for attempt in range(1, MAX_ATTEMPTS)]
    assert waits == sorted(waits)
    assert (round(waits[0]), round(waits[1]), round(waits[-1])) == (2, 4, LONGEST_S)
    assert backoff_s(3, 0.0) == pytest.approx(4.0)
    assert 2 * 3600 < sum(waits) < 4 * 3600
