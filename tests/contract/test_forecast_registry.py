"""The models in the document store, and the past that they learn from, on a real document server."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from schemas import documents
from schemas.times import to_ms
from spark_jobs.forecast.learning.history import read_history
from spark_jobs.forecast.learning.mirror import mirror, models_of
from spark_jobs.forecast.models.registry import MANIFEST, Registry
from spark_jobs.store import Db, Doc
from tests.unit.test_forecast_registry import AT, manifest, model_folder

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Four models: one that serves, one that did, two that never did."""
    made = Registry(str(tmp_path / "registry"))
    for version, verdict in (
        ("v1", "promoted"),
        ("v2", "promoted"),
        ("v3", "challenger"),
        ("v4", "rejected"),
    ):
        made.add(model_folder(tmp_path / "made"), manifest(version, verdict=verdict, reason=f"why {version}"))
    made.promote("v1", AT)
    made.promote("v2", AT + MINUTE)
    return made


def test_documents_say_what_the_registry_says(stream_db: Db, registry: Registry) -> None:
    models = stream_db[documents.MODEL_REGISTRY]
    models.insert_one({"_id": "gone", "state": "serving"})
    mirror(stream_db, registry)
    mirror(stream_db, registry)
    found = {doc["_id"]: doc for doc in models.find()}
    states = {version: doc["state"] for version, doc in found.items()}
    assert states == {"v1": "kept", "v2": "serving", "v3": "challenger", "v4": "rejected"}
    assert found["v2"]["serving_since"] == AT + MINUTE
    assert "serving_since" not in found["v1"]
    assert found["v2"]["created_at"] == AT
    assert found["v2"]["data"]["last"] == AT
    assert found["v2"]["scores"]["60"]["ratio"] == 0.75
    assert found["v4"]["reason"] == "why v4"
    assert found["v2"]["schema_version"] == documents.DOCUMENT_VERSION


def test_model_that_served_and_was_none_s_choice_is_kept(registry: Registry) -> None:
    registry.promote("v3", AT)
    registry.promote("v2", AT)
    registry.promote(None, AT)
    states = {model["version"]: model["state"] for model in models_of(registry)}
    assert states == {"v1": "kept", "v2": "kept", "v3": "kept", "v4": "rejected"}


def test_damaged_model_is_listed_as_such(stream_db: Db, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "registry" / "v2" / MANIFEST).write_bytes(b"{")
    mirror(stream_db, registry)
    found = stream_db[documents.MODEL_REGISTRY].find_one({"_id": "v2"})
    assert found is not None
    assert found["state"] == "damaged"
    assert "joule forecast train" in found["reason"]


def node_window(node: str, minute: int, power_w: float | None, **more: object) -> Doc:
    at = START + minute * MINUTE
    power = {} if power_w is None else {"mean_power_w": power_w}
    return {
        "_id": documents.node_window_id(node, at),
        "node_id": node,
        "window_start": at,
        "window_end": at + MINUTE,
        "attributed": [],
        **power,
        **more,
    }


def window(dimension: str, key: str | None, minute: int, power_w: float) -> Doc:
    at = START + minute * MINUTE
    doc = {"dimension": dimension, "key": key, "window_start": at, "window_end": at + MINUTE}
    return {"_id": documents.window_id(dimension, key, at), "mean_power_w": power_w, **doc}


def test_past_is_what_is_closed_and_known(stream_db: Db) -> None:
    runs = [{"run_id": "r1", "energy_kwh": 0.1}, {"run_id": "r2", "energy_kwh": 0.2}]
    state = {"gpu_utilization_pct": 90.0, "cpu_utilization_pct": 10.0, "memory_used_mib": 5.0}
    stream_db[documents.NODE_WINDOWS].insert_many(
        [
            node_window("n", 0, 10.0, attributed=runs, energy_kwh=0.3, **state),
            node_window("n", 1, None),
            node_window("n", 3, 30.0),
            node_window("n", 4, 40.0),  # the newest may still grow
            node_window("before", -5, 1.0),
            node_window("lonely", 0, 1.0),
        ]
    )
    stream_db[documents.WINDOWS].insert_many(
        [
            *(window("run", "r1", minute, 100.0 + minute) for minute in range(3)),
            *(window("all", "all", minute, 200.0 + minute) for minute in range(3)),
            *(window("user", None, minute, 5.0) for minute in range(3)),
            *(window("model", "m", minute, 5.0) for minute in range(3)),
        ]
    )
    found = read_history(stream_db, ("node", "run", "user", "all"), START, START + 60 * MINUTE)
    assert sorted(found) == ["all/", "node/n", "run/r1"]
    first, second = found["node/n"]
    assert (first.start_ms, first.power_w, first.run_id, first.energy_kwh) == (to_ms(START), 10.0, "r2", 0.3)
    assert (first.gpu_utilization_pct, first.cpu_utilization_pct, first.memory_used_mib) == (90.0, 10.0, 5.0)
    assert (second.start_ms, second.power_w, second.run_id) == (to_ms(START + 3 * MINUTE), 30.0, None)
    assert [one.power_w for one in found["run/r1"]] == [100.0, 101.0]


def test_past_is_bounded_and_the_newest_goes_first(stream_db: Db) -> None:
    docs = [node_window("old", minute, 1.0) for minute in range(10)]
    docs += [node_window("new", minute, float(minute)) for minute in range(20)]
    stream_db[documents.NODE_WINDOWS].insert_many(docs)
    found = read_history(stream_db, ("node",), START, START + 60 * MINUTE, most=22)
    assert [one.power_w for one in found["node/new"]] == [float(minute) for minute in range(19)]
    assert len(found["node/old"]) == 3
    bounded = read_history(stream_db, ("node",), START, START + 60 * MINUTE, most=5)
    assert [one.power_w for one in bounded["node/new"]] == [14.0, 15.0, 16.0, 17.0, 18.0]
    assert "node/old" not in bounded
