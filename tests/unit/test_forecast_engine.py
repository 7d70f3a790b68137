"""A series' forecasts: due when, judged how, and never before its windows are closed."""

from __future__ import annotations

import numpy as np
import pytest

from spark_jobs.forecast.cells import Issued, Joined
from spark_jobs.forecast.engine import Horizons, Series
from spark_jobs.forecast.records import actual_fields, issued_doc, issued_from_doc
from spark_jobs.forecast.series import LEVELS, Observation

MIN = 60_000
T0 = 1_700_000_100_000 // (15 * MIN) * 15 * MIN


def window(place: int, power_w: float = 100.0, energy: bool = True) -> Observation:
    kwh = power_w * 60 / 3.6e6
    return Observation(
        T0 + place * MIN,
        power_w,
        energy_kwh=kwh if energy else None,
        emissions_kg=kwh * 0.4 if energy else None,
    )


def horizons() -> Horizons:
    return Horizons(MIN, (60, 300, 900), (3600,), 900)


def fed(places: range, power_w: float = 100.0) -> tuple[Series, list[Issued], list[Joined]]:
    series, issued, joined = Series("node/n", horizons(), 240), [], []
    for place in places:
        joined += series.close(window(place, power_w))
        issued += series.issue({}, "none", {60: "no model"})
    return series, issued, joined


def test_short_horizons_are_due_at_every_window_and_long_ones_at_each_quarter() -> None:
    _, issued, _ = fed(range(30))
    at = {(i.issued_ms - T0) // MIN for i in issued if i.horizon_s == 3600}
    assert at == {15, 30}
    assert sum(i.horizon_s == 60 for i in issued) == 30
    assert all(i.target_ms > i.issued_ms for i in issued)


def test_a_horizon_that_is_no_multiple_of_the_window_is_left_out() -> None:
    assert Horizons(MIN, (60, 90)).due(T0) == (60,)


def test_each_forecast_meets_the_actual_of_its_own_window() -> None:
    series = Series("node/n", horizons(), 240)
    met: list[Joined] = []
    for place in range(20):
        met += series.close(window(place, 100.0 + place))
        series.issue({}, "none", {})
    for one in met:
        assert one.actual == 100.0 + (one.issued.target_ms - T0) / MIN - 1
    assert {one.issued.horizon_s for one in met} == {60, 300, 900}


def test_a_gap_stays_a_gap() -> None:
    series, _, _ = fed(range(10))
    joined = series.close(window(30))
    assert all(one.issued.target_ms == T0 + 31 * MIN for one in joined)
    later = [series.close(window(place)) for place in range(31, 60)]
    assert all(one.issued.issued_ms <= T0 + 10 * MIN for one in joined)
    assert not [one for batch in later for one in batch if one.energy_kwh is not None]


def test_energy_of_a_span_is_known_only_where_every_window_was_seen() -> None:
    series = Series("node/n", horizons(), 240)
    met: list[Joined] = []
    for place in range(40):
        met += series.close(window(place, energy=place != 20))
        series.issue({}, "none", {})
    for one in met:
        first, last = (one.issued.issued_ms - T0) // MIN, (one.issued.target_ms - T0) // MIN - 1
        if first <= 20 <= last:
            assert one.energy_kwh is None
        else:
            assert one.energy_kwh == pytest.approx(100.0 * one.issued.horizon_s / 3.6e6)


def test_a_constant_series_is_forecast_as_it_is_with_its_energy_and_emissions() -> None:
    _, issued, _ = fed(range(200))
    one = next(i for i in reversed(issued) if i.horizon_s == 900)
    assert one.layers.point == pytest.approx(100.0, rel=1e-6)
    assert one.energy_kwh is not None
    assert one.energy_kwh[0] == pytest.approx(0.025, rel=1e-6)
    assert one.kg_per_kwh == pytest.approx(0.4)
    assert issued_doc(one)["emissions"]["g_per_kwh"] == pytest.approx(400.0)


def test_a_window_is_taken_in_once_and_in_order() -> None:
    series, _, _ = fed(range(10))
    before = series.cells[60].to_doc()
    assert series.close(window(5)) == []
    assert series.issue({}, "none", {}) == []
    assert series.cells[60].to_doc() == before


def test_late_events_correct_the_actual_without_being_learned() -> None:
    series, _, _ = fed(range(30))
    before = series.cells[60].to_doc()
    again = series.correct(window(29, 130.0))
    assert again
    assert {one.actual for one in again} == {130.0}
    assert series.correct(window(29, 130.0)) == []
    assert series.cells[60].to_doc() == before


def test_a_batch_model_moves_the_point_from_the_last_value() -> None:
    series = Series("node/n", horizons(), 240)
    series.close(window(0))
    changes = {60: np.array([-5.0, -2.0, 10.0, 20.0, 30.0])}
    one = next(i for i in series.issue(changes, "v1", {300: "not trained"}) if i.horizon_s == 60)
    assert one.layers.values["batch"] == pytest.approx(110.0)
    assert one.fallback is None
    assert len(one.quantiles) == len(LEVELS)
    other = next(i for i in series.pending[T0 + 6 * MIN])
    assert other.issued.fallback == "not trained"


def test_a_document_gives_back_the_forecast() -> None:
    _, issued, joined = fed(range(30))
    for one in issued:
        assert issued_from_doc(issued_doc(one)) == one
    for met in joined:
        fields = actual_fields(met, issued_doc(met.issued)["issued_at"])
        assert fields["error"] == met.issued.layers.point - met.actual
        assert fields["in_80"] == (met.issued.quantiles[1] <= met.actual <= met.issued.quantiles[3])


def test_what_was_learned_before_is_not_learned_again() -> None:
    series, _, _ = fed(range(20))
    again = Series("node/n", horizons(), 240)
    again.cells = dict(series.cells)
    again.learned_ms = T0 + 20 * MIN
    before = series.cells[60].n
    for place in range(20):
        assert again.close(window(place)) == []
        assert again.issue({}, "none", {}) == []
    assert series.cells[60].n == before
    again.close(window(20))
    assert again.issue({}, "none", {})


def test_memory_is_bounded() -> None:
    series, _, _ = fed(range(4000))
    assert len(series.history) == 240
    assert sum(len(waiting) for waiting in series.pending.values()) < 60
    assert len(series.known) < 60
    assert len(series._day) <= 24 * 60 + 1
