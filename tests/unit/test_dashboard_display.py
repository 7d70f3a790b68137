"""Amounts and names as people read them."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import datetime, timedelta, timezone

import pytest

from dashboard import display, export
from dashboard.display import ENERGY, MASS, scale_for
from dashboard.store.rows import Run
from dashboard.text import for_html, for_plotly, shortened, visible

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("kwh", "shown"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0 kWh"),
        (1.2e-8, "12.0 µWh"),
        (0.000012, "12.0 mWh"),
        (0.9996e-3, "1.00 Wh"),
        (0.5, "500 Wh"),
        (1234.5, "1.23 MWh"),
        (5e9, "5,000 GWh"),
    ],
)
def test_energy_has_the_unit_that_suits_it(kwh: float | None, shown: str) -> None:
    assert display.energy(kwh) == shown


def test_an_axis_has_one_unit_the_one_of_its_largest_value() -> None:
    scale = scale_for(ENERGY, [None, 0.00002, 0.5])
    assert scale.unit == "Wh"
    assert scale.all([None, 0.00002, 0.5]) == [None, pytest.approx(0.02), pytest.approx(500)]


def test_masses_go_from_micrograms_to_tonnes() -> None:
    assert [scale_for(MASS, [kg]).unit for kg in (2e-9, 2e-6, 2e-3, 2, 2000)] == ["µg", "mg", "g", "kg", "t"]
    assert display.co2e(0.076) == "76.0 g CO₂e"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0.25, "250 ms"),
        (0, "0 s"),
        (59.4, "59 s"),
        (300, "5 min"),
        (3661, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float | None, shown: str) -> None:
    assert display.duration(seconds) == shown


def test_rounding_errors_of_a_clock_are_no_milliseconds() -> None:
    assert display.duration(1e-7) == "0 s"
    assert display.duration(0.002) == "2 ms"


def test_a_time_ahead_of_the_clock_is_now() -> None:
    assert display.ago(NOW + timedelta(seconds=30), NOW) == "just now"
    assert display.ago(None, NOW) == "–"


def test_a_share_of_nothing_is_not_known() -> None:
    assert display.share(1.0, 0.0) == "–"
    assert display.share(1.0, 4.0) == "25 %"


def test_a_little_share_is_not_nothing() -> None:
    assert display.share(0.001, 4.0) == "< 1 %"
    assert display.share(0.0, 4.0) == "0 %"


def test_names_lose_no_meaning_in_html_and_plotly() -> None:
    assert for_html('<img src=x onerror="1">') == "&lt;img src=x onerror=&quot;1&quot;&gt;"
    assert for_plotly("<b>$e^x$</b> &lt;") == "&lt;b&gt;&#36;e^x&#36;&lt;/b&gt; &amp;lt;"


def test_characters_that_hide_are_made_visible() -> None:
    assert visible("a\u202eb\x00c\ud800") == "a\ufffdb\ufffdc\ufffd"


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    short = shortened("run-" + "x" * 100 + "-0042", 20)
    assert len(short) == 20
    assert short.startswith("run-")
    assert short.endswith("-0042")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "  ="])
def test_a_text_that_a_spreadsheet_would_run_is_exported_as_text(start: str) -> None:
    table = export.runs_csv([Run(run_id="r", model_name=f'{start}HYPERLINK("http://example.invalid")')])
    row = next(csv.DictReader(io.StringIO(table)))
    assert row["model_name"].startswith("'")


def test_negative_numbers_and_unknown_values_stay_what_they_are() -> None:
    table = export.runs_csv([Run(run_id="r", last_loss=-0.5)])
    row = next(csv.DictReader(io.StringIO(table)))
    assert row["last_loss"] == "-0.5"
    assert row["energy_kwh"] == ""


def test_json_has_null_for_what_is_not_known_and_times_with_zone() -> None:
    (record,) = json.loads(export.runs_json([Run(run_id="=r", started_at=NOW)]))
    assert record["run_id"] == "=r"
    assert record["energy_kwh"] is None
    assert record["started_at"] == "2026-01-31T12:00:00Z"
