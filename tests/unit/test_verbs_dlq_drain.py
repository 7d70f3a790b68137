"""Rejected bytes are shown harmlessly; what is drained is what is settled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulestream.draining import Backlog, End, Generation
from joulestream.rejected import can_be_sent, escaped


@given(st.binary(max_size=300))
def test_escaped_bytes_hold_nothing_that_a_terminal_obeys(value):
    assert escaped(value).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"\xff\xfe{}", "\\xff\\xfe{}"),
        ("é\u202eabc".encode(), "é\\u202eabc"),
        (b"a\nb\tc", "a\\nb\\tc"),
        (b"", ""),
    ],
)
def test_escapes_are_readable(value, text):
    assert escaped(value) == text


def test_only_whole_messages_can_be_sent_again():
    assert can_be_sent({"truncated": False})
    assert not can_be_sent({"truncated": True})


ENDS = {"t/0": End(0, 10), "t/1": End(5, 5), "t/2": End(3, 7)}


def test_lag_is_counted_per_partition_from_what_is_settled():
    backlog = Backlog(ENDS, {"t/0": 8, "t/2": 7})
    assert backlog.lag == {"t/0": 2}
    assert backlog.total == 2


def test_an_empty_partition_and_one_whose_beginning_expired_do_not_lag():
    assert Backlog({"t/1": End(5, 5)}).lag == {}
    assert Backlog({"t/2": End(3, 7)}, {"t/2": 0}).lag == {"t/2": 4}


def test_what_was_sent_later_does_not_lag():
    assert Backlog(ENDS, {"t/0": 99, "t/2": 99}).lag == {}


@pytest.mark.parametrize(
    ("now", "waits"),
    [
        (Generation(1, 5, 4), True),
        (Generation(1, 5, 5), False),
        (Generation(1, 6, 5), False),
        (Generation(2, -1, -1), False),
    ],
    ids=["in the batch", "batch settled", "in a later batch", "a new generation"],
)
def test_only_the_batch_that_was_being_written_is_waited_for(now, waits):
    goal = {"training": Generation(1, 5, 4)}
    assert bool(Backlog({}, {}, {"training": now}).unsettled(goal)) is waits
