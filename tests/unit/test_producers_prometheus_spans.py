"""Energy of counters between samples: any partition sums to last - first; gaps and resets invent nothing."""

from __future__ import annotations

from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.prometheus.spans import (
    Span,
    beside,
    counted,
    covered_ms,
    energy_j,
    integrated,
    total,
    union,
)

GAP = 300_000


@given(
    st.lists(st.tuples(st.integers(1, GAP), st.floats(0, 1e6)), min_size=1, max_size=20),
    st.integers(20_000, 400_000),
    st.floats(0, 1e9),
)
def test_any_partition_of_time_sums_to_what_the_counter_rose_by(
    steps: list[tuple[int, float]], piece_ms: int, first: float
) -> None:
    points = [(1_000, first)]
    for step_ms, rose in steps:
        points.append((points[-1][0] + step_ms, points[-1][1] + rose))
    spans = counted(tuple(points), GAP)
    pieces = [energy_j([spans], start, start + piece_ms) for start in range(0, points[-1][0], piece_ms)]
    rose = points[-1][1] - points[0][1]
    assert fsum(p for p in pieces if p is not None) == pytest.approx(rose, rel=1e-9, abs=1e-9 * max(1, first))


def test_a_gap_longer_than_the_limit_stays_a_gap() -> None:
    points = ((0, 0.0), (60_000, 100.0), (361_000, 900.0), (421_000, 950.0))
    spans = counted(points, GAP)
    assert energy_j([spans], 0, 421_000) == 150.0
    assert energy_j([spans], 90_000, 300_000) is None
    assert covered_ms([spans], 0, 421_000) == 120_000


def test_what_was_used_across_a_missed_scrape_is_counted() -> None:
    assert energy_j([counted(((0, 0.0), (300_000, 900.0)), GAP)], 100_000, 200_000) == pytest.approx(300.0)


def test_a_reset_is_a_gap_unless_the_counter_is_known_to_begin_at_zero() -> None:
    points = ((0, 5_000.0), (60_000, 6_000.0), (120_000, 250.0), (180_000, 300.0))
    assert energy_j([counted(points, GAP)], 0, 180_000) == 1_050.0
    assert energy_j([counted(points, GAP, from_zero=True)], 0, 180_000) == 1_300.0


def test_a_reset_to_more_than_a_device_can_have_used_is_a_gap() -> None:
    points = ((0, 9e9), (60_000, 1e6), (120_000, 1e6 + 60))
    assert energy_j([counted(points, GAP, from_zero=True)], 0, 120_000) == pytest.approx(60.0)


def test_a_power_is_integrated_by_trapezoids() -> None:
    assert energy_j([integrated(((0, 100.0), (10_000, 200.0)), GAP)], 0, 10_000) == 1_500.0


def test_repeated_series_are_one_counter() -> None:
    one = ((0, 1.0), (10, 2.0))
    assert union([one, one, ((10, 2.0), (20, 3.0))]) == ((0, 1.0), (10, 2.0), (20, 3.0))


def test_counters_are_added_where_all_of_them_were_read() -> None:
    assert total([((0, 1.0), (10, 2.0)), ((10, 5.0), (20, 6.0))]) == ((10, 7.0),)
    assert total([]) == ()


def test_of_two_exporters_each_time_counts_once() -> None:
    first = (Span(0, 10, 1.0), Span(30, 40, 1.0))
    second = (Span(5, 15, 8.0), Span(10, 20, 2.0), Span(20, 30, 4.0), Span(25, 35, 8.0), Span(40, 50, 16.0))
    assert energy_j(beside([first], [second]), 0, 50) == 24.0
    assert beside([], [second]) == [second]


def test_nothing_known_is_not_zero() -> None:
    assert energy_j([], 0, 10) is None
    assert energy_j([counted(((0, 5.0), (10, 5.0)), GAP)], 0, 10) == 0.0
