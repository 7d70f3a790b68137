"""What is in the topics of a real broker, which tests may share: offsets before, records since."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from schemas.topics import TRAINING_EVENTS

# More than the largest message that a topic of ours takes.
FETCH = {"fetch_max_bytes": 2**26, "max_partition_fetch_bytes": 2**26}


def ends(bootstrap: str, *topics: str) -> dict[TopicPartition, int]:
    """End offset of every partition of the topics."""
    with closing(KafkaConsumer(bootstrap_servers=bootstrap)) as consumer:
        places = [TopicPartition(topic, n) for topic in topics for n in consumer.partitions_for_topic(topic)]
        found: dict[TopicPartition, int] = consumer.end_offsets(places)
        return found


def since(bootstrap: str, before: Mapping[TopicPartition, int]) -> list[Any]:
    """Records that were written since the offsets `before`."""
    records = []
    with closing(KafkaConsumer(bootstrap_servers=bootstrap, **FETCH)) as consumer:
        consumer.assign(list(before))
        for place, offset in before.items():
            consumer.seek(place, offset)
        after = consumer.end_offsets(list(before))
        while any(consumer.position(place) < end for place, end in after.items()):
            polled = consumer.poll(timeout_ms=30_000)
            assert polled, f"only {len(records)} records came back"
            records += [record for batch in polled.values() for record in batch]
    return records


def events_of(bootstrap: str, runs: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """All events of these runs, in the order of the topic; other tests' messages may be no JSON."""
    start = dict.fromkeys(ends(bootstrap, TRAINING_EVENTS), 0)
    events: dict[str, list[dict[str, Any]]] = {run: [] for run in runs}
    for record in since(bootstrap, start):
        run = (record.key or b"").decode(errors="replace")
        if run in events:
            event = json.loads(record.value)
            assert event["run_id"] == run
            events[run].append(event)
    return events
