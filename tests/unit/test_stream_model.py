"""Whatever happens to the stream, the documents say what the messages say.

The job's own code on a model of Kafka, Spark and the store (tests/stream_model.py): any split into batches, order
and duplication, a kill before or after any write, an outage at any write, lost checkpoints, retention, a second
process beside a first that does not know it is dead. The truth is read from the messages by this test alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from schemas.errors import PipelineError
from spark_jobs.sources import TRAINING
from tests.stream_model import BASE, Killed, World, accounts_of, ledger_of
from tests.stream_truth import check_accounts, check_documents, sent_of, truth_of

RUNS, EVENTS = 3, 30
MANY = 40  # writes of a batch, at least


def event(number: int, variant: int) -> tuple[int, bytes]:
    """Partition and bytes of an event; a variant has the same identity and another content."""
    run = number % RUNS
    fields: dict[str, Any] = {
        "run_id": f"r{run}",
        "event_id": str(number),
        "timestamp": (BASE + timedelta(seconds=number * 37 % 20 * 15)).isoformat(),
        "user_id": f"u{run % 2}",
        "energy_kwh": (number + 1) * 0.1 + variant,
        "emissions_kg": 0.1,
        "interval_s": 5.0,
        "loss": 1.0 / (number + 1),
    }
    if run:
        fields["model_name"] = f"m|{run}"
    if number % 7 == 6:
        fields.update(event_type="run_finished", status="completed")
    return run % 2, json.dumps(fields).encode()


def bad(number: int) -> tuple[int, bytes]:
    """A message that is rejected."""
    return number % 2, b'{"run_id": "r%d", "timestamp": "never"}' % number


messages = st.one_of(
    st.builds(event, st.integers(0, EVENTS - 1), st.sampled_from([0, 0, 0, 1])),
    st.builds(bad, st.integers(0, 5)),
)
send = st.tuples(st.just("send"), st.lists(messages, min_size=1, max_size=12))
batch = st.tuples(st.just("batch"), st.integers(1, 6))
# The write at which it happens, counted from the start of the batch, and whether the write was done.
kill = st.tuples(st.just("kill"), st.integers(1, 60), st.booleans(), st.booleans())
outage = st.tuples(st.just("outage"), st.integers(1, 60), st.booleans())
restart = st.tuples(st.just("restart"))
lose = st.tuples(st.just("lose"))
expire = st.tuples(st.just("expire"), st.integers(0, 1), st.integers(1, 4))
death = st.tuples(st.just("death"), st.integers(1, 60), st.booleans())
takeover = st.tuples(st.just("takeover"), st.integers(1, 60), st.booleans(), st.integers(0, 3))

common = st.one_of(send, send, batch, batch, kill, outage, death, restart, lose, takeover)
stories = st.lists(common, min_size=1, max_size=16)
stories_with_retention = st.lists(st.one_of(common, expire), min_size=1, max_size=16)

slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@given(stories)
def test_any_story_gives_the_documents_of_its_messages(story: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        world = World(TRAINING, patch)
        tell(world, story)
        check_accounts(world)
        check_documents(world, truth_of(world))


@slow
@given(stories_with_retention)
def test_messages_that_kafka_drops_are_in_totals_or_unknown(story: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        world = World(TRAINING, patch)
        tell(world, story)
        rows = ledger_of(world)
        sent = truth_of(world)
        check_documents(world, {i: (row["ingest"]["offset"], sent_of(world, row)) for i, row in rows.items()})
        assert rows.keys() <= sent.keys()
        for partition, account in accounts_of(world).items():
            assert account["consumed"] + account["unknown"] == len(world.topic.partitions[partition])
            became = account["accepted"] + account["duplicate"] + account["rejected_total"]
            assert became == account["consumed"]
        assert sum(account["accepted"] for account in accounts_of(world).values()) == len(rows)


FIRST = ("send", [event(0, 0), event(7, 0), event(9, 0), bad(0)])
SECOND = ("send", [event(1, 0), event(3, 0), event(12, 0), event(0, 1), event(4, 0), bad(1)])


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lose", [False, True], ids=["checkpoint-stays", "checkpoint-lost"])
def test_a_kill_at_any_write_changes_nothing(monkeypatch: pytest.MonkeyPatch, done: bool, lose: bool) -> None:
    for at in count(1):
        world = World(TRAINING, monkeypatch)
        tell(world, [FIRST, ("batch", 9), SECOND, ("kill", at, done, lose)])
        check_accounts(world)
        check_documents(world, truth_of(world))
        if world.epoch == 1:  # the batch has fewer writes
            break
    assert at > MANY


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_store_that_dies_at_any_write_changes_nothing(monkeypatch: pytest.MonkeyPatch, done: bool) -> None:
    """What was not journaled is gone. The next batch changes the same documents, and then all begins anew."""
    for at in count(1):
        world = World(TRAINING, monkeypatch)
        tell(world, [FIRST, ("batch", 9), SECOND, ("death", at, done), FIRST, ("batch", 9), ("lose",)])
        check_accounts(world)
        check_documents(world, truth_of(world))
        if world.store.life == 0:  # the batch has fewer writes
            break
    assert at > MANY


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_process_that_hangs_at_any_write_and_goes_on_later_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, done: bool, batches: int
) -> None:
    """The checkpoint of the one that took over is lost besides, so that what is stored must say it all."""
    for at in count(1):
        world = World(TRAINING, monkeypatch)
        tell(world, [FIRST, ("batch", 9), SECOND, ("takeover", at, done, batches), ("lose",)])
        check_accounts(world)
        check_documents(world, truth_of(world))
        if world.epoch == 2:  # the batch has fewer writes; only `lose` began a process
            break
    assert at > MANY


def test_a_cache_smaller_than_a_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(TRAINING, monkeypatch, cache_size=2)
    sends = [("send", [event(number, 0) for number in range(EVENTS)])]
    tell(world, [*sends, ("batch", 4), ("lose",), ("restart",), ("batch", 4), ("lose",), ("restart",)])
    check_accounts(world)
    check_documents(world, truth_of(world))


def tell(world: World, story: list[tuple[Any, ...]]) -> None:
    """Let it happen, then let the stream finish in peace."""
    world.start()
    for what, *details in story:
        HAPPENINGS[what](world, *details)
    _peace(world)
    for _ in range(200):
        if not _alive(world).batch(5):
            return
    raise AssertionError("the stream does not come to an end")


def _alive(world: World) -> Any:
    assert world.process is not None
    return world.process


def _send(world: World, sent: list[tuple[int, bytes]]) -> None:
    for partition, value in sent:
        world.topic.partitions[partition].append(value)


def _batch(world: World, rows: int) -> None:
    _alive(world).batch(rows)


def _restart(world: World) -> None:
    _peace(world)
    world.start()


def _kill(world: World, at: int, done: bool, lose_too: bool) -> None:
    """A batch in which the process is killed at a write; with luck its checkpoint is lost as well."""
    _at_write(world, at, done, _raise(Killed))
    try:
        _alive(world).batch(4)
    except Killed:
        if lose_too:
            world.lose_checkpoints()
        _at_write(world, at // 2 + 1, done, _raise(Killed))  # and once more while it recovers
        try:
            world.start()
        except Killed:
            _restart(world)
    _peace(world)


def _outage(world: World, at: int, done: bool) -> None:
    """A batch in which the store goes away at a write: it comes back, and says nothing of that write."""
    _at_write(world, at, done, _raise(lambda: AutoReconnect("gone")))
    _alive(world).batch(4)
    _peace(world)


def _death(world: World, at: int, done: bool) -> None:
    """A batch in which the store's process is killed at a write and comes back without what it had not journaled."""

    def die() -> None:
        world.store.die()
        raise AutoReconnect("killed")

    _at_write(world, at, done, die)
    _alive(world).batch(4)
    _peace(world)


def _takeover(world: World, at: int, done: bool, batches: int) -> None:
    """A process hangs at a write, another one takes over and works, then the first goes on."""
    old = _alive(world)

    def other() -> None:
        _peace(world)
        world.lose_checkpoints()  # the other one has folders of its own
        world.start()
        for _ in range(batches):
            _alive(world).batch(2)

    _at_write(world, at, done, other)
    with suppress(PipelineError):  # the lease is lost
        old.batch(4)
    _peace(world)


def _lose(world: World) -> None:
    world.lose_checkpoints()
    _restart(world)


def _expire(world: World, partition: int, count: int) -> None:
    world.topic.expire(partition, count)
    _restart(world)


HAPPENINGS: dict[str, Callable[..., None]] = {
    "send": _send,
    "batch": _batch,
    "kill": _kill,
    "outage": _outage,
    "death": _death,
    "restart": _restart,
    "lose": _lose,
    "expire": _expire,
    "takeover": _takeover,
}


def _raise(error: Callable[[], BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise error()

    return fail


def _at_write(world: World, at: int, done: bool, happens: Callable[[], None]) -> None:
    due = world.store.writes + at

    def when(number: int) -> None:
        if number >= due:
            _peace(world)
            happens()

    _peace(world)
    if done:
        world.store.ack = when
    else:
        world.store.plan = when


def _peace(world: World) -> None:
    world.store.plan = world.store.ack = lambda number: None
