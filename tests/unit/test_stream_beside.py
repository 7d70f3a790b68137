"""Followers work beside the batches: told of what is settled only, never waited for, never the stream's end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Event
from typing import Any

import pytest

from spark_jobs.beside import Beside

LONG_S = 30.0


class Noting:
    """A follower that notes what it was told in each turn, and can be held in one."""

    def __init__(self) -> None:
        self.turns: list[list[tuple[str, Mapping[str, Any]]]] = [[]]
        self.flushed, self.may_go, self.closed = Event(), Event(), Event()
        self.may_go.set()
        self.error: Exception | None = None

    def written(self, collection: str, docs: Mapping[str, Any]) -> None:
        self.turns[-1].append((collection, dict(docs)))

    def flush(self) -> None:
        self.turns.append([])
        self.flushed.set()
        assert self.may_go.wait(LONG_S)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed.set()

    @property
    def told(self) -> list[list[tuple[str, Mapping[str, Any]]]]:
        """What came in the turns in which anything did."""
        return [turn for turn in self.turns if turn]

    def wait_for_turn(self) -> None:
        assert self.flushed.wait(LONG_S)
        self.flushed.clear()


@pytest.fixture
def follower() -> Noting:
    return Noting()


@pytest.fixture
def beside(follower: Noting) -> Iterator[Beside]:
    made = Beside("training", [follower], idle_s=LONG_S)
    made.start()
    yield made
    follower.may_go.set()
    made.end(LONG_S)


def test_followers_hear_of_settled_documents_only(beside: Beside, follower: Noting) -> None:
    beside.written("windows", {"a": {"n": 1}})
    beside.settled()
    follower.wait_for_turn()
    beside.written("windows", {"b": {"n": 1}})
    beside.end(LONG_S)
    assert follower.told == [[("windows", {"a": {"n": 1}})]]


def test_no_batch_waits_and_the_next_turn_has_the_newest_of_all_meanwhile(
    beside: Beside, follower: Noting
) -> None:
    follower.may_go.clear()
    beside.written("runs", {"r": {"n": 1}})
    beside.settled()
    follower.wait_for_turn()
    for n in (2, 3):
        beside.written("runs", {"r": {"n": n}})
        beside.written("windows", {f"w{n}": {"n": n}})
        beside.settled()
    follower.may_go.set()
    follower.wait_for_turn()
    meanwhile = [("runs", {"r": {"n": 3}}), ("windows", {"w2": {"n": 2}, "w3": {"n": 3}})]
    assert follower.told == [[("runs", {"r": {"n": 1}})], meanwhile]


def test_at_the_end_what_is_settled_is_still_told_and_followers_close(
    beside: Beside, follower: Noting
) -> None:
    follower.may_go.clear()
    beside.written("runs", {"r": {"n": 1}})
    beside.settled()
    follower.wait_for_turn()
    beside.written("runs", {"r": {"n": 2}})
    beside.settled()
    beside.end(0.0)
    assert not follower.closed.is_set()
    follower.may_go.set()
    beside.end(LONG_S)
    assert follower.told[-1] == [("runs", {"r": {"n": 2}})]
    assert follower.closed.is_set()
    assert not beside.is_alive()


def test_an_error_costs_a_turn_only(
    beside: Beside, follower: Noting, caplog: pytest.LogCaptureFixture
) -> None:
    follower.error = ValueError("no such series")
    beside.written("runs", {"r": {"n": 1}})
    beside.settled()
    follower.wait_for_turn()
    follower.error = None
    beside.written("runs", {"r": {"n": 2}})
    beside.settled()
    follower.wait_for_turn()
    assert follower.told[-1] == [("runs", {"r": {"n": 2}})]
    assert "no such series" in caplog.text


def test_where_no_batch_comes_followers_get_turns_all_the_same(follower: Noting) -> None:
    idle = Beside("node", [follower], idle_s=0.01)
    idle.start()
    for _ in range(3):
        follower.wait_for_turn()
    idle.end(LONG_S)
    assert follower.told == []
