"""Energy over time, as arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.attribution import Charge
from producers.machine import Provenance
from producers.run_meter import Interval, State
from producers.timeline import Timeline


@given(
    looks=st.lists(st.floats(min_value=0.01, max_value=10), min_size=1, max_size=15),
    marks=st.lists(st.floats(min_value=0, max_value=1), max_size=15),
    power_w=st.floats(min_value=0, max_value=1000),
)
def test_any_cut_of_the_time_keeps_the_energy(looks: list[float], marks: list[float], power_w: float) -> None:
    timeline, total, seconds, start_s = Timeline(), 0.0, 0.0, 100.0
    source = (Provenance("m", frozenset({"measured"})),)
    for over_s in looks:
        interval = Interval(start_s, start_s + over_s, Charge(cpu_j=power_w * over_s), source, State())
        cursor_s = start_s
        for part in sorted(marks):
            timeline.add(interval, cursor_s, start_s + part * over_s)
            cursor_s = start_s + part * over_s
            portion = timeline.take()
            total += portion.energy_j or 0.0
            seconds += portion.covered_s
        timeline.add(interval, cursor_s, interval.to_s)
        start_s += over_s
    last = timeline.take()
    assert total + (last.energy_j or 0.0) == pytest.approx(power_w * sum(looks), rel=1e-9, abs=1e-9)
    assert seconds + last.covered_s == pytest.approx(sum(looks))
