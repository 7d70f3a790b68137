"""Epoch marks: bounded, the same in any order, and with the energy that a run had used by then."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import to_ms
from spark_jobs import marks
from spark_jobs.facets import facets_of, merge
from spark_jobs.forecast.runs.documents import narrowed, report_of
from spark_jobs.forecast.runs.epochs import Mark, Report, Used, course_of, marks_of
from spark_jobs.forecast.runs.state import RunState, used_of
from tests.run_stream import WINDOW_MS, Event, RunStream, course, event

SEEN = st.dictionaries(st.integers(0, 100_000), st.integers(0, 10**12), max_size=80)


@given(SEEN, SEEN, SEEN)
def test_marks_join_alike_in_any_order_and_twice(
    one: marks.Marks, two: marks.Marks, three: marks.Marks
) -> None:
    a, b, c = marks.to_lists(one), marks.to_lists(two), marks.to_lists(three)
    whole = marks.join(marks.join(a, b), c)
    assert whole == marks.join(a, marks.join(c, b)) == marks.join(whole, a)
    together: marks.Marks = {}
    for part in (one, two, three):
        for number, at_ms in part.items():
            together[number] = min(at_ms, together.get(number, at_ms))
    assert whole == marks.to_lists(together)


@given(SEEN)
def test_marks_are_few_and_keep_the_first_epochs_and_the_last(seen: marks.Marks) -> None:
    kept = marks.thinned(seen)
    assert len(kept) <= marks.KEPT + marks.ALWAYS + 2
    assert kept.items() <= seen.items()
    assert {number for number in seen if number <= marks.ALWAYS} <= kept.keys()
    assert not seen or max(seen) in kept


def test_ten_thousand_epochs_are_as_few_marks_as_fifty_however_they_come() -> None:
    gathered: marks.Marks = {}
    numbers = list(range(10_000))
    random.Random(3).shuffle(numbers)
    for number in numbers:
        gathered = marks.note(gathered, float(number), 1000 * number)
    kept = marks.thinned(gathered)
    assert 16 <= len(kept) <= 40
    assert all(at_ms == 1000 * number for number, at_ms in kept.items())


def test_an_epoch_is_marked_when_it_was_first_seen() -> None:
    assert marks.note({}, 1.5, 9) == {1: 9}
    assert marks.note({1: 5}, 1.0, 9) == {1: 5}
    assert marks.note({1: 9}, 1.0, 5) == {1: 5}


@pytest.mark.parametrize("value", [-1.0, 1e300], ids=["negative", "absurd"])
def test_what_is_no_progress_is_no_mark(value: float) -> None:
    assert marks.note({}, value, 5) == {}


def test_steps_are_marked_only_where_there_is_no_epoch() -> None:
    both = facets_of("e|r|1", {k: v for k, v in event("r", 1, 5, epoch=1.0, step=9.0).items() if k != "_id"})
    steps = facets_of("e|r|2", {k: v for k, v in event("r", 2, 9, step=11.0).items() if k != "_id"})
    joined = merge(both, steps)["progress"]
    assert [number for number, _ in joined["epochs"]] == [1]
    assert [number for number, _ in joined["steps"]] == [11]


def state_after(events: Sequence[Event], sizes: Sequence[int]) -> tuple[list[Mark], Report]:
    """Marks as a forecaster has them that looked after each batch."""
    stream = RunStream()
    windows: dict[int, Used] = {}
    found: list[Mark] = []
    report, place, turn = None, 0, 0
    while place < len(events):
        size = sizes[turn % len(sizes)]
        window_docs, summaries = stream.docs(events[place : place + size])
        place, turn = place + size, turn + 1
        windows |= {to_ms(doc["window_start"]): used_of(doc) for doc in window_docs.values()}
        doc = narrowed(summaries["r"])
        report = report_of(doc)
        if report is not None:
            found = marks_of(doc["seen"], windows, WINDOW_MS, report, found)
    assert report is not None
    return found, report


@given(
    st.lists(st.floats(0.01, 2.0), min_size=2, max_size=12),
    st.floats(2.0, 200.0),
    st.integers(1, 6),
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.booleans(),
)
def test_any_cut_into_batches_gives_the_same_marks(
    energies: list[float], epoch_s: float, ticks: int, sizes: list[int], shuffled: bool
) -> None:
    events = course("r", energies, epoch_s, ticks, ends=False)
    if shuffled:
        random.Random(len(energies)).shuffle(events)
    cut, _ = state_after(events, sizes)
    whole, report = state_after(events, [1000])
    assert [(mark.number, mark.at_ms) for mark in cut] == [(mark.number, mark.at_ms) for mark in whole]
    assert [m.energy_kwh for m in cut] == pytest.approx([m.energy_kwh for m in whole], abs=1e-9)
    for before, after in pairwise(whole):
        assert 0.0 <= before.energy_kwh <= after.energy_kwh <= report.energy_kwh + 1e-9


@pytest.mark.parametrize(("epoch_s", "ticks"), [(3.0, 1), (20.0, 4), (45.0, 4), (300.0, 1), (300.0, 60)])
def test_marks_have_the_energy_that_the_epochs_used(epoch_s: float, ticks: int) -> None:
    energies = [0.9, 0.5, 0.55, 0.5, 0.6, 0.5]
    found, _ = state_after(course("r", energies, epoch_s, ticks, ends=False), [1000])
    used = [after.energy_kwh - before.energy_kwh for before, after in pairwise(found)]
    assert found[0].energy_kwh == pytest.approx(0.9, rel=0.02)
    assert used == pytest.approx(energies[1:], rel=0.02)


def test_ranks_side_by_side_give_the_epochs_of_the_whole_run() -> None:
    energies = [0.9, *[0.5] * 9]
    ranks = []
    for rank in range(4):
        own = course("r", energies, 30.0, 3, begin_s=0.2 * rank, fields={"rank": rank, "world_size": 4})
        ranks += [{**doc, "_id": f"s|r|{rank}|{i}"} for i, doc in enumerate(own[:-1])]
    ranks.sort(key=lambda doc: doc["timestamp"])
    found, report = state_after(ranks, [7])
    assert report.ranks == 4
    assert [mark.number for mark in found] == list(range(1, 11))
    used = [after.energy_kwh - before.energy_kwh for before, after in pairwise(found)]
    assert used == pytest.approx([4 * 0.5] * 9, rel=0.06)
    assert course_of(report, found).now.done == 10.0


def marked(*at: tuple[int, float, float]) -> list[Mark]:
    return [Mark(number, int(1000 * at_s), kwh) for number, at_s, kwh in at]


def report(last_s: float, kwh: float, **fields: Any) -> Report:
    return Report(0, int(1000 * last_s), kwh, 50, **fields)


@pytest.mark.parametrize(
    ("found", "epoch", "done", "first"),
    [
        (marked((1, 10, 1.0), (2, 18, 1.8), (3, 26, 2.6)), 3.0, [1, 2, 3], 0),
        (marked((0, 10, 1.0), (1, 18, 1.8), (2, 26, 2.6)), 2.0, [1, 2, 3], 0),
        (marked((1, 0.1, 0.0), (2, 10, 1.0), (3, 18, 1.8)), 3.0, [1, 2], 0),
        (marked((0, 0.1, 0.0), (1, 10, 1.0), (2, 18, 1.8)), 2.0, [1, 2], 0),
        (marked((37, 10, 1.0), (38, 18, 1.8), (39, 26, 2.6)), 39.0, [37, 38, 39], 36),
        (marked((100, 10, 1.0), (200, 18, 1.8)), 200.0, [100, 200], 0),
    ],
    ids=["done", "done-from-0", "under-way", "under-way-from-0", "resumed", "every-hundredth"],
)
def test_epochs_are_counted_as_the_client_counts_them(
    found: list[Mark], epoch: float, done: list[float], first: float
) -> None:
    so_far = course_of(report(26, 2.6, epoch=epoch, epoch_at_ms=26_000, total_epochs=40.0), found)
    assert [point.done for point in so_far.points] == done
    assert (so_far.first, so_far.now.done) == (first, done[-1])


def test_a_single_epoch_that_is_said_again_is_the_one_under_way() -> None:
    one = marked((1, 5.0, 0.5))
    again = report(60, 6.0, epoch=1.0, epoch_at_ms=60_000, total_epochs=9.0)
    assert course_of(again, one).points == ()
    once = report(60, 6.0, epoch=1.0, epoch_at_ms=5_000, total_epochs=9.0)
    assert [point.done for point in course_of(once, one).points] == [1.0]


def test_a_run_that_went_back_has_those_epochs_before_it_again() -> None:
    found = marked(*((i, 10.0 * i, 1.0 * i) for i in range(1, 7)))
    back = course_of(report(90, 9.0, epoch=2.0, epoch_at_ms=90_000, total_epochs=10.0), found)
    assert back.now.done == 2.0
    lagging = course_of(report(61, 6.1, epoch=5.0, epoch_at_ms=61_000, total_epochs=10.0), found)
    assert lagging.now.done == 6.0  # one rank is an epoch behind


def test_an_epoch_that_came_out_of_order_is_no_mark() -> None:
    seen = {1: 30_000, 2: 10_000, 3: 50_000}
    found = marks_of(seen, {0: Used(6.0, 6, 60.0)}, WINDOW_MS, report(60, 6.0))
    assert [mark.number for mark in found] == [1, 3]


def test_steps_refine_within_an_epoch_where_they_agree_with_it() -> None:
    found = marked((1, 10, 1.0), (2, 18, 1.8))
    steps = {"epoch": 2.0, "epoch_at_ms": 18_000, "total_epochs": 10.0, "total_steps": 1000.0}
    assert course_of(report(22, 2.2, step=250.0, **steps), found).now.done == 2.5
    assert course_of(report(22, 2.2, step=900.0, **steps), found).now.done == 2.0


def test_a_late_window_that_would_leave_a_gap_is_not_counted_from() -> None:
    state = RunState()
    state.take_window(600_000, Used(1.0, 1))
    state.since_ms = 600_000
    state.take_window(0, Used(1.0, 1))
    assert list(state.windows) == [600_000]
