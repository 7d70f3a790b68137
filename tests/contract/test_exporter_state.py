"""What the exporter says of alerts, budgets and forecasts, and of servers that are empty or away."""

from __future__ import annotations

import time

import pytest

from conf.settings import load_settings
from joulestream.exporter.service import collecting
from joulestream.exporter.state_part import StatePart
from schemas import documents
from spark_jobs.store import Address, Db
from tests.contract.exporter import NOW, settings, values


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
    assert took_s < 10, "that is when Prometheus gives up, unless it is told otherwise"
    assert [found[f"{name}_up",] for name in ("store", "kafka", "dashboard")] == [0, 0, 0]
    assert {key[0] for key in found} == {
        *("build_info", "store_up", "kafka_up", "dashboard_up", "exporter_refused_requests_total"),
        *("exporter_look_up", "exporter_look_errors_total"),
    }
    assert problem.startswith("the document store does not answer")
