"""When the backtest trains, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from spark_jobs.forecast.backtest.nodes import Plan, scored
from spark_jobs.forecast.backtest.served import served, served_in_turn
from spark_jobs.forecast.backtest.table import Forecast, Table, table_of
from spark_jobs.forecast.backtest.traces import Trace, TraceError
from spark_jobs.forecast.series import LEVELS, Observation

MINUTE = 60_000


def trace(minutes: list[int]) -> Trace:
    """A node whose power counts up."""
    observations = tuple(Observation(m * MINUTE, 100.0 + m) for m in minutes)
    return Trace("node/n", observations, tuple("a" if m < 20 else "b" for m in minutes))


def test_trainings_before_the_test_end_where_it_begins() -> None:
    issued = np.arange(1000) * float(MINUTE)
    plan = Plan.of(issued, 600 * MINUTE, seed=1)
    assert [r.at_ms // MINUTE for r in (*plan.warm, *plan.test)] == [300, 450, 600, 960]
    assert plan.warm[-1].until_ms == plan.test_ms


@pytest.mark.parametrize("test_ms", [0, 10**12], ids=["nothing to learn from", "nothing to judge"])
def test_a_trace_that_is_too_short_is_said(test_ms: int) -> None:
    with pytest.raises(TraceError, match="--history"):
        Plan.of(np.arange(1000) * float(MINUTE), test_ms, seed=1)


def test_a_target_in_a_gap_is_not_judged() -> None:
    table = table_of(trace([*range(10), *range(15, 30)]), MINUTE, (60, 300))
    assert np.isnan(table.actual[60][9])
    assert np.isnan(table.actual[300][9])
    assert table.changes[300][10] == 5.0
    naive = Forecast(table.last, np.repeat(table.last[:, None], len(LEVELS), axis=1))
    chosen = [np.ones(len(table.last), dtype=bool)]
    rows = scored([table], {"naive": [naive], "seasonal_naive": [naive]}, 60, "node_power", chosen)
    by_group = {row["group"]: row["n"] for row in rows}
    assert by_group == {"all": 23, "a": 14, "b": 9}


def test_what_is_served_meets_its_actual_and_no_other() -> None:
    table = table_of(trace([*range(30), *range(40, 50)]), MINUTE, (60, 300))
    found, _ = served(table, {})
    for h, of in found.items():
        assert np.array_equal(np.isfinite(of.point), np.isfinite(table.actual[h]))


def sawtooth(name: str, group: str, from_minute: int) -> Table:
    minutes = range(from_minute, from_minute + 60)
    observations = tuple(Observation(m * MINUTE, 100.0 + 20.0 * (m % 4)) for m in minutes)
    return table_of(Trace(name, observations, (group,) * 60), MINUTE, (60,))


@pytest.mark.parametrize(
    ("group", "from_minute", "better"),
    [("a", 60, True), ("a", 59, False), ("b", 60, False)],
    ids=["after it", "while it goes on", "of another group"],
)
def test_a_run_starts_with_what_the_last_one_of_its_group_had_learned(
    group: str, from_minute: int, better: bool
) -> None:
    first, second = sawtooth("run/1", "a", 0), sawtooth("run/2", group, from_minute)
    alone, _ = served(second, {})
    found = served_in_turn([second, first], [{}, {}])
    start = slice(1, 10)
    error = np.abs(found[0][60].point - second.actual[60])[start].mean()
    fresh = np.abs(alone[60].point - second.actual[60])[start].mean()
    assert error < 0.7 * fresh if better else error == fresh
