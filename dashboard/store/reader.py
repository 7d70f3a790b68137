"""The only place that talks to MongoDB: reads, and nothing else; vendor errors end here.

Every query passes through `_share`: it is here, and only here, that a viewer's reads are kept to what they may see.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, ExecutionTimeout, OperationFailure, PyMongoError

from conf.clients import mongo_options
from conf.mongo_trouble import mongo_refusal, mongo_unusable
from conf.sections import MongoDB
from dashboard.store.access import Person, SeesAll, Share, Viewer, share
from schemas.documents import RUN_SUMMARY
from schemas.errors import PipelineError, RetryableError
from schemas.lookback import looks_back

Document = Mapping[str, Any]
CHUNK = 500
# How long the list of a person's runs is used again: as long as the pages keep what they read.
OWN_S = 1.0


SEES_ALL = SeesAll()


class StoreAway(RetryableError):
    """The document store does not answer. The message names the host and never holds a secret."""


class ReadTooSlow(RetryableError):
    """One read took longer than its budget; the store itself is there."""


def connect(mongodb: MongoDB) -> MongoClient[dict[str, Any]]:
    """A client that gives up after `mongodb.timeout_s`.

    It connects lazily, so an absent server is no error here. Raises PipelineError where the address or a
    certificate's file cannot be used.
    """
    answer_ms = max(int(mongodb.timeout_s * 1000), 1000) * 4
    try:
        return MongoClient(
            **mongo_options(mongodb), appname="joulestream-dashboard", socketTimeoutMS=answer_ms
        )
    except (ConfigurationError, ValueError, OSError) as error:
        raise mongo_unusable(mongodb, error) from None


class Reader:
    """Reads of one database, kept to what `viewer` may see. Raises StoreAway where the store does not answer."""

    def __init__(
        self,
        client: MongoClient[dict[str, Any]],
        database: str,
        viewer: Viewer = SEES_ALL,
        clock: Callable[[], float] = time.monotonic,
        mongodb: MongoDB | None = None,
    ) -> None:
        self._mongodb = mongodb
        self._client = client
        self._db = client.get_database(database)
        self.viewer = viewer
        self._clock = clock
        self._own: tuple[float, list[str]] | None = None

    @property
    def hosts(self) -> str:
        """Where the store is, without user and password."""
        servers = self._client.topology_description.server_descriptions()
        return ", ".join(sorted(f"{host}:{port}" for host, port in servers)) or "unknown host"

    def find(
        self,
        collection: str,
        query: Document | None = None,
        fields: Sequence[str] | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int = 0,
        budget_s: float | None = None,
    ) -> list[dict[str, Any]]:
        """Documents of a collection. Raises ReadTooSlow when `budget_s` is given and over."""
        with self._errors():
            may = self._share(collection)
            if may is None:
                return []
            if query and may.query(query) != query:
                return self._narrowed(collection, may, query, fields, sort, limit, budget_s)
            cursor = self._db[collection].find(may.query(query or {}), may.names(fields))
            if sort:
                cursor = cursor.sort(list(sort))
            if budget_s is not None:
                cursor = cursor.max_time_ms(max(1, int(budget_s * 1000)))
            return list(cursor.limit(limit))

    def _narrowed(
        self,
        collection: str,
        may: Share,
        query: Document,
        fields: Sequence[str] | None,
        sort: Sequence[tuple[str, int]] | None,
        limit: int,
        budget_s: float | None,
    ) -> list[dict[str, Any]]:
        """The same in stages: the embedded server uses an index only where it has every field of the first one."""
        pipeline: list[dict[str, Any]] = [{"$match": query}, {"$match": may.condition}]
        if sort:
            pipeline.append({"$sort": dict(sort)})
        if limit:
            pipeline.append({"$limit": limit})
        names = may.names(fields)
        if names is not None:
            pipeline.append({"$project": names})
        limits: dict[str, Any] = {} if budget_s is None else {"maxTimeMS": max(1, int(budget_s * 1000))}
        return list(self._db[collection].aggregate(pipeline, **limits))

    def newest(
        self,
        collection: str,
        query: Document,
        by: str,
        count: int,
        fields: Sequence[str] | None = None,
        then: Sequence[tuple[str, int]] = (),
    ) -> list[dict[str, Any]]:
        """The `count` documents with the latest time `by`, newest first, of equal ones in the order `then`.

        `query` has equal values of the fields before `by` in an index.
        """
        found: list[dict[str, Any]] = []
        for since in looks_back(datetime.now(timezone.utc), by):
            found = self.find(collection, {**query, **since}, fields, ((by, -1), *then), count)
            if len(found) >= count:
                break
        return found

    def aggregate(
        self, collection: str, pipeline: Sequence[Document], budget_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Result of an aggregation (one that only reads). Raises ReadTooSlow as `find` does."""
        limits: dict[str, Any] = {} if budget_s is None else {"maxTimeMS": max(1, int(budget_s * 1000))}
        with self._errors():
            may = self._share(collection)
            if may is None:
                return []
            return list(self._db[collection].aggregate(may.stages(pipeline), **limits))

    def count(self, collection: str, query: Document | None = None) -> int:
        """How many documents match."""
        with self._errors():
            may = self._share(collection)
            if may is None:
                return 0
            if query and may.query(query) != query:
                return len(self._narrowed(collection, may, query, ["_id"], None, 0, None))
            return self._db[collection].count_documents(may.query(query or {}))

    def distinct(self, collection: str, field: str) -> list[Any]:
        """The values of a field."""
        with self._errors():
            may = self._share(collection)
            if may is None or not may.shows(field):
                return []
            return self._db[collection].distinct(field, may.condition)

    def ping(self) -> None:
        """Raises StoreAway unless the store answers, to us: it tells anybody that it is there."""
        with self._errors():
            self._db[RUN_SUMMARY].find_one({}, {"_id": 1})

    def _share(self, collection: str) -> Share | None:
        """What the viewer may see of a collection; None is nothing."""
        return share(self.viewer, collection, self._own_runs)

    def _own_runs(self) -> list[str]:
        """Ids of the person's runs, at most `OWN_S` old."""
        now = self._clock()
        if self._own is None or now - self._own[0] >= OWN_S:
            assert isinstance(self.viewer, Person)  # noqa: S101 -- tells the type: only a person's rules ask
            query = {"user_id": self.viewer.user_id}
            found = self._db[RUN_SUMMARY].find(query, {"_id": 1})
            self._own = (now, [str(document["_id"]) for document in found])
        return self._own[1]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ExecutionTimeout as error:
            raise ReadTooSlow("the read took longer than it may; try a shorter range") from error
        except OperationFailure as error:
            refused = mongo_refusal(error, self._mongodb)
            if refused is not None:
                raise StoreAway(f"{refused} ({self.hosts})") from None
            raise PipelineError(
                f"the document store at {self.hosts} cannot answer this question (code {error.code}); "
                "expected MongoDB 6 or newer"
            ) from error
        except PyMongoError as error:
            refused = mongo_refusal(error, self._mongodb)
            if refused is not None:
                raise StoreAway(str(refused)) from None
            raise StoreAway(
                f"the document store at {self.hosts} does not answer ({type(error).__name__}); "
                "start it with ./joule up, or correct mongodb.uri / JOULE_MONGODB_URI"
            ) from None


def chunks(values: Sequence[str], size: int = CHUNK) -> Iterator[Sequence[str]]:
    """Slices that an `$in` can take without making a query too large."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
