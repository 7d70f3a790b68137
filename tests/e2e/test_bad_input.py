"""Every bad input of the catalogue, and every odd one, once through the real broker in one go.

Between them stand good events of a live run. Each bad one ends in `rejected_events` and on the dead-letter topic
with its reason, bytes, coordinates and headers; its neighbours are stored; the watermark does not move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum
from typing import Any

import psutil
import pytest

from schemas import documents
from schemas.parse import MAX_MESSAGE_BYTES
from schemas.topics import TRAINING_EVENTS
from spark_jobs.deadletters import KEPT_BYTES
from tests.bad_input import BAD_INPUTS, ODD_BUT_GOOD, BadInput
from tests.e2e.live_stack import LiveStack, live_stack
from tests.messages import ABSENT, AT, training

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.timeout(300)]

NEIGHBOURS = 20
OURS = {"_id", "ingest"}  # fields that the stream gives, whatever a message says
LARGE = 200  # messages of just under 1 MiB: together more than a worker may hold at once
MAX_RSS_MIB = 2500


@dataclass
class Sent:
    """Where each message of the catalogue went."""

    stack: LiveStack
    bad: dict[str, BadInput] = field(default_factory=dict)  # by coordinates
    peak_mib: float = 0.0


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """Everything is sent, then the stream starts and settles it."""
    with live_stack(tmp_path_factory.mktemp("bad"), window_s=60, watermark_s=60) as stack:
        found = Sent(stack)
        producer = stack.producer(max_request_size=16 * 2**20, compression_type="gzip")
        for number, bad in enumerate(BAD_INPUTS):
            if number % (len(BAD_INPUTS) // NEIGHBOURS) == 0:
                producer.send(TRAINING_EVENTS, key=b"live", value=neighbour(number))
            place = producer.send(bad.topic, key=bad.name.encode(), value=bad.value).get(60)
            found.bad[f"{place.topic}/{place.partition}/{place.offset}"] = bad
        for odd in ODD_BUT_GOOD:
            producer.send(odd.topic, key=odd.name.encode(), value=odd.value)
        producer.flush(60)
        stack.start_stream()
        stack.drain()
        producer.send(TRAINING_EVENTS, key=b"live", value=neighbour(-1))  # the stream goes on
        producer.close()
        stack.drain()
        yield found


def neighbour(number: int) -> bytes:
    """A good event among the bad ones."""
    return training(run_id="live", event_id=f"n{number}", energy_kwh=0.1)


def test_each_is_rejected_with_its_reason_bytes_and_coordinates(sent: Sent) -> None:
    rejected = {doc["_id"]: doc for doc in sent.stack.db[documents.REJECTED].find()}
    assert rejected.keys() == sent.bad.keys()
    for place, bad in sent.bad.items():
        doc, value = rejected[place], bad.value or b""
        assert doc["reason"] == bad.reason, bad.name
        assert doc["key"] == bad.name.encode()
        assert f"{doc['topic']}/{doc['partition']}/{doc['offset']}" == place
        assert doc["value"] == value[:KEPT_BYTES]
        assert doc["length"] == len(value)
        assert doc["sha256"] == hashlib.sha256(value).hexdigest()
        assert doc["truncated"] == (len(value) > KEPT_BYTES)
        assert doc["message"]
        assert isinstance(doc["first_seen_at"], datetime)


def test_each_is_on_the_dead_letter_topic_with_headers(sent: Sent) -> None:
    records = {record.key.decode(): record for record in sent.stack.dead_letters()}
    assert records.keys() == sent.bad.keys()
    for place, bad in sent.bad.items():
        record, value = records[place], bad.value or b""
        headers = {name.removeprefix("__connect.errors."): text.decode() for name, text in record.headers}
        assert f"{headers['topic']}/{headers['partition']}/{headers['offset']}" == place
        assert headers["exception.class.name"] == bad.reason, bad.name
        assert headers["exception.message"]
        kept = value if len(value) <= MAX_MESSAGE_BYTES else value[:KEPT_BYTES]
        assert (record.value or b"") == kept


def test_neighbours_are_stored_and_summed(sent: Sent) -> None:
    numbers = [n for n in range(len(BAD_INPUTS)) if n % (len(BAD_INPUTS) // NEIGHBOURS) == 0]
    summary = sent.stack.db[documents.RUN_SUMMARY].find_one({"_id": "live"})
    assert summary["n_events"] == len(numbers) + 1
    assert summary["energy_kwh"] == pytest.approx(0.1 * (len(numbers) + 1))


def test_odd_but_good_ones_are_stored_as_what_they_are(sent: Sent) -> None:
    for odd in ODD_BUT_GOOD:
        training_event = odd.topic == TRAINING_EVENTS
        ledger = documents.TRAINING_METRICS if training_event else documents.NODE_METRICS
        owner = "run_id" if training_event else "node_id"
        name = odd.keeps.get(owner, f"odd-{odd.name}")
        doc: dict[str, Any] = sent.stack.db[ledger].find_one({owner: name})
        assert doc is not None, odd.name
        for field_name, value in odd.keeps.items():
            if field_name not in OURS:
                assert doc.get(field_name, ABSENT) == value, f"{odd.name}: {field_name}"
        assert doc["_id"] != "x"
        assert doc["ingest"]["topic"] == odd.topic


def test_the_account_knows_each_message(sent: Sent) -> None:
    ends = sent.stack.ends()
    for account in sent.stack.db[documents.ACCOUNTS].find():
        became = account["accepted"] + account["rejected_total"] + account["duplicate"]
        assert became == account["consumed"] == ends[account["topic"], account["partition"]]
        assert account["duplicate"] == 0


def test_the_watermark_is_that_of_the_good_events(sent: Sent) -> None:
    """A message from the year 2100 or 9999 does not make all later data late."""
    generation = sent.stack.db[documents.GENERATIONS].find_one({"query": "training"})
    newest = max(row["timestamp"] for row in sent.stack.db[documents.TRAINING_METRICS].find())
    assert AT <= newest < AT + timedelta(seconds=1)
    assert generation["watermark_ms"] == int(newest.timestamp() * 1000) - 60_000


def test_sums_are_those_of_the_ledger(sent: Sent) -> None:
    rows = sent.stack.db[documents.TRAINING_METRICS].find({"energy_kwh": {"$exists": True}})
    total = fsum(row["energy_kwh"] for row in rows)
    for dimension in documents.DIMENSIONS:
        docs = sent.stack.db[documents.WINDOWS].find(
            {"dimension": dimension, "energy_kwh": {"$exists": True}}
        )
        assert fsum(doc["energy_kwh"] for doc in docs) == pytest.approx(total, rel=1e-9)


def test_poison_that_is_within_the_limits_does_not_stop_the_stream(sent: Sent) -> None:
    """Numbers whose sums or products overflow, in live windows and late ones."""
    stack = sent.stack
    assert stack.stream is not None
    producer = stack.producer()
    for number in range(3):
        absurd = {"loss": 1.7e308, "accuracy": -1.7e308, "interval_s": 1e308, "energy_kwh": 1e-9}
        for at in ("2024-03-01T12:00:00Z", "2016-01-01T00:00:00Z"):
            value = training(run_id="absurd", event_id=f"{at}{number}", timestamp=at, **absurd)
            producer.send(TRAINING_EVENTS, key=b"absurd", value=value)
    producer.close()
    stack.drain()
    summary = stack.db[documents.RUN_SUMMARY].find_one({"_id": "absurd"})
    assert (summary["n_events"], summary["n_late"]) == (6, 3)
    assert summary["energy_kwh"] == pytest.approx(6e-9)
    assert stack.stream.poll() is None


def test_memory_stays_bounded_under_the_largest_messages(sent: Sent) -> None:
    """Many messages of 1 MiB in one batch, good and bad ones."""
    stack = sent.stack
    assert stack.stream is not None
    producer = stack.producer(max_request_size=16 * 2**20, compression_type="gzip")
    for number in range(LARGE):
        value = training(run_id="large", event_id=str(number), energy_kwh=0.5)
        bad = b"{" if number % 2 else b""
        producer.send(TRAINING_EVENTS, key=b"large", value=bad + value + b" " * (2**20 - len(value) - 1))
    producer.close()
    peak_mib = 0.0

    def settled() -> bool:
        nonlocal peak_mib
        assert stack.stream is not None
        peak_mib = max(peak_mib, rss_mib(stack.stream.pid))
        return bool(stack.db[documents.RUN_SUMMARY].find_one({"_id": "large", "n_events": LARGE // 2}))

    stack.wait("large messages", settled, 180)
    stack.drain()
    assert peak_mib < MAX_RSS_MIB


def rss_mib(pid: int) -> float:
    """Resident memory of a process and all that it started."""
    total = 0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20
