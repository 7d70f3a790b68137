"""What the exporter reads from a real store: the documents' own numbers, in base units, with bounded labels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from kafka import KafkaProducer
from pymongo import MongoClient

from conf.clients import kafka_options
from conf.settings import Settings, load_settings
from joulestream.exporter.energy_part import EnergyPart
from joulestream.exporter.kafka_part import KafkaPart
from joulestream.exporter.nodes_part import NodesPart
from joulestream.exporter.samples import Buckets, Sample
from joulestream.exporter.service import collecting
from joulestream.exporter.state_part import StatePart
from joulestream.exporter.stream_part import StreamPart
from joulestream.local.topics import ensure_topics
from schemas import documents
from schemas.documents import node_window_id
from schemas.topics import TRAINING_EVENTS
from spark_jobs.store import Address, Db, Doc
from tests.exporter_seed import seed_fleet

NOW = datetime.now(timezone.utc).replace(second=30, microsecond=0)
J_PER_KWH = 3.6e6
Values = dict[tuple[str, ...], Any]


@pytest.fixture
def seeded_db(stream_address: Address) -> Iterator[Db]:
    """A small fleet's documents; its ledgers are not those of the contract, and the exporter reads none."""
    with MongoClient[Doc](stream_address.uri, tz_aware=True) as client:
        seed_fleet(client[stream_address.database], NOW)
        yield client[stream_address.database]


def values(samples: Iterable[Sample]) -> Values:
    """By name, without `joulestream_`, and labels."""
    return {(sample.metric.removeprefix("joulestream_"), *sample.labels): sample.value for sample in samples}


def settings(address: Address, **more: Any) -> Settings:
    flags = {key.replace("__", "."): value for key, value in more.items()}
    return load_settings({"mongodb.uri": address.uri, "mongodb.database": address.database, **flags})


def run(i: str, user: str | None, kwh: float | None, kg: float | None = None, **more: Any) -> dict[str, Any]:
    given = {"user_id": user, "energy_kwh": kwh, "emissions_kg": kg, "model_name": "m", "region_iso": "DEU"}
    known = {key: value for key, value in given.items() if value is not None}
    return {"_id": i, "status": "running", "last_event_at": NOW, **known, **more}


def node_window(node: str, minutes_ago: int, power_w: float, **more: Any) -> dict[str, Any]:
    start = NOW.replace(second=0) - timedelta(minutes=minutes_ago)
    kwh = power_w * 60 / J_PER_KWH
    parts = {"attributed_kwh": kwh / 2, "idle_kwh": kwh / 4, "unattributed_kwh": kwh / 4}
    times = {"window_start": start, "window_end": start + timedelta(minutes=1)}
    return {
        "_id": node_window_id(node, start),
        "node_id": node,
        "energy_kwh": kwh,
        "mean_power_w": power_w,
        **times,
        **parts,
        **more,
    }


def test_the_queries_are_as_their_documents_say(stream_address: Address, seeded_db: Db) -> None:
    found = values(StreamPart(seeded_db, settings(stream_address)).read(NOW + timedelta(seconds=4)))
    for account in seeded_db[documents.ACCOUNTS].find():
        place = (account["query"], account["topic"], str(account["partition"]))
        for name in ("consumed", "accepted", "duplicate", "conflict", "late"):
            assert found[(f"query_{name}_messages_total", *place)] == account[name]
        assert found[("query_settled_offset", *place)] == account["next_offset"]
    per_reason = 4 * 3  # of each of three partitions
    assert found["query_rejected_messages_total", "training", "training.events", "not_finite"] == per_reason
    assert found["query_rejected_messages_total", "training", "training.events", "too_deep"] == 0
    newest = seeded_db[documents.PROGRESS].find_one({"query": "node"}, sort=[("batch", -1)])
    assert newest is not None
    assert found["query_batches_total", "node"] == newest["batch"] + 1
    assert found["query_last_batch_duration_seconds", "node"] == newest["duration_s"]
    assert found["query_checkpoint_age_seconds", "node"] == 4
    assert found["query_watermark_age_seconds", "node"] == 604
    assert found["query_lease_age_seconds", "node"] == 4
    assert found["query_up", "node"] == 1
    assert found["query_lease_state", "node", "running"] == 1
    assert found["query_lease_state", "node", "released"] == 0
    assert (found["query_trigger_seconds", "training"], found["query_trigger_seconds", "node"]) == (0, 2)


@pytest.mark.parametrize(("state", "silent_s"), [("starting", 0), ("released", 0), ("running", 21)])
def test_a_query_that_nobody_drives_is_down(
    state: str, silent_s: int, stream_address: Address, stream_db: Db
) -> None:
    renewed = NOW - timedelta(seconds=silent_s)
    stream_db[documents.LEASES].insert_one({"_id": "node", "state": state, "epoch": 3, "renewed_at": renewed})
    found = values(StreamPart(stream_db, settings(stream_address)).read(NOW))
    assert found["query_up", "node"] == 0
    assert found["query_lease_epoch", "node"] == 3
    assert ("query_watermark_age_seconds", "node") not in found


def test_batches_count_from_the_first_look_on_and_once_each(stream_address: Address, stream_db: Db) -> None:
    part = StreamPart(stream_db, settings(stream_address))

    def batch(number: int, duration_s: float, errors: int) -> None:
        stream_db[documents.PROGRESS].insert_one(
            {"_id": f"node|{number}", "query": "node", "batch": number, "at": NOW}
            | {"duration_s": duration_s, "store_errors": errors, "rows_in": 5}
        )

    stream_db[documents.LEASES].insert_one({"_id": "node", "state": "running", "epoch": 1, "renewed_at": NOW})
    batch(0, 99.0, 9)
    assert values(part.read(NOW))["query_batch_duration_seconds", "node"].count == 0
    batch(1, 0.5, 0)
    batch(2, 7.0, 2)
    for _ in range(2):
        found = values(part.read(NOW))
        durations = found["query_batch_duration_seconds", "node"]
        assert isinstance(durations, Buckets)
        assert (durations.count, durations.sum) == (2, 7.5)
        at_most = dict(zip(durations.bounds, durations.counts, strict=True))
        assert (at_most[0.25], at_most[0.5], at_most[5.0], at_most[10.0]) == (0, 1, 1, 2)
        assert found["query_store_errors_total", "node"] == 2
        assert found["query_batches_total", "node"] == 3
    stream_db[documents.PROGRESS].delete_many({})
    batch(0, 3.0, 0)
    part.read(NOW)
    batch(1, 4.0, 0)
    durations = values(part.read(NOW))["query_batch_duration_seconds", "node"]
    assert durations.sum == 7.5 + 4.0, "numbers that begin anew are another database's"


def test_stored_energy_is_that_of_the_documents_in_joules_and_grams(
    stream_address: Address, seeded_db: Db
) -> None:
    found = values(EnergyPart(seeded_db, settings(stream_address)).read(NOW))
    runs = list(seeded_db[documents.RUN_SUMMARY].find())
    assert found["stored_energy_joules",] == pytest.approx(
        sum(doc["energy_kwh"] for doc in runs) * J_PER_KWH, rel=1e-12
    )
    assert found["stored_co2e_grams",] == pytest.approx(
        sum(doc["emissions_kg"] for doc in runs) * 1000, rel=1e-12
    )
    for label, field in (("user", "user_id"), ("model", "model_name"), ("region", "region_iso")):
        for name in {doc.get(field) for doc in runs}:
            mine = sum(doc["energy_kwh"] for doc in runs if doc.get(field) == name)
            shown = found[f"{label}_stored_energy_joules", name or "unknown"]
            assert shown == pytest.approx(mine * J_PER_KWH, rel=1e-12)
    statuses = {key[1]: value for key, value in found.items() if key[0] == "runs"}
    assert statuses == {"running": 2, "stale": 1, "completed": 4, "failed": 1, "stopped": 1}
    assert not [key for key in found if key[0].startswith("run_")]


def test_counters_begin_at_zero_grow_with_runs_and_do_not_fall_with_corrections(
    stream_address: Address, stream_db: Db
) -> None:
    runs = stream_db[documents.RUN_SUMMARY]
    runs.insert_many([run("r1", "ann", 1.0, 0.5), run("r2", "bob", 2.0), run("r3", None, None)])
    part = EnergyPart(stream_db, settings(stream_address))
    first = values(part.read(NOW))
    assert {first["user_energy_joules_total", user] for user in ("ann", "bob")} == {0.0}
    assert ("user_stored_co2e_grams", "bob") not in first, "what is not known is not 0"
    assert ("user_stored_energy_joules", "unknown") not in first
    runs.update_one({"_id": "r1"}, {"$set": {"energy_kwh": 1.5, "emissions_kg": 0.75}})
    runs.insert_one(run("r4", "eve", 0.25))
    # A correction of 1 kWh, and what was bob's is ann's now: what she gains from here on is hers.
    runs.update_one({"_id": "r2"}, {"$set": {"energy_kwh": 1.0, "user_id": "ann"}})
    second = values(part.read(NOW))
    assert second["user_energy_joules_total", "ann"] == 0.5 * J_PER_KWH
    assert second["user_energy_joules_total", "bob"] == 0
    assert second["user_energy_joules_total", "eve"] == 0.25 * J_PER_KWH
    assert second["energy_joules_total",] == 0.75 * J_PER_KWH
    assert second["user_co2e_grams_total", "ann"] == 250
    assert second["stored_energy_joules",] == 2.75 * J_PER_KWH
    runs.update_one({"_id": "r2"}, {"$set": {"energy_kwh": 2.25}})
    third = values(part.read(NOW))
    assert third["user_energy_joules_total", "ann"] == 0.75 * J_PER_KWH
    for label in ("user", "model", "region"):
        parts = [value for key, value in third.items() if key[0] == f"{label}_energy_joules_total"]
        assert sum(parts) == third["energy_joules_total",]


def test_the_largest_users_have_series_and_the_rest_is_other(stream_address: Address, stream_db: Db) -> None:
    users = [run(f"r{n}", f"user-{n}", float(n)) for n in range(1, 6)]
    stream_db[documents.RUN_SUMMARY].insert_many([*users, run("r6", None, 0.5)])
    found = values(EnergyPart(stream_db, settings(stream_address, exporter__max_users=2)).read(NOW))
    shown = {
        key[1]: value / J_PER_KWH for key, value in found.items() if key[0] == "user_stored_energy_joules"
    }
    assert shown == {"user-5": 5.0, "user-4": 4.0, "other": 6.0, "unknown": 0.5}


def test_runs_have_series_only_where_asked_for_and_only_the_newest_that_run(
    stream_address: Address, stream_db: Db
) -> None:
    ages = {"new": 5, "newer": 2, "old": 60, "silent": 500}
    stream_db[documents.RUN_SUMMARY].insert_many(
        [run(i, "ann", 1.0, 0.5, last_event_at=NOW - timedelta(seconds=s)) for i, s in ages.items()]
        + [run("ended", "ann", 1.0, status="completed")]
    )
    found = values(EnergyPart(stream_db, settings(stream_address, exporter__max_runs=2)).read(NOW))
    named = {key[1]: value for key, value in found.items() if key[0] == "run_last_event_age_seconds"}
    assert named == {"newer": 2, "new": 5}
    assert found["run_energy_joules", "new", "ann", "m"] == J_PER_KWH
    assert ("run_power_watts", "new", "ann", "m") not in found


def test_a_node_has_the_power_of_its_newest_closed_window(stream_address: Address, stream_db: Db) -> None:
    pods = [{"namespace": "a", "pod": "p1", "energy_kwh": 60.0 * 60 / J_PER_KWH}]
    stream_db[documents.NODE_WINDOWS].insert_many(
        [
            *(
                node_window("n1", ago, 100.0 + ago, cpu_utilization_pct=50.0 + ago, pods=pods)
                for ago in range(4)
            ),
            *(node_window("silent", ago, 80.0) for ago in range(6, 9)),
            node_window("fresh", 0, 70.0),
            node_window("gone", 60, 60.0),
        ]
    )
    part = NodesPart(stream_db, settings(stream_address, exporter__max_pods=1))
    found = values(part.read(NOW))
    assert found["nodes",] == 3
    assert {key[1] for key in found if key[0] == "node_power_watts"} == {"n1"}
    assert found["node_power_watts", "n1"] == 101.0
    assert found["node_cpu_utilization_ratio", "n1"] == 0.51
    assert ("node_gpu_utilization_ratio", "n1") not in found
    assert found["node_window_age_seconds", "silent"] == 6 * 60 + 30
    assert found["namespace_power_watts", "a"] == pytest.approx(60.0)
    assert found["pod_power_watts", "a", "p1"] == pytest.approx(60.0)
    assert found["documents_age_seconds", documents.NODE_WINDOWS] == 30


def test_energy_of_nodes_counts_what_windows_gain(stream_address: Address, stream_db: Db) -> None:
    windows = stream_db[documents.NODE_WINDOWS]
    windows.insert_many([node_window("n1", ago, 100.0) for ago in (1, 2)])
    part = NodesPart(stream_db, settings(stream_address, exporter__max_nodes=1))
    assert values(part.read(NOW))["node_energy_joules_total", "n1", "idle"] == 0
    windows.replace_one({"_id": node_window("n1", 1, 0.0)["_id"]}, node_window("n1", 1, 140.0))
    windows.replace_one({"_id": node_window("n1", 2, 0.0)["_id"]}, node_window("n1", 2, 60.0))
    windows.insert_one(node_window("n1", 0, 100.0))
    found = values(part.read(NOW))
    grown_j = (40.0 + 100.0) * 60
    assert found["node_energy_joules_total", "n1", "attributed"] == pytest.approx(grown_j / 2)
    assert found["node_energy_joules_total", "n1", "idle"] == pytest.approx(grown_j / 4)


def test_alerts_budgets_and_forecasts_are_as_their_documents_say(
    stream_address: Address, seeded_db: Db
) -> None:
    found = values(StatePart(seeded_db, settings(stream_address)).read(NOW))
    assert found["alerts_open", "budget", "critical"] == 1
    assert found["alerts_open", "budget", "warning"] == 1
    assert found["alerts_open", "power_anomaly", "warning"] == 1
    assert found["alerts_open", "idle_gpu", "warning"] == 0
    assert found["alert_deliveries", "webhook", "pending"] == 1
    assert found["alert_deliveries", "email", "failed"] == 1
    assert found["budget_used_ratio", "fleet-co2", "all", "kg"] == pytest.approx(0.131 / 0.12)
    assert found["budget_forecast_ratio", "team-ada", "user", "kWh"] == pytest.approx(0.24 / 0.5)
    assert found["budget_break_probability", "vit-small-cap", "run", "kWh"] == 0.55
    assert ("budget_used_ratio", "new-one", "node", "kWh") not in found
    assert found["budget_evaluation_age_seconds",] == 4
    assert found["documents_age_seconds", documents.RUN_SUMMARY] == 4
    assert found["documents_age_seconds", documents.PROGRESS] == 0
    assert found["forecast_series",] == 3
    assert found["documents_age_seconds", documents.FORECAST_STATES] == 40
    (version,) = [key[1] for key in found if key[0] == "forecast_model_info"]
    serving = seeded_db[documents.MODEL_REGISTRY].find_one({"state": "serving"})
    assert serving is not None
    assert version == serving["_id"]


def test_lag_is_what_the_broker_has_and_the_accounts_have_not_settled(
    kafka_bootstrap: str, stream_address: Address, stream_db: Db
) -> None:
    wanted = settings(stream_address, kafka__bootstrap=kafka_bootstrap)
    ensure_topics(wanted.kafka)
    with closing(KafkaProducer(**kafka_options(wanted.kafka))) as producer:
        sent = [producer.send(TRAINING_EVENTS, b"x", partition=1).get(20) for _ in range(5)]
    end = sent[-1].offset + 1
    account = {"query": "training", "topic": TRAINING_EVENTS, "partition": 1, "next_offset": end - 3}
    stream_db[documents.ACCOUNTS].insert_one({"_id": f"{TRAINING_EVENTS}/1", **account})
    part = KafkaPart(stream_db, wanted)
    try:
        for settled, lag in ((end - 3, 3), (end, 0)):
            stream_db[documents.ACCOUNTS].update_one({}, {"$set": {"next_offset": settled}})
            found = values(part.read())
            assert found["kafka_end_offset", TRAINING_EVENTS, "1"] == end
            lags = {key[1:]: value for key, value in found.items() if key[0] == "query_lag_messages"}
            assert lags == {("training", TRAINING_EVENTS, "1"): lag}
    finally:
        part.close()


def test_an_empty_store_has_nothing_to_say_but_that_it_is_there(
    stream_address: Address, stream_db: Db
) -> None:
    wanted = settings(stream_address, kafka__bootstrap="127.0.0.1:1")
    with collecting(wanted) as collector:
        found = values(collector.samples())
    assert found["store_up",] == 1
    assert found["energy_joules_total",] == 0, "what was counted since the start is known"
    for name in ("stored_energy_joules", "query_up", "node_power_watts", "documents_age_seconds"):
        assert not [key for key in found if key[0] == name]


def test_servers_that_are_away_are_said_before_a_scrape_gives_up() -> None:
    away = {
        "mongodb.uri": "mongodb://127.0.0.1:1",
        "kafka.bootstrap": "127.0.0.1:1",
        "mongodb.timeout_s": 30.0,
    }
    with collecting(load_settings({**away, "dashboard.url": "http://127.0.0.1:1"})) as collector:
        began = time.monotonic()
        found = values(collector.samples())
        took_s = time.monotonic() - began
        problem = collector.parts[0].problem or ""
    assert took_s < 8
    assert [found[f"{name}_up",] for name in ("store", "kafka", "dashboard")] == [0, 0, 0]
    assert {key[0] for key in found} == {
        *("build_info", "store_up", "kafka_up", "dashboard_up", "exporter_refused_requests_total"),
        *("exporter_look_up", "exporter_look_errors_total"),
    }
    assert problem.startswith("the document store does not answer")
