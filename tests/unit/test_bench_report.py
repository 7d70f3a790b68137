"""From measurements to what is said of them: percentiles, rates, ratios, targets."""

from __future__ import annotations

from typing import Any

import pytest

from bench.pipeline.report import (
    Batch,
    Target,
    latencies,
    percentile,
    ratios,
    steady_rate,
    summary,
    table,
)

RATES: dict[str, float | None] = {
    "read": 100_000.0,
    "parse": 40_000.0,
    "windows": 30_000.0,
    "end_to_end": 5_000.0,
    "store_insert": 10_000.0,
}
MEMORY: dict[str, float | None] = {"peak_mib": 900.0, "half_mib": 800.0, "end_mib": 808.0}
MORE: dict[str, Any] = {"sizes": {"live_rate": 500, "live_runs": 500, "few_runs": 50}}


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 2.0), (0.51, 3.0), (0.95, 4.0), (0.01, 1.0), (1.0, 4.0)]
)
def test_a_percentile_is_the_value_that_this_share_does_not_exceed(share: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == expected


def test_nothing_measured_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_the_first_batch_starts_the_clock_and_does_not_count() -> None:
    batches = [
        Batch(1_000, 0.0, 10.0),
        Batch(1_000, 10.5, 1.0),
        Batch(1_000, 12.0, 1.0),
        Batch(0, 13.0, 50.0),
    ]
    assert steady_rate(batches) == pytest.approx(2_000 / 3.0)


@pytest.mark.parametrize(
    "batches", [[], [Batch(1_000, 0.0, 1.0)], [Batch(1_000, 0.0, 1.0), Batch(0, 1.0, 1.0)]]
)
def test_one_batch_alone_has_no_steady_rate(batches: list[Batch]) -> None:
    assert steady_rate(batches) is None


def test_an_event_is_included_when_its_summary_counts_it() -> None:
    sent = {"a": [10.0, 11.0, 12.0], "b": [10.0]}
    seen = [(12.5, "a", 2), (12.6, "a", 2), (14.0, "a", 3), (11.0, "b", 1), (9.0, "other", 7)]
    assert sorted(latencies(sent, seen)) == [1.0, 1.5, 2.0, 2.5]


def test_events_that_no_summary_counted_are_left_out() -> None:
    assert latencies({"a": [10.0, 11.0]}, [(10.5, "a", 1)]) == [0.5]


def test_ratios_are_to_parsing_and_to_the_smaller_of_parsing_and_the_store() -> None:
    found = ratios(RATES)
    assert found["windows_to_parse"] == 0.75
    assert found["everything_to_smaller"] == 0.5
    assert ratios({**RATES, "store_insert": 80_000.0})["everything_to_smaller"] == 0.125


def test_what_was_not_measured_has_no_ratio() -> None:
    assert ratios({**RATES, "store_insert": None})["everything_to_smaller"] is None


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "met"),
    [(0.75, 0.75, True, True), (0.749, 0.75, True, False), (1.5, 1.5, False, False), (None, 1.0, True, None)],
)
def test_a_target_is_met_missed_or_not_measured(
    value: float | None, bound: float, at_least: bool, met: bool | None
) -> None:
    assert Target("t", value, bound, at_least).met is met


def test_the_summary_has_the_keys_that_readers_rely_on() -> None:
    found = summary(RATES, [0.5, 1.0, 4.0], {50: [0.25, 0.5]}, MEMORY, MORE)
    assert found["parse_rows_per_s"] == 40_000.0
    assert found["windows_rows_per_s"] == 30_000.0
    assert found["end_to_end_rows_per_s"] == 5_000.0
    assert found["store_insert_rows_per_s"] == 10_000.0
    assert found["read_rows_per_s"] == 100_000.0
    assert (found["latency_p50_s"], found["latency_p95_s"], found["latency_p99_s"]) == (1.0, 4.0, 4.0)
    assert (found["latency_50_runs_p50_s"], found["latency_50_runs_p99_s"]) == (0.25, 0.5)
    assert found["peak_rss_mib"] == 900.0
    met = {name: target["met"] for name, target in found["targets"].items()}
    assert met == {
        "windows_to_parse": True,
        "everything_to_smaller": True,
        "latency_p50_s": True,
        "latency_p99_s": False,
        "rss_end_to_half": True,
    }


def test_the_table_says_which_targets_are_missed_and_which_were_not_measured() -> None:
    nothing: dict[str, float | None] = dict.fromkeys(MEMORY)
    text = table(summary({**RATES, "windows": 20_000.0}, [], {50: []}, nothing, MORE))
    assert "everything to the store" in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("windows_to_parse")] == ["NO"]
    assert "latency_p50_s" in text
    assert "the same of 50 runs: p50  s" in text
    assert "not measured" in text
