"""Seeded traffic with everything that goes wrong in it, and its truth, which only this file computes."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kafka import KafkaProducer

from schemas.topics import NODE_METRICS, STREAMED, TRAINING_EVENTS

BAD = (b"{", b"", b'{"run_id": "r"}', b'{"run_id": "r", "timestamp": "2100-01-01T00:00:00Z"}', b"\xff\xfe")


@dataclass
class Traffic:
    """What was sent, in order, and what of it counts.

    An identity always goes to one partition, so the first of its messages is the one with the lowest offset.
    """

    seed: int
    at: datetime  # event time, which goes on from batch to batch
    sent: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  # by identity
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    surely_late: set[str] = field(default_factory=set)
    number: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.counts = {topic: Counter() for topic in STREAMED}

    def mixture(self, events: int, late_before: datetime | None = None) -> list[tuple[str, bytes, bytes]]:
        """New events in disorder, duplicates of old and new ones, conflicts, nonsense, and some far too late.

        `late_before`: what belongs to a window before this time comes after the watermark.
        """
        made: list[tuple[str, bytes, bytes]] = []
        for _ in range(events):
            self.at += timedelta(milliseconds=self.random.randint(0, 400))
            at = self.at - timedelta(seconds=self.random.choice([0, 0, 1, 3, 8]))
            late = late_before is not None and self.random.random() < 0.05
            if late and late_before is not None:
                at = late_before - timedelta(seconds=self.random.randint(20, 200))
            made.append(self._sample(at, late) if self.random.random() < 0.3 else self._event(at, late))
            chance = self.random.random()
            if chance < 0.08 and made:
                made.append(self.random.choice(made[-20:]))
            elif chance < 0.12 and self.sent:
                made.append(self.random.choice(self.sent))
            elif chance < 0.15:
                made.append(self._conflict())
            elif chance < 0.18:
                made.append((TRAINING_EVENTS, b"r0", self.random.choice(BAD)))
            elif chance < 0.19:
                made.append((NODE_METRICS, b"n0", b"[]"))
        self._count(made)
        return made

    def replay(self) -> list[tuple[str, bytes, bytes]]:
        """Everything again, byte for byte."""
        made = list(self.sent)
        self._count(made)
        return made

    def _event(self, at: datetime, late: bool) -> tuple[str, bytes, bytes]:
        self.number += 1
        pick = self.random
        run = f"r{pick.randrange(8)}"
        fields = {
            "run_id": run,
            "timestamp": at.isoformat(),
            "user_id": f"u{pick.randrange(3)}",
            "energy_kwh": pick.random() * 10 ** pick.randint(-9, 0),
            "emissions_kg": pick.random() * 1e-3,
            "interval_s": 1.0,
            "loss": pick.random(),
            "epoch": self.number,
        }
        if pick.random() < 0.7:
            fields["model_name"] = pick.choice(["résumé|net", "=1+1", "m"])
        if pick.random() < 0.5:
            fields["region_iso"] = pick.choice(["de", "US"])
        identity = self._identify(fields, run)
        if late:
            self.surely_late.add(identity)
        return (TRAINING_EVENTS, run.encode(), json.dumps(fields).encode())

    def _identify(self, fields: dict[str, Any], owner: str) -> str:
        """Give an event one of the identities that carry a name."""
        if self.random.random() < 0.5:
            fields["event_id"] = f"id{self.number}"
            return f"e|{owner}|id{self.number}"
        fields.update(producer_id="p1", sequence=self.number)
        return f"s|{owner}|p1|{self.number}"

    def _sample(self, at: datetime, late: bool) -> tuple[str, bytes, bytes]:
        self.number += 1
        pick = self.random
        node = f"n{pick.randrange(3)}"
        share = pick.random() / 2
        fields = {
            "node_id": node,
            "timestamp": at.isoformat(),
            "interval_s": 1.0,
            "cpu_energy_j": pick.random() * 50,
            "dram_energy_j": pick.random() * 5,
            "cpu_utilization_pct": pick.random() * 100,
            "consumers": [
                {"run_id": "r1", "cpu_time_share": share},
                {"run_id": "r2", "cpu_time_share": pick.random() / 2},
            ],
        }
        if pick.random() < 0.5:
            fields["platform_energy_j"] = 40.0 + pick.random() * 50
        identity = self._identify(fields, node)
        if late:
            self.surely_late.add(identity)
        return (NODE_METRICS, node.encode(), json.dumps(fields).encode())

    def _conflict(self) -> tuple[str, bytes, bytes]:
        """An old identity with other content, hours away."""
        again = [
            entry
            for entry in self.sent
            if entry[0] == TRAINING_EVENTS and entry[2].startswith(b'{"run_id": "r')
        ]
        again = [entry for entry in again if b'"epoch"' in entry[2]]
        if not again:
            return (TRAINING_EVENTS, b"r0", BAD[0])
        topic, key, value = self.random.choice(again)
        fields = json.loads(value)
        fields["energy_kwh"] = 1000.0
        fields["timestamp"] = (datetime.fromisoformat(fields["timestamp"]) - timedelta(hours=3)).isoformat()
        return (topic, key, json.dumps(fields).encode())

    def _count(self, made: list[tuple[str, bytes, bytes]]) -> None:
        """Say what each message becomes: accepted is the first of its identity."""
        for topic, _, value in made:
            counts = self.counts[topic]
            counts["consumed"] += 1
            if value in BAD or value == b"[]":
                counts["rejected_total"] += 1
                continue
            fields = json.loads(value)
            owner = fields["run_id" if topic == TRAINING_EVENTS else "node_id"]
            known = self.runs if topic == TRAINING_EVENTS else self.nodes
            name = fields.get("event_id")
            identity = f"e|{owner}|{name}" if name else f"s|{owner}|p1|{fields['sequence']}"
            if identity in known:
                counts["duplicate"] += 1
                counts["conflict"] += known[identity] != fields
            else:
                counts["accepted"] += 1
                known[identity] = fields
        self.sent += made

    @property
    def newest(self) -> datetime:
        """The latest event time that was accepted."""
        return max(datetime.fromisoformat(fields["timestamp"]) for fields in self.runs.values())


def send(producer: KafkaProducer, messages: list[tuple[str, bytes, bytes]]) -> None:
    """Send in order and wait until the broker has them."""
    for topic, key, value in messages:
        producer.send(topic, key=key, value=value)
    producer.flush(60)
