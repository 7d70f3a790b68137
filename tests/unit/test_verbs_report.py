"""Reports: whole windows, sums over sums, a total that is the sum, nothing unknown shown as zero."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta, timezone

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from dashboard.store import Run, node_factors
from dashboard.store.node_factors import NodeFactors
from dashboard.store.reader import StoreAway
from joulestream.reports import render
from joulestream.reports.compare import comparison
from joulestream.reports.reading import when
from joulestream.reports.report import Line, Range, Report, total_of
from joulestream.reports.units import in_fitting_units

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
TIMES = st.integers(-(10**11), 10**11).map(lambda ms: NOW + timedelta(milliseconds=ms))


def line(key, kwh=None, covered_s=None, power_kwh=0.0, runs=(), counted=1):
    sums = {"energy_kwh": kwh, "covered_s": covered_s}
    known = {name: value for name, value in sums.items() if value is not None}
    return Line(key, known, power_kwh, counted, runs, ("table",))


def report_of(*lines, by="user"):
    return Report(by, Range(None, None, 60), None, None, lines, total_of(lines))


@given(TIMES, st.sampled_from([1, 60, 300, 3600, 86_400]))
def test_range_is_the_smallest_of_whole_windows_around_what_was_asked(at, window_s):
    found = Range.around(at, at, window_s)
    width = timedelta(seconds=window_s)
    assert found.start <= at <= found.end
    assert at - found.start < width
    assert found.end - at < width
    assert int(found.start.timestamp()) % window_s == 0
    assert int(found.end.timestamp()) % window_s == 0


def test_no_bounds_is_no_condition():
    assert Range.around(None, None, 60).query == {}


def test_mean_power_is_energy_over_covered_time_and_not_a_mean_of_means():
    lines = [line("a", 1.0, 3600.0, 1.0), line("b", 1.0, 36_000.0, 1.0)]
    assert [entry.mean_power_w for entry in lines] == pytest.approx([1000.0, 100.0])
    assert total_of(lines).mean_power_w == pytest.approx(2000.0 / 11)


def test_energy_of_unknown_duration_has_no_part_in_the_mean_power():
    assert line("a", 5.0, 3600.0, 1.0).mean_power_w == pytest.approx(1000.0)
    assert line("a", 5.0).mean_power_w is None


def test_total_counts_a_run_of_two_lines_once():
    total = total_of([line("a", 1.0, runs=("r1", "r2")), line("b", 2.0, runs=("r2",))])
    assert total.runs == ("r1", "r2")
    assert total.sums["energy_kwh"] == 3.0


def test_what_nobody_knows_is_not_zero():
    document = render.document(report_of(line("a"), line("b")))
    assert document["total"]["energy_kwh"] is None
    assert document["rows"][0]["mean_power_w"] is None


def test_unknown_key_is_null_in_json_and_named_in_tables():
    report = report_of(line(None, 1.0))
    assert render.document(report)["rows"][0]["key"] is None
    assert render.table_rows(report)[0]["user"] == "(not known)"


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_last_table_row_is_the_sum_of_the_others(values):
    rows = render.table_rows(report_of(*(line(str(i), v) for i, v in enumerate(values))))
    assert rows[-1]["user"] == "total"
    assert rows[-1]["kWh"] == pytest.approx(sum(row["kWh"] for row in rows[:-1]), rel=1e-9)


def test_csv_keeps_formulas_from_spreadsheets_and_marks_the_total():
    text = render.csv_text(report_of(line('=HYPERLINK("x")', 1.0), line(None, 2.0)))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["user"] == '\'=HYPERLINK("x")'
    assert rows[1]["user"] == ""
    assert [row["line"] for row in rows] == ["key", "key", "total"]
    assert float(rows[2]["energy_kwh"]) == 3.0


def test_an_empty_report_says_that_there_are_no_windows():
    report = report_of()
    assert render.table_rows(report) == []
    assert "no windows" in render.heading(report)
    assert render.document(report)["rows"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=timezone.utc)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=timezone.utc)),
        ("now", NOW),
        ("90m", NOW - timedelta(minutes=90)),
        ("7d", NOW - timedelta(days=7)),
    ],
)
def test_times_that_people_type(text, expected):
    assert when(text, NOW, "--from") == expected


@pytest.mark.parametrize("text", ["soon", "", "2026-13-01", "99999999999999999d", "7y", "²d"])
def test_what_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(typer.BadParameter, match=r"2026-01-31|give less"):
        when(text, NOW, "--from")


def test_comparison_shows_differences_with_ratios_to_the_first_run():
    base = Run(run_id="a", energy_kwh=2.0, model_name="m", hyperparameters=(("lr", "0.1"),))
    other = Run(run_id="b", energy_kwh=3.0, model_name="m", hyperparameters=(("lr", "0.2"),))
    rows = {row["field"]: row for row in comparison([base, other], only_differences=True)}
    assert rows["energy_kwh"]["ratios"] == [1.0, 1.5]
    assert rows["hyperparameters.lr"]["values"] == ["0.1", "0.2"]
    assert "model_name" not in rows
    assert "model_name" in {row["field"] for row in comparison([base, other], only_differences=False)}


def test_no_ratio_to_what_is_zero_or_not_known():
    base, other = Run(run_id="a", energy_kwh=0.0), Run(run_id="b", energy_kwh=3.0, emissions_kg=1.0)
    rows = {row["field"]: row for row in comparison([base, other], only_differences=True)}
    assert rows["energy_kwh"]["ratios"] == [None, None]
    assert rows["emissions_kg"]["ratios"] == [None, None]


def sourced(key: str, source: str) -> Line:
    return Line(key, {"energy_kwh": 1.0}, 0.0, 1, (), (source,))


def test_sources_stand_once_below_the_table_and_are_marked_in_its_lines():
    report = report_of(sourced("a", "table B"), sourced("b", "table A"), sourced("c", "table B"))
    rows = render.table_rows(report)
    assert [row["intensity"] for row in rows] == [["[2]"], ["[1]"], ["[2]"], ["[1]", "[2]"]]
    assert render.sources_text(report) == "[1] table A\n[2] table B\n"


def test_a_report_of_pods_without_pods_says_why():
    nodes_only = Report("pod", Range(None, None, 60), NOW, NOW, (), total_of([]))
    assert "Kepler" in render.nothing(nodes_only)
    assert "nothing was recorded" in render.nothing(report_of(by="pod"))


def test_a_table_shows_all_energies_in_one_unit_that_fits():
    rows = [{"run": "a", "kWh": 1.5e-5, "idle kWh": 2e-9, "kg CO2e": 0.3}, {"run": "b", "kWh": None}]
    assert in_fitting_units(rows) == [
        {"run": "a", "mWh": pytest.approx(15), "idle mWh": pytest.approx(2e-3), "g CO2e": pytest.approx(300)},
        {"run": "b", "mWh": None},
    ]


def test_a_table_without_values_keeps_the_stored_units():
    assert in_fitting_units([{"kWh": None, "kg CO2e": 0.0}]) == [{"kWh": None, "kg CO2e": 0.0}]
    assert in_fitting_units([]) == []


PARIS, NOWHERE = "table A, country FRA, 2023", "the node names no region"


def report_of_nodes() -> Report:
    known = Line("paris", {"energy_kwh": 2.0, "emissions_kg": 0.1}, 0.0, 1, (), (PARIS,))
    return report_of(known, Line("nowhere", {"energy_kwh": 1.0}, 0.0, 1, lacks=(NOWHERE,)), by="node")


def test_co2e_of_a_node_has_its_source_or_says_why_it_is_not_known():
    paris, nowhere, total = render.table_rows(report_of_nodes())
    assert (paris["kg CO2e"], nowhere["kg CO2e"], total["kg CO2e"]) == (0.1, None, 0.1)
    assert [row["intensity"] for row in (paris, nowhere, total)] == [["[1]"], ["[2]"], ["[1]", "[2]"]]
    said = f"[1] {PARIS}\n[2] CO2e not known and not in the total: {NOWHERE}\n"
    assert render.sources_text(report_of_nodes()) == said


def test_json_and_csv_of_nodes_tell_unknown_co2e_from_none():
    document = render.document(report_of_nodes())
    paris, nowhere = document["rows"]
    assert (paris["emissions_kg"], paris["carbon_intensity_sources"]) == (0.1, [PARIS])
    assert (nowhere["emissions_kg"], nowhere["carbon_intensity_sources"]) == (None, [])
    assert (paris["emissions_not_known"], nowhere["emissions_not_known"]) == ([], [NOWHERE])
    assert (document["total"]["emissions_kg"], document["total"]["emissions_not_known"]) == (0.1, [NOWHERE])
    rows = list(csv.DictReader(io.StringIO(render.csv_text(report_of_nodes()))))
    assert [row["emissions_kg"] for row in rows] == ["0.1", "", "0.1"]
    assert [row["carbon_intensity_sources"] for row in rows] == [PARIS, "", PARIS]
    assert [row["emissions_not_known"] for row in rows] == ["", NOWHERE, NOWHERE]


class SlowReader:
    """Gives a sample of France, each after `takes_s`; counts what it is asked."""

    def __init__(self, takes_s: float, away: bool = False) -> None:
        self.takes_s, self.away, self.now_s, self.n_reads = takes_s, away, 0.0, 0

    def find(self, *asked: object, limit: int, budget_s: float) -> list[dict[str, str]]:
        self.n_reads += 1
        self.now_s += self.takes_s
        if self.away:
            raise StoreAway("no answer")
        return [{"region_iso": "FRA"}] if limit == 1 and budget_s > 0 else []


def test_regions_are_looked_for_in_bounded_time_and_the_rest_says_so():
    reader = SlowReader(node_factors.LOOK_S / 2)
    factors = NodeFactors(reader, {"own": "DEU"}, lambda: reader.now_s)
    found = [factors.of(node) for node in ("a", "b", "c", "own")]
    assert [factor if isinstance(factor, str) else factor.zone for factor in found] == [
        *("FRA", "FRA", node_factors.TOO_SLOW, "DEU")
    ]
    assert reader.n_reads == 2


def test_a_read_of_samples_that_gets_no_answer_does_not_end_the_report():
    reader = SlowReader(1.0, away=True)
    factors = NodeFactors(reader, {}, lambda: reader.now_s)
    assert [factors.of(node) for node in ("a", "b")] == [node_factors.TOO_SLOW] * 2
    assert reader.n_reads == 1
