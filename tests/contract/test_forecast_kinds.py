"""A run's forecasts start with what the last run of its model has learned."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import pytest

from schemas import documents
from schemas.times import from_ms
from spark_jobs.forecast.engine import Horizons
from spark_jobs.forecast.models.in_use import InUse
from spark_jobs.forecast.serving import Forecaster
from spark_jobs.store import Db

MIN = 60_000
T0 = 1_700_000_100_000 // (15 * MIN) * 15 * MIN
HORIZONS = Horizons(MIN, (60, 300))


def power(place: int) -> float:
    """A sawtooth: what comes is known to who has seen one before."""
    return 100.0 + 20.0 * (place % 4)


def forecaster(db: Db) -> Forecaster:
    in_use = InUse()
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return Forecaster(db, lambda: in_use, HORIZONS, frozenset({"run"}), 120, 100, clock=lambda: now)


def window_doc(run: str, place: int) -> dict[str, Any]:
    start = from_ms(T0 + place * MIN)
    kwh = power(place) * 60 / 3.6e6
    return {
        "dimension": "run",
        "key": run,
        "window_start": start,
        "mean_power_w": power(place),
        "energy_kwh": kwh,
    }


def feed(one: Forecaster, run: str, model: str | None, places: range) -> None:
    for place in places:
        one.written(documents.WINDOWS, {f"{run}|{place}": window_doc(run, place)})
        one.written(documents.RUN_SUMMARY, {run: {"model_name": model} if model else {}})
        one.flush()


def forecasts(db: Db, run: str) -> dict[str, Mapping[str, Any]]:
    return {doc["_id"]: doc for doc in db[documents.FORECASTS].find({"key": run})}


def error(db: Db, run: str) -> float:
    met = [doc for doc in forecasts(db, run).values() if "actual" in doc]
    return sum(abs(doc["error"]) for doc in met) / len(met)


def test_the_second_run_of_a_model_errs_less_than_its_first_and_another_model_does_not(stream_db: Db) -> None:
    one = forecaster(stream_db)
    feed(one, "first", "resnet", range(60))
    one.close()
    for run, model in (("second", "resnet"), ("other", "vgg"), ("unnamed", None)):
        feed(one, run, model, range(100, 125))
    assert error(stream_db, "second") < 0.7 * error(stream_db, "other")
    assert error(stream_db, "unnamed") == pytest.approx(error(stream_db, "other"))
    kinds = {doc["key"]: doc.get("kind") for doc in stream_db[documents.FORECAST_STATES].find()}
    assert kinds == {"first": "resnet", "second": "resnet", "other": "vgg", "unnamed": None}


def test_the_score_of_a_run_is_its_own(stream_db: Db) -> None:
    one = forecaster(stream_db)
    feed(one, "first", "resnet", range(60))
    one.close()
    feed(one, "second", "resnet", range(100, 125))
    one.close()
    state = stream_db[documents.FORECAST_STATES].find_one({"_id": "run/second"})
    assert state is not None
    assert state["horizons"]["60"]["skill"]["n"] == 23


@pytest.mark.parametrize("cut", [102, 105, 118])
def test_a_restart_changes_no_forecast_of_a_run_that_had_a_start(stream_db: Db, cut: int) -> None:
    """Between the two starts another run of the model learns something else."""
    one = forecaster(stream_db)
    feed(one, "first", "resnet", range(60))
    one.close()
    ancestor = stream_db[documents.FORECAST_STATES].find_one({"_id": "run/first"})
    assert ancestor is not None
    feed(one, "whole", "resnet", range(100, 125))
    expected = {doc["issued_at"]: doc["point"] for doc in forecasts(stream_db, "whole").values()}

    stream_db[documents.FORECAST_STATES].delete_many({"_id": {"$ne": "run/first"}})
    killed = forecaster(stream_db)
    feed(killed, "cut", "resnet", range(100, cut))
    docs = [{"_id": f"cut|{place}", **window_doc("cut", place)} for place in range(100, cut)]
    stream_db[documents.WINDOWS].insert_many(docs)
    stream_db[documents.FORECAST_STATES].delete_one({"_id": "run/first"})
    feed(forecaster(stream_db), "cut", "resnet", range(cut - 1, 125))
    found = {doc["issued_at"]: doc["point"] for doc in forecasts(stream_db, "cut").values()}
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-9)
