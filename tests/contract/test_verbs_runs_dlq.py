"""`joule runs` and `joule dlq`: text of strangers is shown as text, and what was rejected is kept to the byte."""

from __future__ import annotations

import csv
import io
import json

import pytest

from schemas import documents
from schemas.errors import ContractError, PipelineError
from schemas.topics import STREAMED, TRAINING_EVENTS
from spark_jobs.deadletters import KEPT_BYTES, DeadLetter, Message
from tests.contract.verbs import AT, HOSTILE, joule, run_doc
from tests.kafka_topics import ends, since


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
    before = ends(kafka, *STREAMED)
    joule("dlq", "replay", one, other, "--dry-run")
    assert ends(kafka, *STREAMED) == before
    joule("dlq", "replay", one, other)
    sent = {(record.key, record.value) for record in since(kafka, before)}
    assert sent == {(b"r1", value), (None, b"[1]")}
    refused = joule("dlq", "replay", "--reason", "malformed_json", code=1)
    assert f"{cut}: only its beginning is kept" in refused.stderr
    joule("dlq", "ls", "--reason", "no_such_reason", code=2)
