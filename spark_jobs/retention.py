"""What expires: by TTL indexes, or where the server is the embedded one, removed by the job once an hour.

SecantusDB's own sweeper is of no use to us: it reads whole collections while everything waits, and keeps what it has
read in view until its next turn, so that pages that are written often grow and each write to them waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from pymongo import ASCENDING
from pymongo.database import Database
from pymongo.errors import PyMongoError

from conf.settings import Settings
from schemas import documents

log = logging.getLogger(__name__)

DAY_S = 86_400
EVERY_S = 3600.0

Db = Database[dict[str, Any]]


def is_embedded(db: Db) -> bool:
    """Whether the server is SecantusDB. Raises PyMongoError."""
    return "secantusVersion" in db.command("buildInfo")


def expiring(settings: Settings) -> Iterator[tuple[documents.Collection, str, float | None]]:
    """Collections with a retention, the date field it counts from, and its days (None: for ever)."""
    for collection in documents.COLLECTIONS:
        if collection.expires_on is not None and collection.retention_setting is not None:
            section, _, key = collection.retention_setting.partition(".")
            yield collection, collection.expires_on, getattr(getattr(settings, section), key)


def ensure_retention(db: Db, settings: Settings) -> None:
    """Make, change and take back TTL indexes; the embedded server gets none. Raises PyMongoError."""
    embedded = is_embedded(db)
    for collection, field, days in expiring(settings):
        name = f"{field}_ttl"
        after_s = None if days is None or embedded else int(days * DAY_S)
        present = db[collection.name].index_information().get(name)
        if present is not None and present.get("expireAfterSeconds") != after_s:
            db[collection.name].drop_index(name)
            present = None
        if after_s is not None and present is None:
            db[collection.name].create_index([(field, ASCENDING)], name=name, expireAfterSeconds=after_s)


def remove_expired(db: Db, settings: Settings, now: datetime) -> int:
    """Remove what a TTL index would; how many documents that were. Raises PyMongoError."""
    removed = 0
    for collection, field, days in expiring(settings):
        if days is not None:
            expired = {field: {"$lt": now - timedelta(days=days)}}
            removed += db[collection.name].delete_many(expired).deleted_count
    return removed


class Expiry(threading.Thread):
    """Removes what has expired from the embedded server, now and once an hour; nothing on another server."""

    def __init__(self, db: Db, settings: Settings, stop: threading.Event, every_s: float = EVERY_S) -> None:
        super().__init__(name="expiry", daemon=True)
        self._db = db
        self._settings = settings
        self._stop_event = stop
        self._every_s = every_s

    def run(self) -> None:
        """Until asked to stop. Where the store is away, the next turn makes up for it."""
        while True:
            try:
                if not is_embedded(self._db):
                    return
                removed = remove_expired(self._db, self._settings, datetime.now(timezone.utc))
                if removed:
                    log.info("retention: %d documents had expired and are removed", removed)
            except PyMongoError as error:
                log.warning("retention: nothing was removed this time (%s)", type(error).__name__)
            if self._stop_event.wait(self._every_s):
                return
