"""From intervals to power, progress and merged series: energy is conserved, and a gap stays a gap."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.power import by_progress, segments
from dashboard.store.intervals import merged
from dashboard.store.rows import RunPoint
from schemas.units import kwh_from_j

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)


def point(
    end_s: float, watts: float | None, length_s: float = 5.0, producer: str = "p", **more: object
) -> RunPoint:
    energy = None if watts is None else kwh_from_j(watts * length_s)
    covered = None if watts is None else length_s
    at = T0 + timedelta(seconds=end_s)
    return RunPoint(at=at, producer=producer, energy_kwh=energy, covered_s=covered, **more)  # type: ignore[arg-type]


def joules(points: list[RunPoint]) -> float:
    return sum((p.power_w or 0.0) * p.length_s for p in segments(points, 10_000))


def test_neighbours_with_a_little_jitter_have_no_gap() -> None:
    pieces = segments([point(5, 100), point(10.3, 100), point(14.9, 100)], 100)
    assert [piece.power_w is None for piece in pieces] == [False, False, False]


def test_the_time_between_two_readings_of_a_clock_is_no_gap() -> None:
    pieces = segments([point(5, 100), point(5.003, 100, length_s=0.002)], 100)
    assert [piece.power_w is None for piece in pieces] == [False, False]


def test_a_hole_is_a_gap_and_not_zero() -> None:
    pieces = segments([point(5, 100), point(100, 50)], 100)
    assert [piece.power_w for piece in pieces] == [pytest.approx(100), None, pytest.approx(50)]
    assert pieces[1].length_s == 90


def test_an_interval_without_energy_is_a_gap() -> None:
    pieces = segments([point(5, 100), point(10, None), point(15, 100)], 100)
    assert [piece.power_w is None for piece in pieces] == [False, True, False]


def test_ranks_that_run_side_by_side_are_added() -> None:
    pieces = segments([point(10, 100, 10, "a"), point(10, 60, 10, "b")], 100)
    assert [piece.power_w for piece in pieces] == [pytest.approx(160)]


def test_estimated_spans_stay_apart() -> None:
    pieces = segments([point(5, 100), point(10, 80, measurement="estimated")], 100)
    assert [piece.estimated for piece in pieces] == [False, True]


@given(
    st.lists(
        st.tuples(st.floats(0.5, 60), st.floats(0, 1000), st.sampled_from("abc")), min_size=1, max_size=60
    )
)
def test_power_over_time_holds_the_energy_of_the_events(rows: list[tuple[float, float, str]]) -> None:
    ends: dict[str, float] = {}
    points = []
    for length, watts, producer in rows:
        ends[producer] = ends.get(producer, 0.0) + length
        points.append(point(ends[producer], watts, length, producer))
    points.sort(key=lambda p: p.at)
    sent = sum(watts * length for length, watts, _ in rows)
    assert joules(points) == pytest.approx(sent, rel=1e-6, abs=1e-3)


def test_a_long_series_is_made_coarser_and_keeps_energy_and_gaps() -> None:
    points = [point(5.0 * n + (1000 if n > 2500 else 0), 100 + n % 7) for n in range(1, 5001)]
    pieces = segments(points, 500)
    assert len(pieces) <= 502
    assert sum(1 for piece in pieces if piece.power_w is None) == 1
    total = sum((piece.power_w or 0.0) * piece.length_s for piece in pieces)
    assert total == pytest.approx(sum((100 + n % 7) * 5.0 for n in range(1, 5001)))


def test_merging_joins_neighbours_but_never_over_a_gap() -> None:
    points = [point(5.0 * n + (500 if n > 50 else 0), 10, step=n) for n in range(1, 101)]
    joined = merged(points, 10)
    assert len(joined) == 10
    assert sum(p.energy_kwh or 0.0 for p in joined) == pytest.approx(sum(p.energy_kwh or 0.0 for p in points))
    assert [p.step for p in joined][-1] == 100
    assert all((p.covered_s or 0) == 50 for p in joined)


def test_progress_sums_ranks_and_keeps_energy_without_a_step() -> None:
    points = [
        point(5, 100, producer="a", step=1, loss=2.0),
        point(5, 50, producer="b", step=1),
        point(10, 80, producer="a"),
        point(15, 70, producer="a", step=2, loss=1.0),
    ]
    steps = by_progress(points, "step", 100)
    assert [step.x for step in steps] == [1, 2]
    assert steps[0].power_w == pytest.approx(90 + 50)
    assert sum(step.energy_kwh or 0.0 for step in steps) == pytest.approx(kwh_from_j(300 * 5))
    assert [step.loss for step in steps] == [2.0, 1.0]


def test_progress_of_a_run_without_steps_is_empty() -> None:
    assert by_progress([point(5, 100)], "epoch", 100) == []
