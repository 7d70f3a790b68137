"""Forecasts on the document server: written once, joined with their actuals, recalled after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest
from pymongo import InsertOne

from schemas import documents
from schemas.times import from_ms
from spark_jobs.forecast import serving
from spark_jobs.forecast.engine import Horizons
from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.models.features import FEATURES
from spark_jobs.forecast.models.in_use import InUse
from spark_jobs.forecast.series import Floats
from spark_jobs.forecast.serving import Forecaster
from spark_jobs.store import Address, Db, connect

MIN = 60_000
T0 = 1_700_000_100_000 // (15 * MIN) * 15 * MIN
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
HORIZONS = Horizons(MIN, (60, 300), (3600,), 900)


def node_doc(place: int, power_w: float, node: str = "n1") -> dict[str, Any]:
    start = from_ms(T0 + place * MIN)
    kwh = power_w * 60 / 3.6e6
    return {
        "node_id": node,
        "window_start": start,
        "mean_power_w": power_w,
        "energy_kwh": kwh,
        "attributed": [],
    }


def power(place: int) -> float:
    return 100.0 + 20.0 * np.sin(place / 5)


def forecaster(db: Db, in_use: InUse | None = None, most: int = 100) -> Forecaster:
    used = in_use or InUse()
    return Forecaster(db, lambda: used, HORIZONS, frozenset({"node"}), 120, most, clock=lambda: NOW)


def feed(one: Forecaster, places: range, node: str = "n1") -> None:
    """One batch per window, written as the stream does."""
    for place in places:
        batch([one], {str(place): node_doc(place, power(place), node)})


def batch(followers: list[Forecaster], docs: Mapping[str, Any]) -> None:
    for follower in followers:
        follower.written(documents.NODE_WINDOWS, docs)
        follower.flush()


def stored(db: Db) -> dict[str, dict[str, Any]]:
    return {doc["_id"]: doc for doc in db[documents.FORECASTS].find()}


def without_times(docs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {i: {k: v for k, v in doc.items() if k != "joined_at"} for i, doc in docs.items()}


class Flat:
    """A batch model that expects the same change everywhere."""

    version = "flat-1"
    horizons_s = (60, 300)

    def __init__(self, change_w: float = 7.0, broken: bool = False) -> None:
        self.change_w, self.broken = change_w, broken
        self.rows = 0

    def predict(self, rows: Floats) -> Mapping[int, Floats]:
        if self.broken:
            raise ModelError("it lost a file")
        assert rows.shape[1] == len(FEATURES)
        self.rows += len(rows)
        spread = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
        return {h: np.tile(self.change_w + spread, (len(rows), 1)) for h in self.horizons_s}


def test_forecasts_are_issued_before_their_windows_and_judged_after(stream_db: Db) -> None:
    feed(forecaster(stream_db), range(40))
    docs = stored(stream_db)
    assert len([d for d in docs.values() if d["horizon_s"] == 60]) == 39  # the newest window is not closed
    for doc in docs.values():
        assert doc["issued_at"] < doc["target_at"]
        assert [doc[q] for q in ("p05", "p10", "p50", "p90", "p95")] == sorted(
            doc[q] for q in ("p05", "p10", "p50", "p90", "p95")
        )
        place = (int(doc["target_at"].timestamp() * 1000) - T0) // MIN - 1
        if place < 39:
            assert doc["actual"] == pytest.approx(power(place))
            assert doc["error"] == pytest.approx(doc["point"] - power(place))
        else:
            assert "actual" not in doc


def test_without_a_model_each_document_says_so(stream_db: Db) -> None:
    feed(forecaster(stream_db), range(5))
    assert all("no model" in doc["fallback"] for doc in stored(stream_db).values())


def test_a_model_serves_where_it_may_and_only_there(stream_db: Db) -> None:
    model = Flat()
    feed(forecaster(stream_db, InUse(model, frozenset({60}), None)), range(5))
    for doc in stored(stream_db).values():
        assert ("batch" in doc["layers"]) == (doc["horizon_s"] == 60)
        assert ("fallback" in doc) == (doc["horizon_s"] != 60)
        assert doc["model_version"] == "flat-1"


def test_a_model_that_breaks_leaves_forecasts_that_say_so(stream_db: Db) -> None:
    feed(forecaster(stream_db, InUse(Flat(broken=True), frozenset({60, 300}), None)), range(5))
    docs = stored(stream_db)
    assert len(docs) >= 8
    assert all("it lost a file" in doc["fallback"] for doc in docs.values())


def test_many_windows_in_one_batch_give_what_single_ones_give(stream_db: Db) -> None:
    single, whole = forecaster(stream_db), forecaster(stream_db)
    feed(single, range(60))
    expected = without_times(stored(stream_db))
    stream_db[documents.FORECASTS].delete_many({})
    stream_db[documents.FORECAST_STATES].delete_many({})
    batch([whole], {str(p): node_doc(p, power(p)) for p in range(60)})
    assert without_times(stored(stream_db)) == expected


def test_a_backlog_of_many_series_loses_no_forecast(stream_db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"ROWS_PER_PREDICTION": 30, "SENT_AT_ONCE": 50, "MOST_WAITING": 100}.items():
        monkeypatch.setattr(serving, name, size)
    one = forecaster(stream_db)
    docs = {f"{n}|{place}": node_doc(place, power(place), f"n{n}") for n in range(6) for place in range(20)}
    batch([one], docs)
    assert len(stored(stream_db)) == 6 * sum(len(HORIZONS.due(T0 + (p + 1) * MIN)) for p in range(19))


@pytest.mark.parametrize("cut", [13, 30, 41])
def test_a_restart_changes_no_forecast(stream_db: Db, cut: int) -> None:
    """Killed without a word: the state is some windows old, the forecasts and the windows are in the store."""
    feed(forecaster(stream_db), range(60))
    expected = without_times(stored(stream_db))
    for name in (documents.FORECASTS, documents.FORECAST_STATES, documents.NODE_WINDOWS):
        stream_db[name].delete_many({})
    docs = [{"_id": str(p), **node_doc(p, power(p))} for p in range(cut)]
    stream_db[documents.NODE_WINDOWS].insert_many(docs)
    feed(forecaster(stream_db), range(cut))
    again = forecaster(stream_db)
    feed(again, range(cut - 1, 60))
    found = without_times(stored(stream_db))
    assert found.keys() == expected.keys()
    for i, doc in expected.items():
        assert found[i]["point"] == pytest.approx(doc["point"], rel=1e-9), i
        assert found[i].get("actual") == doc.get("actual")


@pytest.mark.parametrize("lost", [1, 3, 30, 44])
def test_a_kill_between_the_windows_and_their_forecasts_loses_none(stream_db: Db, lost: int) -> None:
    """The windows are stored, and the forecasts, actuals and states of the last batches are not."""
    feed(forecaster(stream_db), range(60))
    expected = without_times(stored(stream_db))
    for name in (documents.FORECASTS, documents.FORECAST_STATES, documents.NODE_WINDOWS):
        stream_db[name].delete_many({})
    cut = 44
    docs = [{"_id": str(p), **node_doc(p, power(p))} for p in range(cut)]
    stream_db[documents.NODE_WINDOWS].insert_many(docs)
    feed(forecaster(stream_db), range(cut - lost))
    feed(forecaster(stream_db), range(cut - 1, 60))
    found = without_times(stored(stream_db))
    assert found.keys() == expected.keys()
    for i, doc in expected.items():
        assert found[i]["point"] == pytest.approx(doc["point"], rel=1e-9), i
        assert found[i].get("actual") == doc.get("actual"), i


def test_a_replay_from_the_start_changes_nothing(stream_db: Db) -> None:
    first = forecaster(stream_db)
    feed(first, range(40))
    first.close()
    docs = [{"_id": str(p), **node_doc(p, power(p))} for p in range(40)]
    stream_db[documents.NODE_WINDOWS].insert_many(docs)
    before = without_times(stored(stream_db))
    feed(forecaster(stream_db), range(40))
    assert without_times(stored(stream_db)) == before


def test_late_events_correct_the_actual(stream_db: Db) -> None:
    one = forecaster(stream_db)
    feed(one, range(20))
    batch([one], {"late": node_doc(17, 500.0)})
    batch([one], {"next": node_doc(20, power(20))})
    met = [d for d in stored(stream_db).values() if d["target_at"] == from_ms(T0 + 18 * MIN)]
    assert met
    assert {doc["actual"] for doc in met} == {500.0}


def test_only_so_many_series(stream_db: Db) -> None:
    one = forecaster(stream_db, most=3)
    for place in range(4):
        docs = {f"{n}-{place}": node_doc(place + n, power(place), f"n{n}") for n in range(6)}
        batch([one], docs)
    assert {doc["key"] for doc in stored(stream_db).values()} == {"n3", "n4", "n5"}


def test_while_the_store_is_away_nothing_is_raised_and_forecasts_wait(
    stream_db: Db, stream_address: Address
) -> None:
    one = forecaster(stream_db)
    feed(one, range(5))
    uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50"
    one.db = connect(Address.at(uri, stream_address.database, 0.2))
    feed(one, range(5, 8))
    one.db.client.close()
    one.db = stream_db
    feed(one, range(8, 10))
    assert len([d for d in stored(stream_db).values() if d["horizon_s"] == 60]) == 9


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "text"])
def test_a_window_without_a_usable_power_is_a_gap(stream_db: Db, value: Any) -> None:
    one = forecaster(stream_db)
    feed(one, range(5))
    batch([one], {"odd": {**node_doc(5, 1.0), "mean_power_w": value}})
    feed(one, range(6, 10))
    issued = {doc["issued_at"] for doc in stored(stream_db).values()}
    assert from_ms(T0 + 6 * MIN) not in issued
    assert from_ms(T0 + 7 * MIN) in issued


def test_a_series_is_listed_from_its_first_closed_window_on(stream_db: Db) -> None:
    one = forecaster(stream_db)
    for count in range(2, 6):
        feed(one, range(count - 2 if count == 2 else count - 1, count))
        (listed,) = stream_db[documents.FORECAST_STATES].find({"target": "node/n1"})
        assert listed["last_window_end"] == from_ms(T0 + (count - 1) * MIN)


def test_writes_that_are_there_already_do_not_keep_the_others_back(stream_db: Db) -> None:
    stream_db[documents.FORECASTS].insert_one({"_id": 0})
    serving._write(stream_db, documents.FORECASTS, [InsertOne({"_id": i}) for i in range(1200)])
    assert stream_db[documents.FORECASTS].count_documents({}) == 1200
