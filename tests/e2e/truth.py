"""The stored documents against the traffic's own truth: every account, every sum, to 1e-9."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from math import fsum
from typing import Any

import pytest

from schemas import documents
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from schemas.units import J_PER_KWH
from tests.e2e.live_stack import LiveStack
from tests.e2e.traffic import Traffic

REGIONS = {"de": "DEU", "US": "USA"}


def near(value: float) -> Any:
    """Equal to 1e-9 of the value."""
    return pytest.approx(value, rel=1e-9, abs=1e-18)


def check_everything(stack: LiveStack, traffic: Traffic, window_s: int) -> None:
    """All that must be true once the topics are drained."""
    check_accounts(stack, traffic)
    check_training(stack, traffic, window_s)
    check_nodes(stack, traffic, window_s)
    check_rejected(stack, traffic)


def check_accounts(stack: LiveStack, traffic: Traffic) -> None:
    """Per partition accepted + rejected + duplicate = consumed = messages sent; in total what the traffic says."""
    ends = stack.ends()
    for topic, ledger in ((TRAINING_EVENTS, "training_metrics"), (NODE_METRICS, "node_metrics")):
        counts = traffic.counts[topic]
        found: Counter[str] = Counter()
        for account in stack.db[documents.ACCOUNTS].find({"topic": topic}):
            became = account["accepted"] + account["rejected_total"] + account["duplicate"]
            assert became == account["consumed"] == ends[topic, account["partition"]]
            assert account["unknown"] == 0
            of_partition = {"ingest.partition": account["partition"]}
            assert stack.db[ledger].count_documents(of_partition) == account["accepted"]
            late = stack.db[ledger].count_documents({**of_partition, "late": True})
            assert late == account["late"]
            found.update({name: account[name] for name in counts})
        assert found == counts


def starts_of(at: str, window_s: int) -> str:
    """Start of the window of a time, as ids have it."""
    seconds = datetime.fromisoformat(at).timestamp() // window_s * window_s
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_training(stack: LiveStack, traffic: Traffic, window_s: int) -> None:
    """Ledger = what was accepted = summaries = windows of every dimension."""
    ledger = {row["_id"]: row for row in stack.db[documents.TRAINING_METRICS].find()}
    assert ledger.keys() == traffic.runs.keys()
    late = {i for i, row in ledger.items() if row.get("late")}
    assert traffic.surely_late & ledger.keys() <= late
    by_window: dict[str, list[dict[str, Any]]] = {}
    by_run: dict[str, list[str]] = {}
    for identity, fields in traffic.runs.items():
        assert ledger[identity]["energy_kwh"] == fields["energy_kwh"]
        start = starts_of(fields["timestamp"], window_s)
        region = REGIONS.get(fields.get("region_iso", ""), "")
        keys = {"run": fields["run_id"], "user": fields["user_id"], "model": fields.get("model_name", "")}
        for dimension, key in {**keys, "region": region, "all": "all"}.items():
            by_window.setdefault(f"{dimension}|{key}|{start}", []).append(fields)
        by_run.setdefault(fields["run_id"], []).append(identity)
    windows = {doc["_id"]: doc for doc in stack.db[documents.WINDOWS].find()}
    assert windows.keys() == by_window.keys()
    for i, events in by_window.items():
        check_sums(windows[i], events)
    summaries = {doc["_id"]: doc for doc in stack.db[documents.RUN_SUMMARY].find()}
    assert summaries.keys() == by_run.keys()
    for run, identities in by_run.items():
        events = [traffic.runs[i] for i in identities]
        check_sums(summaries[run], events)
        assert summaries[run]["n_late"] == len(late & set(identities))
        assert summaries[run]["best_loss"] == min(fields["loss"] for fields in events)
        newest = max((fields["timestamp"], i) for i, fields in zip(identities, events, strict=True))[1]
        assert summaries[run]["last_loss"] == traffic.runs[newest]["loss"]
    total = fsum(fields["energy_kwh"] for fields in traffic.runs.values())
    assert fsum(doc["energy_kwh"] for doc in summaries.values()) == near(total)
    for dimension in documents.DIMENSIONS:
        of_dimension = [doc["energy_kwh"] for doc in windows.values() if doc["dimension"] == dimension]
        assert fsum(of_dimension) == near(total)


def check_sums(doc: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """Amounts of one document."""
    assert doc["n_events"] == len(events)
    assert doc["energy_kwh"] == near(fsum(fields["energy_kwh"] for fields in events))
    assert doc["emissions_kg"] == near(fsum(fields["emissions_kg"] for fields in events))
    assert doc["covered_s"] == near(len(events))


def check_nodes(stack: LiveStack, traffic: Traffic, window_s: int) -> None:
    """Each node window: its energy, what each run used of it, and that the split adds up."""
    ledger = {row["_id"]: row for row in stack.db[documents.NODE_METRICS].find()}
    assert ledger.keys() == traffic.nodes.keys()
    assert traffic.surely_late & ledger.keys() <= {i for i, row in ledger.items() if row.get("late")}
    by_window: dict[str, list[dict[str, Any]]] = {}
    for fields in traffic.nodes.values():
        i = f"{fields['node_id']}|{starts_of(fields['timestamp'], window_s)}"
        by_window.setdefault(i, []).append(fields)
    windows = {doc["_id"]: doc for doc in stack.db[documents.NODE_WINDOWS].find()}
    assert windows.keys() == by_window.keys()
    for i, samples in by_window.items():
        doc = windows[i]
        runs: dict[str, list[float]] = {}
        total_j, idle_j = [], []
        for fields in samples:
            parts_j = fields["cpu_energy_j"] + fields["dram_energy_j"]
            total_j.append(max(parts_j, fields.get("platform_energy_j", 0.0)))
            busy_j = parts_j * fields["cpu_utilization_pct"] / 100
            idle_j.append(parts_j - busy_j)
            for consumer in fields["consumers"]:
                runs.setdefault(consumer["run_id"], []).append(busy_j * consumer["cpu_time_share"])
        assert doc["n_samples"] == len(samples)
        assert doc["energy_kwh"] == near(fsum(total_j) / J_PER_KWH)
        assert doc["idle_kwh"] == near(fsum(idle_j) / J_PER_KWH)
        used = {entry["run_id"]: entry["energy_kwh"] for entry in doc["attributed"]}
        assert used == {run: near(fsum(values) / J_PER_KWH) for run, values in runs.items()}
        split = fsum((doc["attributed_kwh"], doc["idle_kwh"], doc["unattributed_kwh"]))
        assert split == near(doc["energy_kwh"])


def check_rejected(stack: LiveStack, traffic: Traffic) -> None:
    """Rejected messages, and only they, are dead letters: an outage sends nothing there."""
    count = sum(counts["rejected_total"] for counts in traffic.counts.values())
    rejected = {doc["_id"]: doc for doc in stack.db[documents.REJECTED].find()}
    assert len(rejected) == count
    assert {record.key.decode() for record in stack.dead_letters()} == rejected.keys()
    bodies = {value for _, _, value in traffic.sent}
    assert all(doc["value"] in bodies and doc["reason"] != "not_storable" for doc in rejected.values())
