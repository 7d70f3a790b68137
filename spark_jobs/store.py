"""The document store: one client per process, its errors translated, and patience while it is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, TypeAlias, TypeVar

from pymongo import ASCENDING, MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    CollectionInvalid,
    ConnectionFailure,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from conf.settings import Settings
from schemas import documents
from schemas.errors import PipelineError, RetryableError

log = logging.getLogger(__name__)

Doc: TypeAlias = dict[str, Any]
Db: TypeAlias = Database[Doc]
T = TypeVar("T")

DUPLICATE_KEY = 11000
DAY_S = 86_400
# The embedded server scans `$in` lists: short ones cost less per id there, and nothing elsewhere.
IDS_PER_FIND = 32

# Server states that pass by themselves: not primary, shutting down, interrupted (MongoDB error code table).
_PASSING = frozenset({6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})


@dataclass(frozen=True)
class Address:
    """Where the documents live; picklable, so that executors can connect by themselves."""

    uri: str = field(repr=False)
    database: str
    timeout_s: float

    @classmethod
    def of(cls, settings: Settings) -> Address:
        """The store that the settings name."""
        mongodb = settings.mongodb
        return cls(mongodb.uri.get_secret_value(), mongodb.database, mongodb.timeout_s)


def connect(address: Address) -> Db:
    """A new client's database: dates with UTC, majority and journaled writes, primary reads.

    Raises PipelineError where the URI cannot be read.
    """
    timeout_ms = int(address.timeout_s * 1000)
    try:
        client: MongoClient[Doc] = MongoClient(
            address.uri,
            tz_aware=True,
            appname="joulestream",
            serverSelectionTimeoutMS=timeout_ms,
            connectTimeoutMS=timeout_ms,
            retryWrites=False,
        )
        return client.get_database(
            address.database,
            write_concern=WriteConcern(w="majority", j=True),
            read_preference=ReadPreference.PRIMARY,
        )
    except (PyMongoError, ValueError) as error:
        raise PipelineError(f"JOULE_MONGODB_URI cannot be used: {error}") from None


def life_of(db: Db) -> object | None:
    """Which life of a lone server answers; None of a replica set, where what a majority took outlives servers."""
    hello = db.command("hello")
    if "setName" in hello or hello.get("msg") == "isdbgrid":
        return None
    life: object | None = hello.get("topologyVersion", {}).get("processId")
    return life


def is_away(error: PyMongoError) -> bool:
    """Whether the store is away for now, so that the same call may succeed later."""
    if isinstance(error, (AutoReconnect, ConnectionFailure, NetworkTimeout, WTimeoutError)):
        return True
    if isinstance(error, BulkWriteError):
        codes = {entry["code"] for entry in error.details.get("writeErrors", [])}
        return bool(error.details.get("writeConcernErrors") or codes & _PASSING)
    return isinstance(error, OperationFailure) and error.code in _PASSING


@contextmanager
def server_errors(what: str) -> Iterator[None]:
    """Turn the driver's errors into RetryableError (away for now) or PipelineError, for short-lived callers."""
    try:
        yield
    except PyMongoError as error:
        if is_away(error):
            raise RetryableError(
                f"{what} does not answer ({type(error).__name__}); start it (`./joule up`) or check JOULE_MONGODB_URI"
            ) from None
        raise PipelineError(f"{what} refused: {error}") from None


class Stopped(PipelineError):
    """Asked to stop while waiting for a server that is away."""


class Patience:
    """Repeats a call while the store is away: back-off to `longest_s`, one log line per change of state."""

    def __init__(
        self,
        stop: Event | None = None,
        longest_s: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        level: int = logging.WARNING,
    ) -> None:
        self._level = level
        self._stop = stop
        self._longest_s = longest_s
        self._sleep = sleep
        self._away = False
        self._lock = Lock()

    def __call__(self, call: Callable[[], T]) -> T:
        """The call's result. Raises Stopped when asked to stop meanwhile; other errors as they are."""
        pause_s = 0.1
        while True:
            try:
                result = call()
            except PyMongoError as error:
                if not is_away(error):
                    raise
                self._now("document store is away (%s); waiting for it", type(error).__name__, away=True)
            else:
                self._now("document store is back", away=False)
                return result
            if self._stop is not None and self._stop.is_set():
                raise Stopped("stopped while the document store was away; nothing is lost")
            self._sleep(pause_s)
            pause_s = min(pause_s * 2, self._longest_s)

    def _now(self, text: str, *values: str, away: bool) -> None:
        """Say so once, whichever thread sees it first."""
        with self._lock:
            if self._away != away:
                self._away = away
                log.log(self._level, text, *values)


def find_by_ids(collection: Collection[Doc], ids: Sequence[str], projection: Any = None) -> Iterable[Doc]:
    """The documents with these ids, in any order."""
    for start in range(0, len(ids), IDS_PER_FIND):
        chunk = list(ids[start : start + IDS_PER_FIND])
        yield from collection.find({"_id": {"$in": chunk}}, projection)


def ensure_collections(db: Db, settings: Settings) -> None:
    """Create the collections, indexes and validators of the contract; doing it twice changes nothing."""
    present = set(db.list_collection_names())
    for collection in documents.COLLECTIONS:
        options: Doc = {"validator": dict(collection.validator)} if collection.validator else {}
        if collection.name not in present:
            with suppress(CollectionInvalid):  # another process was faster
                db.create_collection(collection.name, **options)
        elif options:
            db.command({"collMod": collection.name, **options})
        for index in collection.indexes:
            db[collection.name].create_index(list(index.keys), name=index.name, sparse=index.sparse)
        _drop_retired(db, collection)
        _ensure_retention(db, collection, settings)


def _drop_retired(db: Db, collection: documents.Collection) -> None:
    retired = {index.name for index in collection.retired_indexes}
    for name in retired & (db[collection.name].index_information().keys() if retired else set()):
        db[collection.name].drop_index(name)


def _ensure_retention(db: Db, collection: documents.Collection, settings: Settings) -> None:
    if collection.expires_on is None or collection.retention_setting is None:
        return
    section, _, key = collection.retention_setting.partition(".")
    days = getattr(getattr(settings, section), key)
    name = f"{collection.expires_on}_ttl"
    present = db[collection.name].index_information().get(name)
    if present is not None and (days is None or present.get("expireAfterSeconds") != int(days * DAY_S)):
        db[collection.name].drop_index(name)
        present = None
    if days is not None and present is None:
        db[collection.name].create_index(
            [(collection.expires_on, ASCENDING)], name=name, expireAfterSeconds=int(days * DAY_S)
        )
