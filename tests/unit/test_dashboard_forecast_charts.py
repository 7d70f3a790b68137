"""Charts of forecasts and budgets: gaps stay gaps, intervals are areas, names are text, one unit per axis."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from dashboard.charts import budgets as budget_charts
from dashboard.charts import forecast as charts
from dashboard.charts import run_forecast
from dashboard.charts.base import Chart
from dashboard.store.budgets import Budget, Status
from dashboard.store.forecast_rows import EpochForecast, Forecast, Past, PastSeries, RunForecast, Score, Span

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
MIN = timedelta(minutes=1)
MARKUP = '<img src=x onerror="a">$x$'


def ahead(minutes: int, point: float, spread: float = 10.0) -> Forecast:
    return Forecast(
        issued_at=T0,
        target_at=T0 + minutes * MIN,
        horizon_s=60 * minutes,
        point=point,
        p05=point - 2 * spread,
        p10=point - spread,
        p90=point + spread,
        p95=point + 2 * spread,
        last_value=100.0,
    )


def past(minute: int, actual: float | None, batch: float = 0.6) -> Past:
    weights = (("batch", batch), ("last", 1 - batch))
    return Past(
        at=T0 + minute * MIN,
        n=1,
        n_joined=1,
        point=100.0,
        p10=90.0,
        p90=110.0,
        actual=actual,
        weights=weights,
    )


def trace(chart: Chart, name: str) -> object:
    return next(trace for trace in chart.figure.data if trace.name == name)


def test_the_fan_begins_at_the_last_value_and_widens_to_its_quantiles() -> None:
    chart = charts.fan([(T0 - MIN, 90.0), (T0, 100.0)], [ahead(1, 101.0), ahead(5, 110.0)])
    forecast = trace(chart, "Forecast")
    assert list(forecast.y) == [100.0, 101.0, 110.0]
    band = trace(chart, "90 % interval")
    assert list(band.y) == [100.0, 81.0, 90.0, 130.0, 121.0, 100.0, None]
    assert chart.figure.layout.yaxis.title.text == "Power (W)"
    assert "in 5 min 110 W (80 %: 100 W to 120 W)" in chart.summary
    assert list(chart.table["Horizon"]) == ["1 min", "5 min"]


def test_a_fan_without_forecasts_says_so() -> None:
    assert "Nothing is forecast" in charts.fan([(T0, 100.0)], []).summary


def test_power_is_drawn_in_one_unit_scaled_to_the_data() -> None:
    chart = charts.fan([(T0, 2000.0)], [ahead(1, 2500.0)])
    assert chart.figure.layout.yaxis.title.text == "Power (kW)"
    assert list(trace(chart, "Actual").y) == [2.0]
    assert chart.table["Point (kW)"] == [2.5]


def test_a_gap_breaks_lines_and_intervals() -> None:
    minutes = [0, 1, 2, 3, 9, 10, 11]
    chart = charts.against_actuals(PastSeries(points=tuple(past(m, 95.0) for m in minutes), width_s=60))
    actual = trace(chart, "Actual")
    assert list(actual.y) == [95.0] * 4 + [None] + [95.0] * 3
    assert next(at for at, y in zip(actual.x, actual.y, strict=True) if y is None) < T0 + 4 * MIN
    assert sum(y is None for y in trace(chart, "80 % interval").y) == 2
    assert "1 gap" in chart.summary


def test_an_actual_that_is_not_known_is_a_hole_not_zero() -> None:
    chart = charts.against_actuals(PastSeries(points=(past(0, 90.0), past(1, None), past(2, 92.0))))
    assert list(trace(chart, "Actual").y) == [90.0, None, 92.0]
    assert not trace(chart, "Actual").connectgaps


def test_forecasts_every_quarter_of_an_hour_are_no_gaps() -> None:
    points = tuple(past(m, 95.0) for m in range(0, 150, 15))
    assert len(charts.contiguous(points)) == 1


def test_layers_differ_by_more_than_colour_and_drifts_are_marked() -> None:
    series = PastSeries(points=(past(0, 90.0, 0.6), past(1, 91.0, 0.25)))
    chart = charts.weights(series, [T0 + MIN])
    lines = [t.line.dash for t in chart.figure.data]
    assert len(set(lines)) == len(lines) == 2
    assert list(trace(chart, "Batch model").y) == [60.0, 25.0]
    assert [a.text for a in chart.figure.layout.annotations] == ["drift"]
    assert "batch model 25 %, last value 75 %" in chart.summary
    assert "Drift alarm at 2026-01-01 00:01:00 UTC" in chart.summary


def test_errors_stand_beside_strong_naive() -> None:
    score = Score(n=10, n_seasonal=10, served_sum=80.0, last_sum=150.0, seasonal_sum=100.0)
    chart = charts.errors({"hour": score, "7 d": Score()})
    assert list(trace(chart, "Served").y) == [8.0]
    assert list(trace(chart, "Strong naive").y) == [10.0]
    assert chart.table["Better naive"] == ["seasonal", None]
    assert chart.table["Ratio"] == [pytest.approx(0.8), None]
    assert "0.800 of strong naive (10 forecasts)" in chart.summary


def budget(name: str, limit: float, spent: float | None, point: float | None) -> Budget:
    end = None if point is None else Span(point=point, p10=0.9 * point, p90=1.2 * point)
    return Budget(
        name=name, limit=limit, unit="kWh", status=Status(actual=spent, forecast=end, probability=0.7)
    )


def test_a_budget_is_drawn_in_percent_of_its_limit() -> None:
    chart = budget_charts.bars([budget("a", 10.0, 4.0, 8.0), budget("b", 2.0, None, None)])
    spent, more = trace(chart, "Spent"), trace(chart, "Expected until the end")
    assert (list(spent.x), list(spent.y)) == ([40.0], [0])
    assert (list(more.base), list(more.x)) == ([40.0], [40.0])
    assert more.marker.pattern.shape == "/"
    assert 0 < spent.width == more.width < 1
    assert [line.x0 for line in chart.figure.layout.shapes] == [50, 80, 90, 100]
    assert chart.table["Spent (%)"] == [40.0, None]
    assert "2 budgets, 2 at risk" in chart.summary


def test_a_budget_far_beyond_its_limit_is_cut_and_says_so() -> None:
    chart = budget_charts.bars([budget("a", 1.0, 1e12, 1e13)])
    end = chart.figure.layout.xaxis.range[1]
    assert max(trace(chart, "Spent").x) <= 2 * end <= 500
    assert list(trace(chart, "Spent").customdata) == [1e14]
    assert "cut" in chart.summary


def test_names_of_budgets_are_text() -> None:
    text = json.dumps(json.loads(budget_charts.bars([budget(MARKUP, 1.0, 0.5, 0.6)]).figure.to_json()))
    assert "<img" not in text
    assert "$x$" not in text
    assert "&lt;img" in text


@pytest.mark.parametrize(("n", "filled"), [(1, False), (2, False), (5, True)])
def test_few_epochs_have_bars_and_many_have_a_band(n: int, filled: bool) -> None:
    history = tuple(
        EpochForecast(epoch=e, energy_kwh=Span(point=1.0, p10=0.8, p90=1.3)) for e in range(1, n + 1)
    )
    chart = run_forecast.by_epoch(RunForecast(history=history, actual_energy_kwh=1.1))
    names = [t.name for t in chart.figure.data]
    assert ("80 % interval" in names) is filled
    error = trace(chart, "Forecast at completion").error_y
    assert (error.array is not None) is not filled
    assert list(trace(chart, "Actual").y) == [1.1, 1.1]
    assert "it was 1.10 kWh" in chart.summary


def test_an_axis_of_one_forecast_spans_minutes_and_it_is_counted_as_one() -> None:
    series = PastSeries(points=(past(0, 99.0),), width_s=60)
    chart = charts.against_actuals(series)
    for figure in (chart.figure, charts.weights(series).figure):
        start, end = figure.layout.xaxis.range
        assert (start, end) == (T0 - 5 * MIN, T0 + 5 * MIN)
    assert chart.summary == "1 forecast, of which 1 has its actual."
    long = charts.against_actuals(PastSeries(points=tuple(past(m, 99.0) for m in range(60)), width_s=60))
    assert long.figure.layout.xaxis.range is None


def test_errors_are_written_without_the_unit_that_the_axis_has() -> None:
    score = Score(n=1, served_sum=0.106, last_sum=0.106, seasonal_sum=0.106)
    chart = charts.errors({"hour": score})
    assert [list(bars.text) for bars in chart.figure.data] == [["106"], ["106"]]
    assert chart.figure.layout.yaxis.title.text == "Mean absolute error (mW)"
    assert "(1 forecast)" in chart.summary


def test_a_run_with_few_forecasts_has_ticks_at_its_epochs_only() -> None:
    history = tuple(EpochForecast(epoch=e, at=T0, energy_kwh=Span(point=1.0)) for e in (1, 2))
    chart = run_forecast.by_epoch(RunForecast(history=history))
    assert list(chart.figure.layout.xaxis.tickvals) == [1, 2]
