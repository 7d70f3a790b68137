"""What goes wrong between producer and topic, with known truth: seeded duplication, disorder and damage.

The set of distinct events stays what it was; only how they are sent changes.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from joulestream.simulate.events import Message
from joulestream.simulate.spec import Impurity
from schemas import reasons
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from schemas.units import MS_PER_S


@dataclass(slots=True)
class SentOfTopic:
    """Counts of one topic: messages = distinct + duplicates + malformed."""

    distinct: int = 0
    duplicates: int = 0
    disordered: int = 0
    held_back: int = 0
    malformed: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        """JSON-ready; `rejected` are the reason codes that the stream gives."""
        broken = sum(self.malformed.values())
        return {
            "messages": self.distinct + self.duplicates + broken,
            "accepted": self.distinct,
            "duplicate": self.duplicates,
            "rejected": dict(sorted(self.malformed.items())),
            "rejected_total": broken,
            "disordered": self.disordered,
            "held_back": self.held_back,
        }


@dataclass(slots=True)
class Sent:
    """Counts of what was sent, by topic."""

    topics: dict[str, SentOfTopic] = field(
        default_factory=lambda: {TRAINING_EVENTS: SentOfTopic(), NODE_METRICS: SentOfTopic()}
    )

    def document(self) -> dict[str, Any]:
        """JSON-ready counts by topic."""
        return {topic: counts.document() for topic, counts in self.topics.items()}


def _without_id(event: dict[str, Any]) -> bytes:
    return _json({name: value for name, value in event.items() if name not in ("run_id", "node_id")})


def _with(name: str, value: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: _json({**event, name: value})


def _id_with_bar(event: dict[str, Any]) -> bytes:
    name = "run_id" if "run_id" in event else "node_id"
    return _json({**event, name: f"{event[name]}|x"})


def _cut(event: dict[str, Any]) -> bytes:
    whole = _json(event)
    return whole[: len(whole) // 2]


def _raw_number(name: str, text: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: _json({**event, name: "@"}).replace(b'"@"', text.encode())


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# How a message is broken, and the reason code that it must get.
DAMAGES: tuple[tuple[str, Callable[[dict[str, Any]], bytes]], ...] = (
    (reasons.MALFORMED_JSON, _cut),
    (reasons.MALFORMED_JSON, lambda event: b"GET / HTTP/1.1"),
    (reasons.NOT_UTF8, lambda event: b"\xff\xfe" + _json(event)),
    (reasons.NOT_AN_OBJECT, lambda event: _json([event])),
    (reasons.EMPTY_MESSAGE, lambda event: b""),
    (reasons.MISSING_FIELD, _without_id),
    (reasons.INVALID_ID, _id_with_bar),
    (reasons.WRONG_TYPE, _with("interval_s", "60")),
    (reasons.OUT_OF_RANGE, _with("interval_s", -60.0)),
    (reasons.OUT_OF_RANGE, _with("cpu_utilization_pct", 250.0)),
    (reasons.NOT_FINITE, _raw_number("interval_s", "NaN")),
    (reasons.NOT_FINITE, _raw_number("interval_s", "1e999")),
    (reasons.INVALID_TIMESTAMP, _with("timestamp", "yesterday")),
    (reasons.TIMESTAMP_TOO_OLD, _with("timestamp", "1999-12-31T23:59:59Z")),
    (reasons.TIMESTAMP_IN_FUTURE, _with("timestamp", "2100-01-01T00:00:00Z")),
    (reasons.TOO_DEEP, lambda event: b"[" * 100_000),
)


def impure(messages: Iterable[Message], impurity: Impurity, seed: str, sent: Sent) -> Iterator[Message]:
    """Send the messages (of one topic, by event time) with their flaws, and count them in `sent`.

    Memory is bounded by what is held back: about `late` × all messages.
    """
    rng = random.Random(f"{seed}|impurity")  # noqa: S311 - a simulation, not a secret
    waiting: list[tuple[int, int, Message]] = []
    order = 0
    for message in messages:
        while waiting and waiting[0][0] <= message.at_ms:
            yield heapq.heappop(waiting)[2]
        counts = sent.topics[message.topic]
        counts.distinct += 1
        if impurity.none:
            yield message
            continue
        for delay_ms, each in _copies(message, impurity, rng, counts):
            order += 1
            heapq.heappush(waiting, (message.at_ms + delay_ms, order, each))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _copies(
    message: Message, impurity: Impurity, rng: random.Random, counts: SentOfTopic
) -> Iterator[tuple[int, Message]]:
    """The message and what goes with it, each with how long (ms of event time) it is held back."""
    delay_s = 0.0
    if rng.random() < impurity.late:
        counts.held_back += 1
        delay_s = impurity.late_s * rng.uniform(1.0, 2.0)
    elif rng.random() < impurity.disorder:
        counts.disordered += 1
        delay_s = rng.uniform(0.0, impurity.disorder_s)
    yield round(delay_s * MS_PER_S), message
    if rng.random() < impurity.duplicates:
        counts.duplicates += 1
        again_s = delay_s + rng.choice((0.0, rng.uniform(0.0, impurity.late_s)))
        yield round(again_s * MS_PER_S), message
    if rng.random() < impurity.malformed:
        code, damage = DAMAGES[rng.randrange(len(DAMAGES))]
        counts.malformed[code] += 1
        broken = damage(json.loads(message.value))
        yield 0, Message(message.topic, message.key, broken, message.at_ms, None)
