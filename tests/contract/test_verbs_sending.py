"""`joule replay` and `joule simulate` on the real broker: what is sent is what is in the file, byte for byte."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from conf.settings import Kafka
from joulestream.sending import size_limits
from schemas.errors import PipelineError
from schemas.topics import NODE_METRICS, STREAMED, TRAINING_EVENTS
from tests.contract.verbs import joule
from tests.kafka_topics import ends, since


def test_replay_sends_every_line_byte_for_byte_with_its_key(kafka, tmp_path):
    lines = [
        b'{"run_id":"r1","timestamp":"2025-01-01T00:00:00Z"}',
        b"\xff\xfe not utf-8 \x00",
        b"",
        b'{"run_id":"big","pad":"' + b"x" * 10_000_000 + b'"}',
        b'{"run_id":"r1"}\r',
    ]
    file = tmp_path / "trace.ndjson"
    file.write_bytes(b"\n".join(lines))
    before = ends(kafka, *STREAMED)
    said = json.loads(joule("replay", file, "--topic", TRAINING_EVENTS, "--json").stdout)
    assert (said["sent"], said["failed"]) == (len(lines), 0)
    records = since(kafka, before)
    assert sorted(record.value for record in records) == sorted(lines)
    keys = {record.value: record.key for record in records}
    assert keys[lines[0]] == b"r1"
    assert keys[lines[1]] is None


def test_replay_keeps_the_order_of_a_run(kafka, tmp_path):
    lines = [json.dumps({"run_id": f"r{i % 3}", "step": i}) for i in range(3000)]
    file = tmp_path / "trace.ndjson"
    file.write_text("\n".join(lines) + "\n")
    before = ends(kafka, *STREAMED)
    joule("replay", file, "--topic", TRAINING_EVENTS)
    steps = {}
    for record in since(kafka, before):
        steps.setdefault(record.key, []).append(json.loads(record.value)["step"])
    assert sum(map(len, steps.values())) == 3000
    assert all(seen == sorted(seen) for seen in steps.values())


def test_replay_of_a_message_that_the_broker_refuses_fails_and_names_the_line(kafka, tmp_path):
    file = tmp_path / "trace.ndjson"
    file.write_bytes(b'{"run_id":"a"}\n' + b"x" * 20_000_000 + b'\n{"run_id":"b"}\n')
    said = joule("replay", file, "--topic", TRAINING_EVENTS, "--json", code=1)
    found = json.loads(said.stdout)
    assert (found["sent"], found["failed"]) == (2, 1)
    assert "line 2: " in found["failures"][0]
    assert "20000000 bytes" in found["failures"][0]


def test_a_topic_that_is_not_there_is_named(kafka, tmp_path):
    with pytest.raises(PipelineError, match=r"'no\.such\.topic' is not on the broker"):
        size_limits(Kafka(bootstrap=kafka), (TRAINING_EVENTS, "no.such.topic"))


def test_shifted_replay_ends_now(kafka, tmp_path):
    file = tmp_path / "trace.ndjson"
    file.write_bytes(b'{"node_id":"n","timestamp":"2025-01-01T00:00:00Z"}\n')
    before = ends(kafka, *STREAMED)
    joule("replay", file, "--topic", NODE_METRICS, "--shift-to-now")
    (record,) = since(kafka, before)
    at = datetime.fromisoformat(json.loads(record.value)["timestamp"].replace("Z", "+00:00"))
    assert timedelta(0) <= datetime.now(timezone.utc) - at < timedelta(minutes=2)


def test_simulate_sends_what_it_writes(kafka, tmp_path):
    options = ("--nodes", 2, "--runs", 4, "--days", 0.1, "--seed", 5, "--duplicates", 0.1, "--malformed", 0.1)
    written = json.loads(joule("simulate", *options, "--out", tmp_path, "--json").stdout)
    before = ends(kafka, *STREAMED)
    sent = json.loads(joule("simulate", *options, "--send", "--json").stdout)
    assert sent == written
    values = sorted(record.value for record in since(kafka, before))
    files = [(tmp_path / f"{topic}.ndjson").read_bytes() for topic in STREAMED]
    assert values == sorted(line for file in files for line in file[:-1].split(b"\n"))
    assert len(values) == sum(counts["messages"] for counts in written["messages"].values())


def test_a_broker_that_is_away_is_named(tmp_path, monkeypatch):
    file = tmp_path / "trace.ndjson"
    file.write_bytes(b"{}\n")
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    with pytest.raises(PipelineError, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        joule("replay", file, "--topic", TRAINING_EVENTS)
