"""The truth of a model's topic, read from its messages alone, and the stored documents held against it."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from math import fsum
from typing import Any

import pytest

from schemas import documents
from spark_jobs.sources import TRAINING
from tests.stream_model import World, accounts_of, ledger_of

close = pytest.approx
Truth = dict[str, tuple[int, dict[str, Any]]]


def truth_of(world: World) -> Truth:
    """Offset and content of the message that stands for each identity: the first of its partition."""
    truth: Truth = {}
    for values in world.topic.partitions:
        for offset, value in enumerate(values):
            fields = json.loads(value)
            if "event_id" in fields:
                truth.setdefault(f"e|{fields['run_id']}|{fields['event_id']}", (offset, fields))
    return truth


def sent_of(world: World, row: dict[str, Any]) -> dict[str, Any]:
    """The message at a ledger row's coordinates."""
    place = row["ingest"]
    found: dict[str, Any] = json.loads(world.topic.partitions[place["partition"]][place["offset"]])
    return found


def check_accounts(world: World) -> None:
    """Each message is accepted, rejected or a duplicate, and counted once."""
    truth, rows = truth_of(world), ledger_of(world)
    bad_ones: set[str] = set()
    for partition, values in enumerate(world.topic.partitions):
        counts: Counter[str] = Counter(consumed=len(values))
        for offset, value in enumerate(values):
            fields = json.loads(value)
            if "event_id" not in fields:
                counts["rejected_total"] += 1
                bad_ones.add(f"{TRAINING.topic}/{partition}/{offset}")
                continue
            identity = f"e|{fields['run_id']}|{fields['event_id']}"
            first, standing = truth[identity]
            counts["accepted" if first == offset else "duplicate"] += 1
            counts["conflict"] += standing != fields
            counts["late"] += first == offset and bool(rows[identity].get("late"))
        account = accounts_of(world).get(partition, {})
        assert {name: account.get(name, 0) for name in counts} == dict(counts)
        assert account.get("next_offset", 0) == len(values)
        assert account.get("unknown", 0) == 0
    assert world.docs(documents.REJECTED).keys() == bad_ones
    assert {letter.message.coordinates for letter in world.letters} == bad_ones


def check_documents(world: World, truth: Truth) -> None:
    """Ledger, windows of every dimension, and run summaries against the messages that stand."""
    rows = ledger_of(world)
    assert rows.keys() == truth.keys()
    windows: dict[str, list[dict[str, Any]]] = {}
    runs: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for identity, (offset, fields) in truth.items():
        assert rows[identity]["ingest"]["offset"] == offset
        assert rows[identity]["energy_kwh"] == fields["energy_kwh"]
        start = datetime.fromisoformat(fields["timestamp"]).replace(second=0)
        keys = {"run": fields["run_id"], "user": fields["user_id"], "model": fields.get("model_name", "")}
        for dimension, key in {**keys, "region": "", "all": "all"}.items():
            windows.setdefault(f"{dimension}|{key}|{start:%Y-%m-%dT%H:%M:%SZ}", []).append(fields)
        runs.setdefault(fields["run_id"], []).append((identity, fields))
    stored = world.docs(documents.WINDOWS)
    assert stored.keys() == windows.keys()
    for i, found in windows.items():
        doc = stored[i]
        check_sums(doc, found)
        assert doc["loss"] == close(fsum(f["loss"] * 5 for f in found) / (5 * len(found)), rel=1e-9)
    summaries = world.docs(documents.RUN_SUMMARY)
    assert summaries.keys() == runs.keys()
    for run, events in runs.items():
        check_summary(summaries[run], events, sum(bool(rows[i].get("late")) for i, _ in events))


def check_sums(doc: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """Amounts of a document against its messages."""
    assert doc["n_events"] == len(found)
    assert doc["covered_s"] == close(5.0 * len(found), rel=1e-9)
    for name in ("energy_kwh", "emissions_kg"):
        assert doc[name] == close(fsum(fields[name] for fields in found), rel=1e-9)


def check_summary(doc: dict[str, Any], events: list[tuple[str, dict[str, Any]]], late: int) -> None:
    """A run's summary against its messages."""
    check_sums(doc, [fields for _, fields in events])
    times = [datetime.fromisoformat(fields["timestamp"]) for _, fields in events]
    newest = max(events, key=lambda entry: (entry[1]["timestamp"], entry[0]))[1]
    assert doc["n_late"] == late
    assert doc["started_at"] == min(times) - timedelta(seconds=5)
    assert doc["last_event_at"] == max(times)
    assert doc["last_loss"] == newest["loss"]
    assert doc["best_loss"] == min(fields["loss"] for _, fields in events)
    ends = [fields for _, fields in events if "status" in fields]
    assert doc["status"] == ("completed" if ends else "running")
    assert doc["peak_power_w"] == close(max(f["energy_kwh"] for _, f in events) * 3.6e6 / 5)
