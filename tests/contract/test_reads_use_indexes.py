"""No read of a collection that grows without end looks at all of it.

What is sent to the real document server is explained by it. The embedded server uses an index only where the first
stage has equal values of the index's first fields and then one range, or a list of values; and it reads all that a
query leaves before it limits, so a read without a condition counts as one of everything, whatever its plan says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from conf.settings import load_settings
from dashboard.store import Reader, Store
from dashboard.store.access import Person
from joulestream.alerting.alerts import newest
from joulestream.alerting.outbox import Outbox
from joulestream.alerting.raised import Raised
from joulestream.exporter.nodes_part import NodesPart
from joulestream.exporter.state_part import StatePart
from joulestream.exporter.stream_part import StreamPart
from joulestream.progress import newest_batch
from joulestream.rejected import read_rejected
from schemas import documents
from schemas.times import to_ms
from spark_jobs.forecast.engine import Horizons
from spark_jobs.forecast.learning.history import read_history
from spark_jobs.forecast.memory import recall
from spark_jobs.store import Db, ensure_collections
from tests.contract.test_dashboard_access import READS, targets
from tests.dashboard_seed import seed_normal

NOW = datetime.now(timezone.utc)
NAME = "joule_test_reads"
GROWING = frozenset(
    (
        *(documents.TRAINING_METRICS, documents.NODE_METRICS, documents.WINDOWS, documents.NODE_WINDOWS),
        *(documents.FORECASTS, documents.REJECTED, documents.PROGRESS, documents.LATE, documents.ALERTS),
    )
)

# Read, and the collection of which it looks at everything: why that is so.
WHOLE: Mapping[tuple[str, str], str] = {
    ("nodes", documents.NODE_WINDOWS): "the names of all nodes that there ever were stand nowhere else",
    ("quality", documents.REJECTED): "counts what is kept, of which nothing else tells",
    (
        "alerts.of",
        documents.ALERTS,
    ): "no index has the subject, and there are few alerts: one per thing noticed",
}


class Sent(monitoring.CommandListener):
    """The reads that were sent to the database."""

    def __init__(self) -> None:
        self.reads: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate", "distinct") and event.database_name == NAME:
            kept = ("lsid", "$db", "$readPreference", "maxTimeMS")
            self.reads.append({name: value for name, value in event.command.items() if name not in kept})

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note."""


class World:
    """The seeded database, and what was sent to it."""

    def __init__(self, client: MongoClient[dict[str, Any]], uri: str, sent: Sent) -> None:
        self.client, self.sent = client, sent
        self.db: Db = client[NAME]
        self.store = Store(client, NAME)
        self.settings = load_settings({"mongodb.uri": uri, "mongodb.database": NAME})

    def whole(self, read: Callable[[], Any]) -> dict[str, list[dict[str, Any]]]:
        """The reads of growing collections that look at everything, by collection."""
        self.sent.reads.clear()
        read()
        found: dict[str, list[dict[str, Any]]] = {}
        for command in list(self.sent.reads):
            name = next(iter(command.values()))
            if name in GROWING and self._looks_at_everything(command):
                found.setdefault(name, []).append(command)
        return found

    def _looks_at_everything(self, command: dict[str, Any]) -> bool:
        first = (command.get("pipeline") or [{}])[0].get("$match")
        if not (command.get("filter") or command.get("query") or first):
            return True
        return "COLLSCAN" in str(self.db.command("explain", command, verbosity="queryPlanner"))


@pytest.fixture(scope="module")
def world(store: Any) -> Iterator[World]:
    sent = Sent()
    with MongoClient[dict[str, Any]](store.address, tz_aware=True, event_listeners=[sent]) as client:
        client.drop_database(NAME)
        # Its ledgers are shorter than the validators ask for.
        seed_normal(client[NAME], NOW)
        ensure_collections(client[NAME], load_settings())
        yield World(client, store.address, sent)
        client.drop_database(NAME)


def check(world: World, name: str, read: Callable[[], Any], sees_all: bool = True) -> None:
    allowed = {collection for of, collection in WHOLE if of == name}
    found = world.whole(read)
    assert world.sent.reads or not sees_all
    assert not {collection: reads for collection, reads in found.items() if collection not in allowed}
    assert not sees_all or allowed <= found.keys(), "an exception that is none any more"


SINCE = NOW - timedelta(hours=1)
# As the pages ask: of a range, and for no more than there is.
PAGES: Mapping[str, Callable[[Store], Any]] = {
    **READS,
    "nodes": lambda s: s.nodes(SINCE),
    "node_runs": lambda s: s.node_runs("lab-node-1", SINCE),
    "pods": lambda s: [s.pods(since=SINCE), s.pods("lab-node-1", SINCE)],
    "groups": lambda s: [s.groups(name, SINCE) for name in documents.DIMENSIONS[1:4]],
    "windows": lambda s: [
        s.windows(name, keys, since, max_windows=most)
        for name, keys in (("user", None), ("user", ["ada", "linus"]), ("run", ["vit-small"]), ("all", None))
        for since in (None, SINCE)
        for most in (9, 2000)
    ],
    "quality": lambda s: s.quality(3),
    "progress": lambda s: s.progress("training", 5),
    "alerts.one": lambda s: s.alerts.one("budget|b|100"),
}


@pytest.mark.parametrize("viewer", ["everybody", "linus"])
@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_reads_no_growing_collection_as_a_whole(world: World, name: str, viewer: str) -> None:
    store = world.store if viewer == "everybody" else world.store.seen_by(Person(viewer))
    check(world, name, lambda: PAGES[name](store), viewer == "everybody")


@pytest.mark.parametrize("part", [StreamPart, NodesPart, StatePart])
def test_a_scrape_reads_no_growing_collection_as_a_whole(world: World, part: Any) -> None:
    made = part(world.db, world.settings)
    check(world, part.__name__, lambda: [made.read(NOW), made.read(NOW)])


def test_the_forecaster_reads_no_growing_collection_as_a_whole(world: World) -> None:
    wanted = dict.fromkeys(targets(), to_ms(NOW))
    check(world, "recall", lambda: recall(world.db, wanted, Horizons(60_000, (60,)), 60))
    dimensions = ("node", "user", "run", "all")
    check(world, "history", lambda: read_history(world.db, dimensions, SINCE, NOW))


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({}, id="all"),
        pytest.param({"reason": "not_finite"}, id="reason"),
        pytest.param({"topic": "training.events"}, id="topic"),
        pytest.param({"topic": "training.events", "first_seen_at": {"$gte": SINCE}}, id="topic since"),
    ],
)
def test_the_rejected_messages_are_not_read_as_a_whole(world: World, query: Mapping[str, Any]) -> None:
    check(world, "dlq", lambda: read_rejected(Reader(world.client, NAME), query, 2))


@pytest.mark.parametrize("rule", [None, "budget"])
@pytest.mark.parametrize("state", [None, "open", "resolved"])
def test_the_listed_alerts_are_not_read_as_a_whole(world: World, state: str | None, rule: str | None) -> None:
    check(world, "alerts ls", lambda: newest(world.db, state, rule, 1, NOW))


def test_the_alerts_process_reads_no_alerts_as_a_whole(world: World) -> None:
    outbox, raised = Outbox(world.db, 5.0), Raised(world.db)
    check(world, "fill", lambda: outbox.fill(["nothing"], NOW - timedelta(days=99)))
    check(world, "follow", lambda: outbox.follow(["nothing"], NOW))
    check(world, "due", lambda: list(outbox.due(NOW)))
    check(world, "raised", lambda: raised.read("b@1", "2026-03"))


def test_the_state_of_the_queries_is_not_read_from_all_batches(world: World) -> None:
    check(world, "status", lambda: newest_batch(world.db, "training"))
