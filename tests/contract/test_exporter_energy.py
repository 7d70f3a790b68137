"""What the exporter reads of energy: the documents' own numbers in base units, and counters that never fall."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from joulestream.exporter.energy_part import EnergyPart
from joulestream.exporter.nodes_part import NodesPart
from schemas import documents
from schemas.documents import node_window_id
from spark_jobs.store import Address, Db
from tests.contract.exporter import NOW, settings, values

J_PER_KWH = 3.6e6


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
