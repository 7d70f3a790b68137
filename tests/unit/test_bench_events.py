"""The benchmark's events: the same for the same seed, as trackers send them, with the flaws that they say."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from bench.pipeline.command import arguments, task_slots
from bench.pipeline.events import DUPLICATE_SHARE, MALFORMED_SHARE, Fleet, Mix, node_sample, topic_of
from schemas.errors import ContractError
from schemas.parse import parse_node, parse_training

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
MIX = Mix(seed=7, runs=30, users=4, models=3)
ROWS = 4_000


def verdicts() -> Counter[str]:
    """How many messages of a topic are accepted, duplicates or rejected."""
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    for _, value in topic_of(MIX, ROWS, NOW):
        try:
            identity = parse_training(value, NOW + timedelta(seconds=1)).identity
        except ContractError:
            counts["rejected"] += 1
        else:
            counts["duplicate" if identity in seen else "accepted"] += 1
            seen.add(identity)
    return counts


def test_the_same_seed_gives_the_same_messages() -> None:
    assert list(topic_of(MIX, 500, NOW)) == list(topic_of(MIX, 500, NOW))


def test_a_message_is_as_large_and_as_rich_as_a_trackers() -> None:
    message = Fleet(MIX).message(1, NOW)
    assert 500 <= len(message) <= 700
    assert len(parse_training(message, NOW).doc) >= 25


def test_some_messages_have_unknown_fields() -> None:
    fleet = Fleet(MIX)
    docs = [parse_training(fleet.message(run, NOW), NOW).doc for run in range(MIX.runs)]
    assert 0 < sum("extra" in doc for doc in docs) < len(docs)


def test_a_topic_has_about_the_flaws_that_it_is_said_to_have() -> None:
    counts = verdicts()
    assert sum(counts.values()) == ROWS
    assert counts["rejected"] / ROWS == pytest.approx(MALFORMED_SHARE, abs=0.01)
    # A duplicate of a broken message is broken, and the last ones may fall off the end.
    assert 0 < counts["duplicate"] / ROWS <= DUPLICATE_SHARE * 1.5


def test_a_topic_is_in_order_of_time_and_ends_now() -> None:
    times = []
    for _, value in topic_of(Mix(7, 30, 4, 3), 300, NOW):
        try:
            times.append(parse_training(value, NOW + timedelta(seconds=1)).doc["timestamp"])
        except ContractError:
            continue
    assert NOW - times[-1] < timedelta(seconds=2)
    assert times[-1] - times[0] > timedelta(seconds=40)


def test_node_samples_are_accepted() -> None:
    assert parse_node(node_sample(1, 5, NOW), NOW).doc["node_id"] == "node-1"


@pytest.mark.parametrize(("master", "slots"), [("local[3]", 3), ("local", 1), ("local[5,2]", 5)])
def test_task_slots_of_a_local_master(master: str, slots: int) -> None:
    assert task_slots(master) == slots


def test_flags_say_where_the_result_goes() -> None:
    assert arguments(["--quick"]).json is None
    assert arguments(["--json"]).json == "-"
    assert arguments(["--json", "out.json"]).json == "out.json"
