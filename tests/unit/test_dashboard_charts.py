"""Charts: pure functions, one unit per axis, names as text, a summary and a table each."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from dashboard.charts import fleet, system
from dashboard.charts import run as run_charts
from dashboard.charts.base import COLOURS, Chart, colour, dash
from dashboard.power import Segment, Step
from dashboard.store.rows import Energy, Group, NodeWindow, Progress, Run, RunPoint, Window

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
MIN = timedelta(minutes=1)
MARKUP = '<img src=x onerror="a">$x$'


def window(minute: int, kwh: float | None, key: str | None = None) -> Window:
    start = T0 + minute * MIN
    return Window(dimension="all", key=key, start=start, end=start + MIN, energy_kwh=kwh, n_events=1)


def text_of(chart: Chart) -> str:
    """Everything in a figure that Plotly could read as markup."""
    return json.dumps(json.loads(chart.figure.to_json()), ensure_ascii=False)


def test_power_energy_and_loss_have_an_axis_each() -> None:
    pieces = [
        Segment(T0, T0 + MIN, 0.5),
        Segment(T0 + MIN, T0 + 2 * MIN, None),
        Segment(T0 + 2 * MIN, T0 + 3 * MIN, 0.2, True),
    ]
    points = [
        RunPoint(at=T0 + MIN, energy_kwh=8e-6, covered_s=60, loss=2.0),
        RunPoint(at=T0 + 3 * MIN, energy_kwh=3e-6, covered_s=60, loss=1.0),
    ]
    chart = run_charts.over_time(pieces, points, "loss")
    titles = [chart.figure.layout[axis].title.text for axis in ("yaxis", "yaxis2", "yaxis3")]
    assert titles == ["Power (mW)", "Energy so far (mWh)", "Loss"]
    names = {trace.name for trace in chart.figure.data}
    assert names == {"Power, measured", "Power, estimated", "Energy so far", "Loss"}
    energy = next(trace for trace in chart.figure.data if trace.name == "Energy so far")
    assert list(energy.y) == [pytest.approx(8), None, pytest.approx(11)]
    assert "1 gap, 1 min in all" in chart.summary
    assert "1 min estimated" in chart.summary


def test_an_estimated_span_differs_by_more_than_colour() -> None:
    pieces = [Segment(T0, T0 + MIN, 1.0), Segment(T0 + MIN, T0 + 2 * MIN, 1.0, True)]
    traces = run_charts.over_time(pieces, [], "loss").figure.data
    assert {trace.line.dash for trace in traces[:2]} == {"solid", "dot"}


def test_dots_are_left_to_runs_that_have_both_kinds_of_power() -> None:
    traces = run_charts.over_time([Segment(T0, T0 + MIN, 1.0, True)], [], "loss").figure.data
    assert (traces[0].name, traces[0].line.dash) == ("Power, estimated", "solid")


def test_a_run_that_logs_no_loss_has_no_empty_row_and_its_axis_is_time() -> None:
    points = [RunPoint(at=T0 + MIN, energy_kwh=8e-6, covered_s=60)]
    figure = run_charts.over_time([Segment(T0, T0 + MIN, 0.5)], points, "loss").figure
    assert {trace.name for trace in figure.data} == {"Power, measured", "Energy so far"}
    assert (figure.layout.xaxis2.title.text, figure.layout.xaxis2.type) == ("Event time (UTC)", "date")
    assert "yaxis3" not in figure.layout
    by_step = run_charts.over_progress([Step(1, 0.5, 100.0, None, 0.9, False)], "step", "loss").figure
    assert by_step.layout.xaxis2.title.text == "Step"
    assert "yaxis3" not in by_step.layout


def test_accuracy_has_the_height_of_its_row_and_loss_begins_at_zero() -> None:
    step = Step(1, 0.5, 100.0, 2.0, 0.97, False)
    modes = [
        run_charts.over_progress([step], "epoch", measure).figure.layout.yaxis3.rangemode
        for measure in ("accuracy", "loss")
    ]
    assert modes == ["normal", "tozero"]


def test_counts_of_rejected_messages_stand_upright_beside_their_bars() -> None:
    bar = system.rejected_by_reason([("too_deep", 3)]).figure.data[0]
    assert (bar.textposition, bar.textangle, bar.text) == ("outside", 0, ("3",))


def test_progress_is_drawn_over_its_own_axis() -> None:
    steps = [Step(1, 0.5, 100.0, 2.0, None, False), Step(2, 0.5, 90.0, 1.0, None, False)]
    chart = run_charts.over_progress(steps, "epoch", "loss")
    assert chart.figure.layout.xaxis3.title.text == "Epoch"
    assert "1.00 kWh used" in chart.summary


def test_devices_that_do_not_add_up_leave_an_other() -> None:
    chart = run_charts.devices(Energy(energy_kwh=10.0, cpu_energy_kwh=4.0, gpu_energy_kwh=5.0))
    assert chart is not None
    assert list(chart.table["Device"]) == ["CPU", "GPU", "Other"]
    assert run_charts.devices(Energy(energy_kwh=10.0)) is None


def test_windows_that_can_still_grow_are_hatched() -> None:
    chart = fleet.energy_over_time([window(0, 1.0), window(9, 2.0)], T0 + 5 * MIN)
    assert [trace.name for trace in chart.figure.data] == ["final", "can still grow"]
    assert chart.figure.data[1].marker.pattern.shape == "/"


def test_names_are_text_in_every_chart() -> None:
    groups = [Group(key=MARKUP, energy_kwh=1.0)]
    run = Run(run_id=MARKUP, energy_kwh=1.0, best_accuracy=0.5)
    batch = Progress(query=MARKUP, at=T0, lag=1)
    charts = [
        fleet.by_group(groups, "user"),
        fleet.groups_over_time([window(0, 1.0, MARKUP)], groups, "user"),
        fleet.accuracy_and_energy([run]),
        fleet.measure_over_energy({MARKUP: [RunPoint(at=T0, energy_kwh=1.0, loss=1.0)]}, "loss"),
        system.rejected_by_reason([(MARKUP, 1)]),
        system.lag({MARKUP: [batch]}),
    ]
    for chart in charts:
        assert "<img" not in text_of(chart)
        assert "$x$" not in text_of(chart)
        assert "&lt;img" in text_of(chart)


def test_the_others_are_summed_and_nothing_is_lost() -> None:
    groups = [Group(key=f"u{n}", energy_kwh=float(50 - n)) for n in range(40)]
    chart = fleet.by_group(groups, "user")
    assert sum(chart.table["Energy (kWh)"]) == pytest.approx(sum(g.energy_kwh or 0 for g in groups))
    stacked = fleet.groups_over_time([window(0, g.energy_kwh, g.key) for g in groups], groups, "user")
    assert sum(sum(trace.y) for trace in stacked.figure.data) == pytest.approx(
        sum(g.energy_kwh or 0 for g in groups) / 1e3
        if "MWh" in stacked.figure.layout.yaxis.title.text
        else sum(g.energy_kwh or 0 for g in groups)
    )


def test_the_pareto_line_has_the_runs_that_no_other_beats() -> None:
    runs = [
        Run(run_id="cheap", energy_kwh=1.0, best_accuracy=0.8),
        Run(run_id="worse", energy_kwh=2.0, best_accuracy=0.7),
        Run(run_id="best", energy_kwh=3.0, best_accuracy=0.9),
        Run(run_id="same as best, dearer", energy_kwh=4.0, best_accuracy=0.9),
        Run(run_id="unknown", energy_kwh=0.1),
    ]
    assert [run.run_id for run in fleet.pareto(runs)] == ["cheap", "best"]
    assert "Not drawn" in fleet.accuracy_and_energy(runs).summary


def test_node_power_is_stacked_and_adds_up() -> None:
    node = NodeWindow(
        node_id="n", start=T0, end=T0 + MIN, covered_s=60.0, energy_kwh=0.006, attributed_kwh=0.003,
        idle_kwh=0.002, unattributed_kwh=0.001,
    )  # fmt: skip
    chart = system.node_power([node])
    assert sum(trace.y[0] for trace in chart.figure.data) == pytest.approx(360)
    assert chart.figure.layout.barmode == "stack"


def test_what_is_missing_is_none_and_not_zero() -> None:
    chart = fleet.energy_over_time([window(0, 1.0), window(1, None)], None)
    assert chart.table["Energy (kWh)"] == [1.0, None]


def test_empty_data_makes_charts_with_a_word_and_no_error() -> None:
    for chart in (
        run_charts.over_time([], [], "loss"),
        run_charts.over_progress([], "step", "accuracy"),
        fleet.energy_over_time([], None),
        fleet.by_group([], "user"),
        fleet.groups_over_time([], [], "user"),
        fleet.accuracy_and_energy([]),
        fleet.measure_over_energy({}, "loss"),
        system.node_power([]),
        system.rejected_by_reason([]),
        system.lag({}),
    ):
        assert chart.summary


def test_ten_lines_differ_by_colour_and_dash_together() -> None:
    assert len({(colour(n), dash(n)) for n in range(10)}) == 10
    assert len(set(COLOURS)) == 7


@pytest.mark.parametrize(
    "chart",
    [
        fleet.energy_over_time([window(0, 1.0)], T0),
        fleet.groups_over_time([window(0, 1.0, "ada")], [Group(key="ada", energy_kwh=1.0)], "user"),
        system.node_power([NodeWindow(start=T0, end=T0 + MIN, energy_kwh=1.0, covered_s=60.0)]),
        system.lag({"node": [Progress(query="node", at=T0, lag=0)]}),
    ],
    ids=["energy", "groups", "node", "lag"],
)
def test_an_axis_of_time_names_its_zone(chart: Chart) -> None:
    assert chart.figure.layout.xaxis.title.text.endswith("(UTC)")


def test_a_group_too_small_to_be_seen_has_its_energy_beside_it() -> None:
    groups = [Group(key="a", energy_kwh=1000.0), Group(key="b", energy_kwh=1e-9)]
    chart = fleet.by_group(groups, "user")
    texts = next(trace for trace in chart.figure.data if trace.type == "scatter" and trace.mode == "text")
    assert [text.strip() for text in texts.text] == ["1.00 MWh", "1.00 µWh"]
    assert chart.figure.layout.xaxis.range[1] > 1.0


def test_lag_is_counted_in_whole_messages_above_the_frame() -> None:
    axis = system.lag({"node": [Progress(query="node", at=T0, lag=0)]}).figure.layout.yaxis
    assert axis.tickformat == ",d"
    assert axis.range[0] < 0 < 1 < axis.range[1]
    assert system.lag({"node": [Progress(query="node", at=T0, lag=99)]}).figure.layout.yaxis.range is None


def test_a_constant_power_is_no_span() -> None:
    windows = [
        NodeWindow(start=T0 + n * MIN, end=T0 + (n + 1) * MIN, energy_kwh=1.0, covered_s=60.0) for n in (0, 1)
    ]
    assert system.node_power(windows).summary == "60.0 kW over 2 windows of 1 min."


@pytest.mark.parametrize(("factor", "kind"), [(2.0, None), (1000.0, "log")])
def test_what_the_energy_bought_is_drawn_by_decades_where_energies_are_far_apart(
    factor: float, kind: str | None
) -> None:
    series = {
        name: [
            RunPoint(at=T0, energy_kwh=kwh, accuracy=0.5),
            RunPoint(at=T0 + MIN, energy_kwh=kwh, accuracy=0.9),
        ]
        for name, kwh in (("a", 1.0), ("b", factor))
    }
    axis = fleet.measure_over_energy(series, "accuracy").figure.layout.xaxis
    assert axis.type == kind
    assert ("logarithmic" in axis.title.text) is (kind == "log")
