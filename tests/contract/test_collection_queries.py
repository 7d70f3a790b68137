"""docs/reference/collections.md says what the stream writes, and its queries answer.

The documents come from the job's own code on the real document server; only Spark and Kafka are modelled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from conf.settings import load_settings
from schemas import documents
from schemas.events import NodeSample, TrainingEvent
from spark_jobs.progress import add_spark_figures
from spark_jobs.sources import NODE, TRAINING, Source
from spark_jobs.store import ensure_collections
from tests.documentation import blocks, names_in, rows, section, text_of
from tests.full_messages import node_messages, training_messages
from tests.stream_model import BASE, World

PAGE = text_of("docs/reference/collections.md")
NAME = "joule_test_collections"
Documents = Database[dict[str, Any]]
SPARK_PROGRESS = {
    "sources": [{"endOffset": {"t": {"0": 5}}, "latestOffset": {"t": {"0": 7}}}],
    "durationMs": {"triggerExecution": 12},
    "stateOperators": [{"numRowsTotal": 3, "numRowsDroppedByWatermark": 0}],
}


def stream_all(db: Documents, source: Source, sent: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stream writes of these messages, in batches of two."""
    world = World(source, monkeypatch, partitions=1)
    world.store = db  # type: ignore[assignment]  # the real server in the place of the model
    world.topic.partitions[0] += sent
    process = world.start()
    while process.batch(2):
        pass
    assert process.runner.generation is not None
    last = {"batchId": process.runner.generation.done, **SPARK_PROGRESS}
    add_spark_figures(db, source.query, process.runner.generation, last)


@pytest.fixture(scope="module")
def filled(store: Any) -> Iterator[Documents]:
    with (
        MongoClient[dict[str, Any]](store.address, tz_aware=True) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        client.drop_database(NAME)
        db = client[NAME]
        ensure_collections(db, load_settings())
        stream_all(db, TRAINING, training_messages(), patch)
        stream_all(db, NODE, node_messages(), patch)
        yield db
        client.drop_database(NAME)


def documented(collection: str) -> set[str]:
    """The fields in the table of a collection."""
    return {name for cells in rows(section(PAGE, f"## `{collection}`")) for name in names_in(cells[0])}


def written(db: Documents, collection: str) -> set[str]:
    found: set[str] = set()
    for doc in db[collection].find():
        found |= doc.keys()
    return found


@pytest.mark.parametrize(
    "collection",
    [
        documents.RUN_SUMMARY,
        documents.WINDOWS,
        documents.NODE_WINDOWS,
        documents.REJECTED,
        documents.PROGRESS,
        documents.ACCOUNTS,
    ],
)
def test_the_page_names_the_fields_that_are_written(filled: Documents, collection: str) -> None:
    assert documented(collection) == written(filled, collection)


@pytest.mark.parametrize(
    ("collection", "event"),
    [(documents.TRAINING_METRICS, TrainingEvent), (documents.NODE_METRICS, NodeSample)],
)
def test_a_ledger_has_the_fields_of_its_event_and_those_of_the_page(
    filled: Documents, collection: str, event: type[TrainingEvent | NodeSample]
) -> None:
    of_event = {field.name for field in fields(event)}
    assert documented(collection) == written(filled, collection) - of_event
    assert of_event <= written(filled, collection)


def test_the_page_names_every_collection_and_its_retention() -> None:
    summary = {
        names_in(cells[0])[0]: cells[-1] for cells in rows(PAGE.partition("## `")[0]) if "`" in cells[0]
    }
    own = {name for cells in rows(section(PAGE, "## The stream's own")) for name in names_in(cells[0])}
    assert summary.keys() | own == {collection.name for collection in documents.COLLECTIONS}
    for collection in documents.COLLECTIONS:
        if collection.retention_setting is not None:
            section_name, _, key = collection.retention_setting.partition(".")
            days = getattr(getattr(load_settings(), section_name), key)
            kept = "for ever" if days is None else f"{days:g} days"
            assert summary[collection.name] == f"`{collection.retention_setting}`: {kept}"
        elif collection.name in summary:
            assert summary[collection.name] == "for ever"


@pytest.mark.parametrize("collection", [c for c in documents.COLLECTIONS if c.indexes], ids=lambda c: c.name)
def test_the_page_names_every_index(collection: documents.Collection) -> None:
    if collection.name == documents.LATE:
        assert "`keys`, indexed" in PAGE
        return
    text = section(PAGE, f"## `{collection.name}`")
    stated = re.search(
        r"^Index(?:es)?: (.*?)(?:\.(?= |$)|$)", text.replace("\n", " ").replace("Index", "\nIndex"), re.M
    )
    assert stated is not None
    said = [
        [(name, -1 if descending else 1) for name, descending in re.findall(r"`([\w.]+)`( descending)?", one)]
        for one in stated[1].split(";")
    ]
    assert said == [list(index.keys) for index in collection.indexes]


QUERIES = [text for _, text in blocks(section(PAGE, "## Queries"), "js") if text.startswith("db.")]


def pipeline_of(query: str) -> str:
    found = re.fullmatch(r"db\.\w+\.aggregate\((.*)\)\n", query, re.DOTALL)
    assert found is not None
    return found[1]


def answers(db: Documents, heading: str) -> list[dict[str, Any]]:
    """What the (first) query below a heading gives, run as the page says for Python."""
    (query, *_) = [text for _, text in blocks(section(PAGE, heading), "js")]
    since = datetime(2020, 1, 1, tzinfo=timezone.utc)
    return list(eval(query, {"db": db, "since": since}))  # noqa: S307 - the page's own text


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_query_is_the_same_text_in_mongosh_and_python(query: str) -> None:
    """JSON but for `since`, so that both languages read it alike; without words that they spell differently."""
    pipeline = pipeline_of(query)
    assert json.loads(re.sub(r"\bsince\b", '"since"', pipeline))
    assert not re.search(r"\b(null|true|false)\b", pipeline)


def test_the_page_connects_from_python(filled: Documents, mongodb_uri: str) -> None:
    (_, code) = blocks(section(PAGE, "## Queries"), "python")[0]
    names: dict[str, Any] = {}
    exec(code.replace("mongodb://127.0.0.1:27017", mongodb_uri), names)  # noqa: S102 - the page's own text
    with names["db"].client:
        assert names["db"].name == load_settings().mongodb.database
        assert names["since"].tzinfo is timezone.utc


def test_energy_per_user_and_day(filled: Documents) -> None:
    found = {row["_id"]["user"]: row for row in answers(filled, "### Energy per user and day")}
    assert found["ann"]["energy_kwh"] == pytest.approx(0.004)
    assert found["bob"]["energy_kwh"] == pytest.approx(0.6)
    assert found[None]["_id"]["day"] == BASE.replace(hour=0)


def test_runs_with_the_most_co2e(filled: Documents) -> None:
    found = answers(filled, "### Runs with the most CO2e")
    assert [row["_id"] for row in found] == ["theirs", "my-run"]
    assert found[0]["emissions_kg"] == pytest.approx(0.9)


def test_current_power_per_node(filled: Documents) -> None:
    found = answers(filled, "### Current power per node")
    assert [(row["_id"], row["power_w"]) for row in found] == [
        ("n1", pytest.approx(600)),
        ("n2", pytest.approx(15)),
    ]
    assert found[0]["window_start"] == BASE + timedelta(seconds=900)


def test_rejected_messages_by_reason(filled: Documents) -> None:
    found = {
        row["_id"]["reason"]: row["messages"] for row in answers(filled, "### Rejected messages by reason")
    }
    assert found == {"malformed_json": 1, "invalid_timestamp": 1}


def test_all_events_of_one_run(filled: Documents) -> None:
    found = answers(filled, "### All events of one run")
    assert [row["_id"][:2] for row in found] == ["e|", "s|", "h|", "e|"]
    assert {row["run_id"] for row in found} == {"my-run"}


def test_summaries_and_windows_agree(filled: Documents) -> None:
    text = section(PAGE, "### Do summaries and windows agree?")
    windows, runs = (eval(query, {"db": filled}) for _, query in blocks(text, "js"))  # noqa: S307
    (total,) = runs
    by_dimension = {row["_id"]: row for row in windows}
    assert by_dimension.keys() == set(documents.DIMENSIONS)
    for row in by_dimension.values():
        assert row["energy_kwh"] == pytest.approx(total["energy_kwh"], rel=1e-9)
        assert row["emissions_kg"] == pytest.approx(total["emissions_kg"], rel=1e-9)
        assert row["n_events"] == total["n_events"] == 6
