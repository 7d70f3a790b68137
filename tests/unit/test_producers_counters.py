"""Counter arithmetic: wraps, resets, gaps, power integration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.counters import (
    MAX_PLAUSIBLE_W,
    EnergyCounter,
    PowerIntegral,
    counter_delta,
    trapezoid_j,
)

RANGE = 262_143_328_850  # µJ, of a real package zone
steps = st.lists(st.integers(min_value=0, max_value=200_000_000), min_size=1, max_size=40)


@given(start=st.integers(min_value=0, max_value=RANGE - 1), steps=steps)
def test_energy_over_any_wraps_is_what_was_drawn(start: int, steps: list[int]) -> None:
    counter = EnergyCounter(1e-6, RANGE)
    assert counter.update(start, 0.0) is None
    count, drawn = start, 0.0
    for second, step in enumerate(steps, start=1):
        count = count + step if count + step <= RANGE else count + step - RANGE
        energy_j = counter.update(count, float(second))
        assert energy_j is not None
        drawn += energy_j
    assert drawn == pytest.approx(sum(steps) * 1e-6, abs=1e-6)


@given(readings=st.lists(st.none() | st.integers(min_value=0, max_value=10**15), max_size=30))
def test_energy_is_never_negative_and_a_gap_is_never_zero(readings: list[int | None]) -> None:
    counter = EnergyCounter(1e-3)
    previous: int | None = None
    for second, reading in enumerate(readings):
        energy_j = counter.update(reading, float(second))
        known = previous is not None and reading is not None and reading >= previous
        assert (energy_j is not None) == known
        assert energy_j is None or energy_j >= 0
        previous = reading


def test_first_reading_gives_nothing() -> None:
    assert EnergyCounter(1.0).update(10**9, 5.0) is None


def test_decrease_without_range_is_a_reset_and_the_next_interval_counts_again() -> None:
    counter = EnergyCounter(1.0)
    assert [counter.update(n, float(t)) for t, n in enumerate((100, 7, 9))] == [None, None, 2.0]


def test_implausible_wrap_is_a_reset() -> None:
    counter = EnergyCounter(1e-6, RANGE)
    counter.update(1000, 0.0)
    assert counter.update(500, 1.0) is None  # would be 262 kJ in a second
    counter = EnergyCounter(1e-6, RANGE)
    counter.update(RANGE - 100, 0.0)
    assert counter.update(900, 1.0) == pytest.approx(1e-3)


def test_wrap_adds_the_rest_of_the_range() -> None:
    assert counter_delta(90, 5, 100) == 15


def test_plausibility_limit_scales_with_the_interval() -> None:
    counter = EnergyCounter(1.0, 1000 * MAX_PLAUSIBLE_W)
    counter.update(999 * MAX_PLAUSIBLE_W, 0.0)
    assert counter.update(0.0, 2.0) == MAX_PLAUSIBLE_W


@given(
    powers=st.lists(st.floats(min_value=0, max_value=1e4), min_size=2, max_size=20),
    gap=st.floats(min_value=0.01, max_value=60),
)
def test_integrated_power_lies_between_least_and_most(powers: list[float], gap: float) -> None:
    integral = PowerIntegral()
    parts = [integral.update(power, index * gap) for index, power in enumerate(powers)]
    assert parts[0] is None
    total = sum(part for part in parts[1:] if part is not None)
    seconds = gap * (len(powers) - 1)
    assert min(powers) * seconds - 1e-6 <= total <= max(powers) * seconds + 1e-6


def test_missing_power_is_a_gap_on_both_sides() -> None:
    integral = PowerIntegral()
    readings = [(100.0, 0.0), (None, 1.0), (100.0, 2.0), (300.0, 3.0)]
    assert [integral.update(power, at) for power, at in readings] == [None, None, None, 200.0]


def test_trapezoid_refuses_time_that_runs_back() -> None:
    assert trapezoid_j(1.0, 1.0, -1.0) is None
