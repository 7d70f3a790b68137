"""Sends events at a steady rate, each with the time of its sending as its event time."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from kafka import KafkaProducer

from bench.pipeline.events import Fleet, Mix, node_sample, topic_of
from bench.pipeline.sizes import Sizes
from conf.clients import kafka_options
from conf.sections import Kafka
from schemas.topics import NODE_METRICS, TRAINING_EVENTS

PROBE = "probe"
# A request per event would cost this machine half a core that is the producers' own.
GATHERED_MS = 10


def _producer(kafka: Kafka, linger_ms: int) -> KafkaProducer:
    return KafkaProducer(**kafka_options(kafka), linger_ms=linger_ms, batch_size=256 * 1024)


def send_backlog(kafka: Kafka, sizes: Sizes) -> int:
    """Fill the topic with what a job finds when it starts after an outage; the number of messages."""
    producer = _producer(kafka, 20)
    mix = Mix(sizes.seed + 1, sizes.live_runs, sizes.users, sizes.models, "past")
    for key, value in topic_of(mix, sizes.backlog, datetime.now(timezone.utc)):
        producer.send(TRAINING_EVENTS, key=key.encode(), value=value)
    producer.flush()
    producer.close()
    return sizes.backlog


def send_live(kafka: Kafka, sizes: Sizes, seconds: float) -> tuple[dict[str, list[float]], float]:
    """Events of all runs in turn for so long; when each event of each probe was sent, and the rate reached.

    The first runs in turn are probes: their ids say so, else they are as the others.
    """
    producer = _producer(kafka, GATHERED_MS)
    fleets = [
        _probes(sizes),
        Fleet(_mix(sizes, f"live{sizes.live_runs}", sizes.live_runs - sizes.probes)),
    ]
    sent: dict[str, list[float]] = {}
    began, count = time.time(), 0
    while (now := time.time()) < began + seconds:
        due = int((now - began) * sizes.live_rate)
        if count >= due:
            time.sleep(0.5 / sizes.live_rate)
            continue
        number = count % sizes.live_runs
        is_probe = number < sizes.probes
        fleet, inside = (fleets[0], number) if is_probe else (fleets[1], number - sizes.probes)
        # To the millisecond, as the event says it.
        at = datetime.fromtimestamp(int(time.time() * 1000) / 1000, timezone.utc)
        run_id = fleet.run_id(inside)
        producer.send(TRAINING_EVENTS, key=run_id.encode(), value=fleet.message(inside, at))
        if is_probe:
            sent.setdefault(run_id, []).append(at.timestamp())
        if count % sizes.live_rate == 0:
            _send_nodes(producer, sizes, count // sizes.live_rate, at)
        count += 1
    producer.flush()
    producer.close()
    return sent, count / (time.time() - began)


def probes(sizes: Sizes) -> list[str]:
    """The runs that are watched; another number of runs is other runs."""
    fleet = _probes(sizes)
    return [fleet.run_id(number) for number in range(sizes.probes)]


def _probes(sizes: Sizes) -> Fleet:
    return Fleet(_mix(sizes, f"{PROBE}{sizes.live_runs}", sizes.probes))


def _mix(sizes: Sizes, prefix: str, runs: int) -> Mix:
    return Mix(sizes.seed + 2, runs, sizes.users, sizes.models, prefix)


def _send_nodes(producer: KafkaProducer, sizes: Sizes, second: int, at: datetime) -> None:
    for node in range(sizes.nodes):
        producer.send(NODE_METRICS, key=f"node-{node}".encode(), value=node_sample(node, second, at))
