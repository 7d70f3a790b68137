"""From documents to dataclasses: what is absent or of another type is not known."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from conf.sections import MongoDB
from dashboard.store import Run, RunFilter, connect
from dashboard.store.fields import date, number, pairs, texts
from dashboard.store.health import to_account, to_rejected
from dashboard.store.nodes import to_node_window
from dashboard.store.runs import query_of, status_of, to_run
from dashboard.store.series import to_point, window_point
from dashboard.store.windows import to_window, width_for
from schemas.errors import PipelineError

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("value", [None, "1", True, math.nan, math.inf, {}])
def test_what_is_no_finite_number_is_not_known(value: object) -> None:
    assert number(value) is None


def test_dates_are_utc() -> None:
    assert date(datetime(2026, 1, 1)) == NOW  # noqa: DTZ001 -- pymongo returns naive times by default
    assert date("2026") is None


def test_an_object_and_its_stored_list_read_the_same() -> None:
    assert pairs({"a.b": 1}) == pairs([{"k": "a.b", "v": 1}]) == (("a.b", "1"),)
    assert pairs("text") == ()
    assert texts([0, None, "x"]) == ("0", "x")


def test_a_bare_summary_is_a_run_of_which_nothing_is_known() -> None:
    run = to_run({"_id": "r"}, NOW)
    assert run.run_id == "r"
    assert run.status == "unknown"
    assert run.energy_kwh is None
    assert run.co2e_per_point_kg is None


@pytest.mark.parametrize(
    ("stored", "age_s", "status"),
    [
        ("running", -1, "running"),
        ("running", 1, "stale"),
        ("running", None, "stale"),
        ("completed", 9e9, "completed"),
    ],
)
def test_stale_is_derived_from_silence(stored: str, age_s: float | None, status: str) -> None:
    last = None if age_s is None else NOW - timedelta(seconds=min(age_s, 1e8))
    assert status_of(stored, last, NOW) == status


@pytest.mark.parametrize(
    ("accuracy", "per_point"),
    [(0.5, 0.02), (50.0, 0.02), (0.0, None), (-1.0, None), (101.0, None), (None, None)],
)
def test_co2e_per_accuracy_point_reads_fractions_and_percent(
    accuracy: float | None, per_point: float | None
) -> None:
    run = Run(run_id="r", emissions_kg=1.0, best_accuracy=accuracy)
    assert run.co2e_per_point_kg == (None if per_point is None else pytest.approx(per_point))


def test_what_a_person_types_is_searched_as_text() -> None:
    query = query_of(RunFilter(text="a.*(b$"), NOW)
    patterns = {clause[name]["$regex"] for clause in query["$and"][0]["$or"] for name in clause}
    assert patterns == {r"a\.\*\(b\$"}
    assert query_of(RunFilter(), NOW) == {}


def test_an_event_without_energy_covers_nothing() -> None:
    point = to_point({"timestamp": NOW, "interval_s": 5.0, "rank": 3})
    assert point is not None
    assert point.covered_s is None
    assert point.producer == "rank 3"
    assert to_point({"interval_s": 5.0}) is None


def test_a_window_is_an_interval_that_ends_with_it() -> None:
    document = {"window_start": NOW, "energy_kwh": 4.0, "covered_s": 45.0, "measurement": "estimated"}
    window = to_window(document, "run", 60)
    assert window is not None
    point = window_point(window)
    assert (point.at, point.covered_s, point.measurement) == (NOW + timedelta(seconds=60), 45.0, "estimated")


@pytest.mark.parametrize(
    ("span_s", "window_s", "at_most", "width"),
    [
        (3600, 60, 400, 60),
        (86_400, 60, 400, 300),
        (86_400, 7, 400, 217),
        (10, 60, 400, 60),
        (4e8, 60, 400, 1_000_020),
    ],
)
def test_windows_are_joined_to_whole_multiples(
    span_s: float, window_s: int, at_most: int, width: int
) -> None:
    found = width_for(span_s, window_s, at_most)
    assert found == width
    assert found % window_s == 0
    assert span_s / found <= at_most


def test_a_node_window_without_a_start_is_left_out() -> None:
    assert to_node_window({"node_id": "n"}, 60) is None
    window = to_node_window({"node_id": "n", "window_start": NOW, "attributed": [{"run_id": "r"}, 3]}, 60)
    assert window is not None
    assert window.attributed[0].energy_kwh is None
    assert len(window.attributed) == 1


def test_an_account_sums_its_reasons_where_no_sum_is_stored() -> None:
    account = to_account({"_id": "t/0", "topic": "t", "rejected": [{"k": "not_finite", "v": 3}]})
    assert account.rejected_total == 3


def test_bytes_that_are_not_text_are_shown_and_cut() -> None:
    rejected = to_rejected({"_id": "t/0/1", "value": b"\xff" + b"a" * 5000})
    assert rejected.value.startswith("\ufffda")
    assert len(rejected.value) == 2000


def test_a_wrong_address_is_named_without_its_password() -> None:
    with pytest.raises(PipelineError) as error:
        connect(MongoDB(uri="mongodb://user:hunter2@host:notaport"))
    assert "hunter2" not in str(error.value)
    assert "JOULE_MONGODB_URI" in str(error.value)
    assert error.value.__cause__ is None
