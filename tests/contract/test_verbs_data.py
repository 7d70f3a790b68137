"""The data verbs against the real broker and document server, through the command line itself."""

from __future__ import annotations

import csv
import io
import json
import uuid
from datetime import datetime, timedelta, timezone

import pytest
from kafka import KafkaConsumer, TopicPartition
from pymongo import MongoClient
from typer.testing import CliRunner

from conf.settings import Kafka
from joulestream.cli import app
from joulestream.context import context
from joulestream.local.topics import ensure_topics
from joulestream.progress import query_progress
from joulestream.sending import outbox, size_limits
from joulestream.verbs.status import _lag_now
from schemas import documents
from schemas.carbon import intensity
from schemas.documents import window_id
from schemas.errors import ContractError, PipelineError
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from spark_jobs.deadletters import KEPT_BYTES, DeadLetter, Message

pytestmark = pytest.mark.stack
AT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def db(mongodb_uri, tmp_path, monkeypatch):
    """An empty database, which the verbs find through the environment."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("JOULE_MONGODB_DATABASE", name)
    with MongoClient(mongodb_uri, tz_aware=True) as client:
        yield client[name]
        client.drop_database(name)


@pytest.fixture
def kafka(kafka_bootstrap, monkeypatch):
    """A broker with the topics."""
    ensure_topics(Kafka(bootstrap=kafka_bootstrap))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", kafka_bootstrap)
    return kafka_bootstrap


def joule(*arguments, code=0):
    """Output of a verb, which must end with this code."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, PipelineError):
        raise result.exception
    assert result.exit_code == code, (result.output, result.exception)
    return result


def ends(bootstrap):
    """End offset of every partition of both topics."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        wanted = [
            TopicPartition(topic, partition)
            for topic in (TRAINING_EVENTS, NODE_METRICS)
            for partition in consumer.partitions_for_topic(topic)
        ]
        return consumer.end_offsets(wanted)
    finally:
        consumer.close()


def since(bootstrap, before):
    """Records that were written since the offsets `before`."""
    after = ends(bootstrap)
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, fetch_max_bytes=2**26, max_partition_fetch_bytes=2**26
    )
    records = []
    try:
        consumer.assign(list(before))
        for partition, offset in before.items():
            consumer.seek(partition, offset)
        missing = sum(after.values()) - sum(before.values())
        while len(records) < missing:
            polled = consumer.poll(timeout_ms=10_000)
            assert polled, f"{len(records)} of {missing} records came back"
            records += [record for batch in polled.values() for record in batch]
    finally:
        consumer.close()
    return records


def window(dimension, key, minute, kwh=None, **fields):
    """A stored window as the stream writes it."""
    start = AT + timedelta(minutes=minute)
    doc = {
        "_id": window_id(dimension, key, start),
        "dimension": dimension,
        "key": key,
        "window_start": start,
        "window_end": start + timedelta(minutes=1),
        "n_events": 1,
        **fields,
    }
    if kwh is not None:
        doc |= {
            "energy_kwh": kwh,
            "emissions_kg": kwh * 0.4,
            "covered_s": 60.0,
            "mean_power_w": kwh * 60_000.0,
        }
    return doc


def run_doc(run_id, **fields):
    return {"_id": run_id, "run_id": run_id, "status": "completed", "last_event_at": AT, **fields}


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
    before = ends(kafka)
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
    before = ends(kafka)
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
    before = ends(kafka)
    joule("replay", file, "--topic", NODE_METRICS, "--shift-to-now")
    (record,) = since(kafka, before)
    at = datetime.fromisoformat(json.loads(record.value)["timestamp"].replace("Z", "+00:00"))
    assert timedelta(0) <= datetime.now(timezone.utc) - at < timedelta(minutes=2)


def test_simulate_sends_what_it_writes(kafka, tmp_path):
    options = ("--nodes", 2, "--runs", 4, "--days", 0.1, "--seed", 5, "--duplicates", 0.1, "--malformed", 0.1)
    written = json.loads(joule("simulate", *options, "--out", tmp_path, "--json").stdout)
    before = ends(kafka)
    sent = json.loads(joule("simulate", *options, "--send", "--json").stdout)
    assert sent == written
    values = sorted(record.value for record in since(kafka, before))
    files = [(tmp_path / f"{topic}.ndjson").read_bytes() for topic in (TRAINING_EVENTS, NODE_METRICS)]
    assert values == sorted(line for file in files for line in file[:-1].split(b"\n"))
    assert len(values) == sum(counts["messages"] for counts in written["messages"].values())


def test_drain_waits_for_what_was_there_and_names_the_lag(kafka, db, tmp_path):
    file = tmp_path / "trace.ndjson"
    file.write_bytes(b'{"run_id":"r1"}\n')
    joule("replay", file, "--topic", TRAINING_EVENTS)
    settled = {f"{tp.topic}/{tp.partition}": (tp, offset) for tp, offset in ends(kafka).items()}
    for name, (tp, offset) in settled.items():
        db[documents.ACCOUNTS].insert_one(
            {"_id": name, "topic": tp.topic, "partition": tp.partition, "next_offset": offset}
        )
    joule("drain", "--timeout", 20)
    name, (_, offset) = next((n, v) for n, v in settled.items() if v[1] and n.startswith(TRAINING_EVENTS))
    db[documents.ACCOUNTS].update_one({"_id": name}, {"$set": {"next_offset": offset - 1}})
    result = joule("drain", "--timeout", 0.5, "--json", code=4)
    found = json.loads(result.stdout)
    assert (found["drained"], found["lag"]) == (False, {name: 1})
    assert f"{name}: 1 behind" in result.stderr


def test_drain_waits_for_the_batch_that_is_being_written(kafka, db):
    for tp, offset in ends(kafka).items():
        where = {"_id": f"{tp.topic}/{tp.partition}", "topic": tp.topic, "partition": tp.partition}
        db[documents.ACCOUNTS].insert_one(where | {"next_offset": offset})
    generation = {"_id": "training|1", "query": "training", "number": 1, "writing": 3, "done": 2}
    db[documents.GENERATIONS].insert_one(generation)
    assert "training" in joule("drain", "--timeout", 0.5, code=4).stderr
    db[documents.GENERATIONS].update_one({"_id": "training|1"}, {"$set": {"done": 3}})
    joule("drain", "--timeout", 20)


def test_status_tells_the_lag_of_this_moment_and_not_that_of_the_last_batch(kafka, db, monkeypatch):
    for tp, offset in ends(kafka).items():
        account = {"_id": f"{tp.topic}/{tp.partition}", "topic": tp.topic, "partition": tp.partition}
        query = "training" if tp.topic == TRAINING_EVENTS else "node"
        db[documents.ACCOUNTS].insert_one(account | {"query": query, "next_offset": offset})
    db[documents.PROGRESS].insert_one({"query": "training", "batch": 1, "at": AT, "lag": 0})
    with outbox(Kafka(bootstrap=kafka), (TRAINING_EVENTS,)) as box:
        for number in range(3):
            box.send(TRAINING_EVENTS, b"r1", b"{}", f"message {number}")
    queries, _ = query_progress(context().settings)
    told = [query["lag"] for query in queries]
    _lag_now(context(), queries)
    assert {query["query"]: query["lag"] for query in queries} == {"node": 0, "training": 3}
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    queries, _ = query_progress(context().settings)
    _lag_now(context(), queries)
    assert [query["lag"] for query in queries] == told == [None, 0]


def test_drain_with_the_store_away_times_out(kafka, db, monkeypatch):
    monkeypatch.setenv("JOULE_MONGODB_URI", "mongodb://127.0.0.1:1")
    monkeypatch.setenv("JOULE_MONGODB_TIMEOUT_S", "0.3")
    assert "does not answer" in joule("drain", "--timeout", 0.5, code=4).stderr


def test_report_sums_windows_of_the_range_and_totals_are_the_sum(db):
    db[documents.WINDOWS].insert_many(
        [
            *(window("user", "ada", minute, 0.1) for minute in range(10)),
            window("user", None, 3, 0.5),
            window("user", "eve", 4),
            *(window("run", run, 3, 0.3) for run in ("r1", "r2")),
            window("run", "r3", 99, 9.0),
        ]
    )
    db[documents.RUN_SUMMARY].insert_many(
        [
            run_doc("r1", user_id="ada", carbon_intensity_source="table"),
            run_doc("r2", carbon_intensity_source="client"),
            run_doc("r3", user_id="ada", carbon_intensity_source="other"),
        ]
    )
    span = ("--from", "2026-03-01T12:02:30Z", "--to", "2026-03-01T12:04:10Z")
    found = json.loads(joule("report", "--by", "user", *span, "--json").stdout)
    assert (found["from"], found["to"]) == ("2026-03-01T12:02:00Z", "2026-03-01T12:05:00Z")
    rows = {row["key"]: row for row in found["rows"]}
    assert rows["ada"]["energy_kwh"] == pytest.approx(0.3)
    assert rows["ada"]["mean_power_w"] == pytest.approx(6000.0)
    assert rows["ada"]["n_runs"] == 1
    assert rows["ada"]["carbon_intensity_sources"] == ["table"]
    assert rows[None]["energy_kwh"] == pytest.approx(0.5)
    assert rows["eve"]["energy_kwh"] is None
    assert found["total"]["energy_kwh"] == pytest.approx(0.8)
    assert found["total"]["emissions_kg"] == pytest.approx(0.32)
    assert found["total"]["n_runs"] == 2
    whole = json.loads(joule("report", "--by", "run", "--format", "json").stdout)
    assert whole["total"]["energy_kwh"] == pytest.approx(9.6)
    table = joule("report", "--by", "user").stdout
    assert "(not known)" in table
    assert "total" in table
    lines = list(csv.DictReader(io.StringIO(joule("report", "--format", "csv").stdout)))
    assert lines[-1]["line"] == "total"


def test_report_of_nodes_keeps_the_split(db):
    start = AT
    db[documents.NODE_WINDOWS].insert_one(
        {
            "_id": "n1|x",
            "node_id": "n1",
            "window_start": start,
            "window_end": start + timedelta(minutes=1),
            "n_samples": 60,
            "covered_s": 60.0,
            "mean_power_w": 120.0,
            "energy_kwh": 0.002,
            "attributed_kwh": 0.001,
            "idle_kwh": 0.0007,
            "unattributed_kwh": 0.0003,
            "attributed": [{"run_id": "r1", "energy_kwh": 0.001}],
        }
    )
    (row,) = json.loads(joule("report", "--by", "node", "--json").stdout)["rows"]
    assert (row["key"], row["n_samples"], row["n_runs"]) == ("n1", 60, 1)
    assert row["mean_power_w"] == pytest.approx(120.0)
    assert row["attributed_kwh"] + row["idle_kwh"] + row["unattributed_kwh"] == pytest.approx(0.002)


def test_report_of_nodes_has_the_co2e_of_those_whose_region_is_known(db, monkeypatch):
    monkeypatch.setenv("JOULE_NODE_NODE_ID", "own")
    monkeypatch.setenv("JOULE_NODE_REGION_ISO", "POL")
    span = {"window_start": AT, "window_end": AT + timedelta(minutes=1), "attributed": []}
    nodes = {"paris": 2.0, "own": 1.0, "nowhere": 0.5, "mars": 0.25, "silent": None}
    for node, kwh in nodes.items():
        known = {} if kwh is None else {"energy_kwh": kwh}
        db[documents.NODE_WINDOWS].insert_one({"_id": f"{node}|x", "node_id": node, **span, **known})
    for node, region in (("paris", "FRA"), ("mars", "XX"), ("silent", "FRA")):
        db[documents.NODE_METRICS].insert_one({"_id": f"s|{node}|p|1", "node_id": node, "region_iso": region})
    found = json.loads(joule("report", "--by", "node", "--json").stdout)
    rows = {row["key"]: row for row in found["rows"]}
    expected = {"paris": 2.0 * intensity("FRA").g_per_kwh / 1000, "own": intensity("POL").g_per_kwh / 1000}
    for node, region in (("paris", "FRA"), ("own", "POL")):
        assert rows[node]["emissions_kg"] == pytest.approx(expected[node], rel=1e-12)
        assert rows[node]["carbon_intensity_sources"] == [intensity(region).source]
        assert rows[node]["emissions_not_known"] == []
    for node, why in (("nowhere", "no region"), ("mars", "'XX'"), ("silent", "energy")):
        assert (rows[node]["emissions_kg"], rows[node]["carbon_intensity_sources"]) == (None, [])
        assert why in rows[node]["emissions_not_known"][0]
    assert found["total"]["emissions_kg"] == pytest.approx(sum(expected.values()), rel=1e-12)
    assert len(found["total"]["emissions_not_known"]) == 3
    table = joule("report", "--by", "node").stdout
    assert "CO2e" in table
    assert intensity("FRA").source in table
    lines = {
        row["node"]: row
        for row in csv.DictReader(io.StringIO(joule("report", "--by", "node", "--format", "csv").stdout))
    }
    assert lines["nowhere"]["emissions_kg"] == ""
    assert float(lines["own"]["emissions_kg"]) == pytest.approx(expected["own"], rel=1e-12)


def test_report_of_pods_sums_them_over_nodes_and_windows(db):
    pods = [("ml", "a", 0.002), ("ml", "b", 0.001), ("web", "a", 0.0005)]
    db[documents.NODE_WINDOWS].insert_many(
        {
            "_id": f"{node}|x",
            "node_id": node,
            "window_start": AT,
            "window_end": AT + timedelta(minutes=1),
            "pods": [
                {"namespace": namespace, "pod": pod, "energy_kwh": kwh}
                for namespace, pod, kwh in pods[: i + 2]
            ],
        }
        for i, node in enumerate(("n1", "n2"))
    )
    db[documents.NODE_WINDOWS].insert_one(
        {"_id": "n3|x", "node_id": "n3", "window_start": AT, "attributed": []}
    )
    by_pod = json.loads(joule("report", "--by", "pod", "--json").stdout)
    assert [(row["key"], row["energy_kwh"], row["n_windows"]) for row in by_pod["rows"]] == [
        ("ml/a", pytest.approx(0.004), 2),
        ("ml/b", pytest.approx(0.002), 2),
        ("web/a", pytest.approx(0.0005), 1),
    ]
    assert by_pod["total"] == {"energy_kwh": pytest.approx(0.0065), "n_windows": 5}
    by_namespace = json.loads(joule("report", "--by", "namespace", "--json").stdout)["rows"]
    assert [(row["key"], row["energy_kwh"]) for row in by_namespace] == [
        ("ml", pytest.approx(0.006)),
        ("web", pytest.approx(0.0005)),
    ]
    assert "web/a" in joule("report", "--by", "pod").stdout
    assert "kg" not in joule("report", "--by", "namespace", "--format", "csv").stdout


@pytest.mark.parametrize("by", ["user", "model", "run", "node", "namespace", "pod", "region"])
def test_report_of_nothing_is_empty_and_no_error(db, by):
    assert json.loads(joule("report", "--by", by, "--json").stdout)["rows"] == []
    joule("report", "--by", by)


def test_report_refuses_a_range_that_ends_before_it_begins(db):
    joule("report", "--from", "2026-03-02", "--to", "2026-03-01", code=2)


HOSTILE = '=HYPERLINK("x") \x1b[31m [bold]\u202e'


def test_runs_are_listed_shown_compared_and_exported_as_text(db):
    db[documents.RUN_SUMMARY].insert_many(
        [
            run_doc("r1", model_name=HOSTILE, energy_kwh=1.0, user_id="ada"),
            run_doc("r2", model_name="m", energy_kwh=2.0, status="running"),
        ]
    )
    listed = joule("runs", "ls")
    assert "\x1b[31m" not in listed.output
    assert "\u202e" not in listed.output
    assert "[bold]" in listed.output
    assert "/run?run=" in listed.stderr
    found = json.loads(joule("runs", "ls", "--status", "stale", "--json").stdout)
    assert [(run["run_id"], run["status"]) for run in found] == [("r2", "stale")]
    assert found[0]["url"].endswith("/run?run=r2")
    assert json.loads(joule("runs", "show", "r1", "--json").stdout)["energy_kwh"] == 1.0
    compared = json.loads(joule("runs", "compare", "r1", "r2", "--json").stdout)
    assert {row["field"]: row["ratios"] for row in compared["rows"]}["energy_kwh"] == [1.0, 2.0]
    joule("runs", "compare", "r1", "r2")
    exported = list(csv.DictReader(io.StringIO(joule("runs", "export", "--all").stdout)))
    assert next(row for row in exported if row["run_id"] == "r1")["model_name"].startswith("'=")
    lines = joule("runs", "export", "r1", "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == ["r1"]
    with pytest.raises(PipelineError, match="no run is called nobody"):
        joule("runs", "show", "nobody")


def reject(db, offset, value, code="malformed_json", key=b"r1"):
    """A rejected message as the stream stores it."""
    message = Message(TRAINING_EVENTS, 0, offset, AT, key, value[: KEPT_BYTES + 1], len(value), None)
    db[documents.REJECTED].insert_one(DeadLetter(message, ContractError(code, f"bad: {HOSTILE}")).to_doc(AT))
    return message.coordinates


def test_dead_letters_are_listed_shown_and_sent_again(kafka, db):
    value = b"\xff\x1b[31m not json"
    one, other = reject(db, 1, value), reject(db, 2, b"[1]", "not_an_object", None)
    cut = reject(db, 3, b"x" * (KEPT_BYTES + 10))
    found = json.loads(joule("dlq", "ls", "--reason", "malformed_json", "--json").stdout)
    assert {doc["id"] for doc in found} == {one, cut}
    assert "\x1b" not in joule("dlq", "ls").output
    shown = joule("dlq", "show", one)
    assert "\\xff\\x1b[31m not json" in shown.stdout
    assert "\x1b" not in shown.output
    assert joule("dlq", "show", one, "--raw").stdout_bytes == value
    before = ends(kafka)
    joule("dlq", "replay", one, other, "--dry-run")
    assert ends(kafka) == before
    joule("dlq", "replay", one, other)
    sent = {(record.key, record.value) for record in since(kafka, before)}
    assert sent == {(b"r1", value), (None, b"[1]")}
    refused = joule("dlq", "replay", "--reason", "malformed_json", code=1)
    assert f"{cut}: only its beginning is kept" in refused.stderr
    joule("dlq", "ls", "--reason", "no_such_reason", code=2)


def test_a_broker_that_is_away_is_named(tmp_path, monkeypatch):
    file = tmp_path / "trace.ndjson"
    file.write_bytes(b"{}\n")
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    with pytest.raises(PipelineError, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        joule("replay", file, "--topic", TRAINING_EVENTS)
