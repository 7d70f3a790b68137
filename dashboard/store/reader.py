"""The only place that talks to MongoDB: reads, and nothing else; vendor errors end here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, ExecutionTimeout, OperationFailure, PyMongoError

from conf.clients import mongo_options
from conf.mongo_trouble import mongo_refusal, mongo_unusable
from conf.sections import MongoDB
from schemas.errors import PipelineError, RetryableError

Document = Mapping[str, Any]
CHUNK = 500


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
    """Reads of one database. Raises StoreAway where the store does not answer."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str) -> None:
        self._client = client
        self._db = client.get_database(database)

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
            cursor = self._db[collection].find(
                query or {}, None if fields is None else dict.fromkeys(fields, 1)
            )
            if sort:
                cursor = cursor.sort(list(sort))
            if budget_s is not None:
                cursor = cursor.max_time_ms(max(1, int(budget_s * 1000)))
            return list(cursor.limit(limit))

    def aggregate(
        self, collection: str, pipeline: Sequence[Document], budget_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Result of an aggregation (one that only reads). Raises ReadTooSlow as `find` does."""
        limits: dict[str, Any] = {} if budget_s is None else {"maxTimeMS": max(1, int(budget_s * 1000))}
        with self._errors():
            return list(self._db[collection].aggregate([dict(stage) for stage in pipeline], **limits))

    def count(self, collection: str, query: Document | None = None) -> int:
        """How many documents match."""
        with self._errors():
            return self._db[collection].count_documents(query or {})

    def distinct(self, collection: str, field: str) -> list[Any]:
        """The values of a field."""
        with self._errors():
            return self._db[collection].distinct(field)

    def ping(self) -> None:
        """Raises StoreAway unless the store answers."""
        with self._errors():
            self._client.admin.command("ping")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ExecutionTimeout as error:
            raise ReadTooSlow("the read took longer than it may; try a shorter range") from error
        except OperationFailure as error:
            refused = mongo_refusal(error)
            if refused is not None:
                raise StoreAway(f"{refused} ({self.hosts})") from None
            raise PipelineError(
                f"the document store at {self.hosts} cannot answer this question (code {error.code}); "
                "expected MongoDB 6 or newer"
            ) from error
        except PyMongoError as error:
            refused = mongo_refusal(error)
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
