"""The contract's collections on a real document server: indexes, ranges of identities, what expires."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conf.settings import load_settings
from schemas import documents
from schemas.identity import identity_ranges
from spark_jobs import retention
from spark_jobs.ledger import insert_new
from spark_jobs.retention import Expiry
from spark_jobs.sources import NODE, TRAINING, Source
from spark_jobs.store import Db, ensure_collections, scans_for_ranges
from tests.stream_steps import row


def contract_of(db: Db) -> dict[str, Any]:
    """Names, indexes and options of all collections."""
    return {
        entry["name"]: (sorted(db[entry["name"]].index_information()), entry["options"])
        for entry in db.list_collections()
    }


def test_ensuring_the_collections_twice_changes_nothing(stream_db: Db) -> None:
    before = contract_of(stream_db)
    ensure_collections(stream_db, load_settings())
    assert contract_of(stream_db) == before
    assert before.keys() >= {collection.name for collection in documents.COLLECTIONS}


def test_indexes_of_earlier_versions_are_dropped_and_others_stay(stream_db: Db) -> None:
    summaries = stream_db[documents.RUN_SUMMARY]
    summaries.create_index([("user_id", 1), ("last_event_at", -1)])
    summaries.create_index([("project", 1)], name="of_theirs")
    ensure_collections(stream_db, load_settings())
    assert set(summaries.index_information()) == {"_id_", "last_event_at_-1", "of_theirs"}


@pytest.mark.parametrize("source", [TRAINING, NODE], ids=["training", "node"])
def test_a_range_of_identities_does_not_look_at_every_row(stream_db: Db, source: Source) -> None:
    """One run's rows are read without the others', whatever the server uses its index of `_id` for."""
    rows = [f"e|run-{run}|{place:03}" for run in range(9) for place in range(20)]
    assert insert_new(stream_db, source.ledger, [row(i, node_id="n") for i in rows]) == ([], {})
    low, high = identity_ranges("run-4")[0]
    query = {"_id": {"$gte": low, "$lt": high}}
    assert [doc["_id"] for doc in stream_db[source.ledger].find(query).sort("_id", 1)] == rows[80:100]
    assert not scans_for_ranges(stream_db, source.ledger)
    stats = stream_db.command("explain", {"find": source.ledger, "filter": query}, verbosity="executionStats")
    assert stats["executionStats"]["totalDocsExamined"] == 20


def test_a_server_that_uses_the_index_of_ids_gets_no_other(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_db.drop_collection(documents.NODE_METRICS)
    monkeypatch.setattr("spark_jobs.store.scans_for_ranges", lambda _db, _name: False)
    ensure_collections(stream_db, load_settings())
    assert set(stream_db[documents.NODE_METRICS].index_information()) == {"_id_", "node_ref_1"}


def ttl_of_windows(db: Db) -> Any:
    return db[documents.WINDOWS].index_information().get("window_end_ttl", {}).get("expireAfterSeconds")


def test_a_retention_may_be_set_changed_and_taken_back(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "is_embedded", lambda _db: False)
    for days, seconds in ((2, 172_800), (1, 86_400), (None, None)):
        ensure_collections(stream_db, load_settings({"stream.windows_retention_days": days}))
        assert ttl_of_windows(stream_db) == seconds


def test_the_embedded_server_gets_no_ttl_index_and_loses_those_of_earlier_versions(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"stream.windows_retention_days": 2})
    with monkeypatch.context() as patch:
        patch.setattr(retention, "is_embedded", lambda _db: False)
        ensure_collections(stream_db, settings)
        assert ttl_of_windows(stream_db) == 172_800
    monkeypatch.setattr(retention, "is_embedded", lambda _db: True)
    ensure_collections(stream_db, settings)
    assert ttl_of_windows(stream_db) is None


def test_what_has_expired_is_removed_and_the_rest_stays(
    stream_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(timezone.utc)
    windows, progress = stream_db[documents.WINDOWS], stream_db[documents.PROGRESS]
    windows.insert_many([{"_id": days, "window_end": now - timedelta(days=days)} for days in (1, 3, 400)])
    progress.insert_many([{"_id": days, "at": now - timedelta(days=days)} for days in (6, 8)])
    monkeypatch.setattr(retention, "is_embedded", lambda _db: True)
    stop = threading.Event()
    stop.set()  # one turn
    Expiry(stream_db, load_settings({"stream.windows_retention_days": 2}), stop).run()
    assert [doc["_id"] for doc in windows.find()] == [1]
    assert [doc["_id"] for doc in progress.find()] == [6]
    Expiry(stream_db, load_settings(), stop).run()
    assert windows.count_documents({}) == 1  # no retention: for ever


def test_a_server_with_ttl_indexes_is_left_to_itself(stream_db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    stream_db[documents.PROGRESS].insert_one({"_id": 1, "at": datetime(2020, 1, 1, tzinfo=timezone.utc)})
    monkeypatch.setattr(retention, "is_embedded", lambda _db: False)
    Expiry(stream_db, load_settings(), threading.Event()).run()  # ends at once
    assert stream_db[documents.PROGRESS].count_documents({}) == 1
