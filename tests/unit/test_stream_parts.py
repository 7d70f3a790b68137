"""Parts, folded windows and amounts: totals that may be written twice, undone and carried on."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum, isinf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.books import summed
from spark_jobs.parts import Amounts, Folded, Moment, Parts, total

WINDOW_MS = 60_000
numbers = st.integers(0, 1000).map(float)  # whole, so that sums are exact in any order
values = st.dictionaries(st.sampled_from(["energy_kwh", "n_events", "covered_s"]), numbers)
amounts = st.builds(Amounts, values, st.dictionaries(st.sampled_from(["r1", "r.2", "$r3"]), numbers))
moments = st.none() | st.builds(Moment, st.integers(0, 3), st.integers(-1, 5))
parts = st.builds(Parts, amounts, amounts, amounts, amounts, moments)
NOW = Moment(7, 3)


@given(st.lists(amounts))
def test_the_sum_knows_what_any_of_its_terms_knows(entries: list[Amounts]) -> None:
    found = total(entries)
    assert found.sums.keys() == {name for entry in entries for name in entry.sums}
    for name, value in found.sums.items():
        assert value == fsum(entry.sums[name] for entry in entries if name in entry.sums)
    assert summed(entries) == found


@given(amounts)
def test_amounts_come_back_as_they_were_stored(one: Amounts) -> None:
    assert Amounts.from_doc(one.to_doc()) == one


@given(parts)
def test_parts_come_back_as_they_were_stored(one: Parts) -> None:
    stored = Parts.from_doc(one.to_doc())
    assert stored.total == one.total
    assert (stored.at, stored.live, stored.before) == (one.at, one.live, one.before)


def test_a_sum_beyond_a_float_does_not_raise() -> None:
    assert isinf(summed([Amounts({"loss_sum": 1.7e308})] * 2).sums["loss_sum"])


@given(parts)
def test_a_batch_that_finds_the_parts_again_changes_nothing(one: Parts) -> None:
    once = one.into(NOW, {})
    assert once.into(NOW, {}) == once


def test_a_settled_batch_of_an_earlier_generation_is_carried_with_its_last_batch() -> None:
    held = Parts(Amounts({"e": 1.0}), Amounts({"e": 20.0}), Amounts({"e": 10.0}), at=Moment(0, 5))
    assert held.into(NOW, {0: 5}).total == Amounts({"e": 21.0})


def test_a_batch_that_was_not_settled_is_undone_in_another_generation() -> None:
    held = Parts(Amounts({"e": 1.0}), Amounts({"e": 20.0}), Amounts({"e": 10.0}), at=Moment(0, 5))
    assert held.into(NOW, {0: 4}).total == Amounts({"e": 11.0})


def test_undoing_keeps_what_is_late() -> None:
    held = Parts(late=Amounts({"e": 5.0}), live=Amounts({"e": 1.0}), at=Moment(0, 0))
    assert held.into(NOW, {0: -1}).total == Amounts({"e": 5.0})


def test_the_next_batch_remembers_the_value_from_before_it() -> None:
    held = Parts(live=Amounts({"e": 20.0}), before=Amounts({"e": 10.0}), at=Moment(7, 2))
    assert held.into(NOW, {}).before == Amounts({"e": 20.0})


windows = st.dictionaries(st.integers(0, 9).map(lambda i: i * WINDOW_MS), numbers, max_size=6)
steps = st.lists(st.tuples(windows, st.integers(-1, 10)), max_size=6)


@given(steps)
def test_folding_gives_the_sum_of_the_last_value_of_each_window(
    steps: list[tuple[Mapping[int, float], int]],
) -> None:
    """As the stream uses it: a window that has ended by the watermark is not put out again."""
    folded, last, watermark = Folded(), dict[int, float](), -1
    for found, raised in steps:
        open_ones = {s: e for s, e in found.items() if s + WINDOW_MS > watermark}
        watermark = max(watermark, raised * WINDOW_MS)
        last.update(open_ones)
        given_now = {s: Amounts({"e": e}) for s, e in open_ones.items()}
        folded = folded.with_windows(given_now, watermark, WINDOW_MS)
        assert all(start + WINDOW_MS > watermark for start in folded.open)
        assert folded.with_windows(given_now, watermark, WINDOW_MS) == folded  # the batch again
        folded = Folded.from_doc(folded.to_doc())
    assert folded.total.sums.get("e", 0.0) == sum(last.values())


def test_without_a_watermark_all_windows_stay_open() -> None:
    folded = Folded().with_windows({0: Amounts({"e": 1.0})}, None, WINDOW_MS)
    assert folded.open.keys() == {0}
    assert folded.total == Amounts({"e": 1.0})


@pytest.mark.parametrize("stored", [None, {}], ids=["nothing", "empty"])
def test_a_document_without_parts_has_empty_ones(stored: dict[str, object] | None) -> None:
    assert Parts.from_doc(stored) == Parts()
    assert Folded.from_doc(stored) == Folded()
