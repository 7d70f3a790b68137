"""The document store: one client per process, its errors translated, and patience while it is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, TypeAlias, TypeVar

from pydantic import SecretStr
from pymongo import MongoClient
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

from conf.clients import mongo_options
from conf.mongo_trouble import mongo_refusal, mongo_unusable
from conf.sections import MongoDB
from conf.settings import Settings
from conf.trouble import Refused
from schemas import documents
from schemas.errors import PipelineError, RetryableError
from spark_jobs.retention import ensure_retention

log = logging.getLogger(__name__)

Doc: TypeAlias = dict[str, Any]
Db: TypeAlias = Database[Doc]
T = TypeVar("T")

DUPLICATE_KEY = 11000
# The embedded server scans `$in` lists: short ones cost less per id there, and nothing elsewhere.
IDS_PER_FIND = 32

# Server states that pass by themselves: not primary, shutting down, interrupted (MongoDB error code table).
_PASSING = frozenset({6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})


@dataclass(frozen=True)
class Address:
    """Where the documents live; picklable, so that executors can connect by themselves. Hides its secrets."""

    mongodb: MongoDB

    @classmethod
    def of(cls, settings: Settings) -> Address:
        """The store that the settings name."""
        return cls(settings.mongodb)

    @classmethod
    def at(cls, uri: str, database: str, timeout_s: float) -> Address:
        """A store of which nothing but this is said."""
        return cls(MongoDB(uri=SecretStr(uri), database=database, timeout_s=timeout_s))

    @property
    def uri(self) -> str:
        """Its connection string, with the password if that holds one."""
        return self.mongodb.uri.get_secret_value()

    @property
    def database(self) -> str:
        return self.mongodb.database


def connect(address: Address) -> Db:
    """A new client's database: dates with UTC, majority and journaled writes, primary reads.

    Raises PipelineError where the URI or a certificate's file cannot be used.
    """
    try:
        client: MongoClient[Doc] = MongoClient(
            **mongo_options(address.mongodb), appname="joulestream", retryWrites=False
        )
        return client.get_database(
            address.database,
            write_concern=WriteConcern(w="majority", j=True),
            read_preference=ReadPreference.PRIMARY,
        )
    except (PyMongoError, ValueError, OSError) as error:
        raise mongo_unusable(address.mongodb, error) from None


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
def server_errors(what: str, mongodb: MongoDB | None = None) -> Iterator[None]:
    """Turn the driver's errors into RetryableError (away for now) or PipelineError, for short-lived callers.

    One that does not let us in is Refused, with the reason; with its settings the reason says more.
    """
    try:
        yield
    except PyMongoError as error:
        refused = mongo_refusal(error, mongodb)
        if refused is not None:
            raise refused from None
        if is_away(error):
            raise RetryableError(
                f"{what} does not answer ({type(error).__name__}); start it (`./joule up`) or check JOULE_MONGODB_URI"
            ) from None
        raise PipelineError(f"{what} refused: {error}") from None


class Stopped(PipelineError):
    """Asked to stop while waiting for a server that is away."""


class Patience:
    """Repeats a call while the store is away: back-off to `longest_s`, one log line per change of state.

    A store that does not let us in is away as well, and the line says why; with `first` that is an error as long
    as no call has succeeded: whoever starts with a wrong password should end, and say so.
    """

    def __init__(
        self,
        stop: Event | None = None,
        longest_s: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        level: int = logging.WARNING,
        first: bool = False,
        mongodb: MongoDB | None = None,
    ) -> None:
        self._first = first
        self._mongodb = mongodb
        self._level = level
        self._stop = stop
        self._longest_s = longest_s
        self._sleep = sleep
        self._told = ""  # what was said last; empty while the store answers
        self._lock = Lock()
        self.failures = 0  # calls that were not answered, by whichever thread; each was tried again

    def __call__(self, call: Callable[[], T]) -> T:
        """The call's result. Raises Stopped when asked to stop meanwhile, Refused; other errors as they are."""
        pause_s = 0.1
        while True:
            try:
                result = call()
            except PyMongoError as error:
                # To look at the port takes seconds, in which another thread may find the store back.
                refused = mongo_refusal(error, self._mongodb, look=self._first)
                if refused is not None and self._first:
                    raise refused from None
                if refused is None and not is_away(error):
                    raise
                self._wait_for(refused, error)
            else:
                self._arrived()
                return result
            if self._stop is not None and self._stop.is_set():
                raise Stopped("stopped while the document store was away; nothing is lost")
            self._sleep(pause_s)
            pause_s = min(pause_s * 2, self._longest_s)

    def _wait_for(self, refused: Refused | None, error: PyMongoError) -> None:
        """Say once that we wait, whichever thread sees it first, and again where the server gives a new reason."""
        text = str(refused or f"document store is away ({type(error).__name__})")
        with self._lock:
            self.failures += 1
            if not self._told or (refused is not None and self._told != text):
                # Tasks leave it to the driver to say that the store is away; who is refused says so by itself.
                log.log(logging.WARNING if refused else self._level, "%s; waiting for it", text)
                self._told = text

    def _arrived(self) -> None:
        with self._lock:
            self._first = False
            if self._told:
                self._told = ""
                log.log(self._level, "document store is back")


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
        if collection.is_read_by_ranges and scans_for_ranges(db, collection.name):
            db[collection.name].create_index(list(documents.RANGES.keys), name=documents.RANGES.name)
        _drop_retired(db, collection)
    ensure_retention(db, settings)


def scans_for_ranges(db: Db, name: str) -> bool:
    """Whether the server looks at every document for a range of `_id` (the embedded one does; MongoDB does not)."""
    find = {"find": name, "filter": {"_id": {"$gte": "a", "$lt": "b"}}}
    plan = db.command("explain", find, verbosity="queryPlanner")["queryPlanner"]["winningPlan"]
    return "COLLSCAN" in str(plan)


def _drop_retired(db: Db, collection: documents.Collection) -> None:
    retired = {index.name for index in collection.retired_indexes}
    for name in retired & (db[collection.name].index_information().keys() if retired else set()):
        db[collection.name].drop_index(name)
