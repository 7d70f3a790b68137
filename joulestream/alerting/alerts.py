"""Alert documents: raised by one insert, changed only by conditional updates, so that many may do it at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from schemas import documents
from schemas.lookback import looks_back
from spark_jobs.store import Db, Doc

OPEN = "open"
RESOLVED = "resolved"
PENDING = "pending"
SENT = "sent"
FAILED = "failed"
# What a delivery tells; `RESOLVED` is the third.
RAISED = "raised"
REOPENED = "reopened"


def alert_id(rule: str, subject: str, stage: str, period: str) -> str:
    """`_id` of an alert: what is raised once."""
    return f"{rule}|{subject}|{stage}|{period}"


def deliveries(channels: Iterable[str], at: datetime) -> list[Doc]:
    """Entries of the outbox that are due at once."""
    return [{"channel": name, "state": PENDING, "attempts": 0, "next_at": at} for name in channels]


def raise_once(db: Db, alert: Mapping[str, Any]) -> bool:
    """Store an alert with its deliveries, in one write; False where it was raised before, by whomever."""
    try:
        db[documents.ALERTS].insert_one(dict(alert))
    except DuplicateKeyError:
        return False
    return True


def seen(db: Db, ids: Sequence[str], at: datetime) -> None:
    """Say that open alerts still hold."""
    if ids:
        still = {"_id": {"$in": list(ids)}, "state": OPEN}
        db[documents.ALERTS].update_many(still, {"$set": {"last_seen_at": at}})


def resolve(db: Db, identity: str, why: str, at: datetime) -> bool:
    """Close an open alert; False where another was faster."""
    change = {"$set": {"state": RESOLVED, "resolved_at": at, "resolved_because": why}}
    return bool(db[documents.ALERTS].update_one({"_id": identity, "state": OPEN}, change).modified_count)


def reopen(db: Db, identity: str, why: str, at: datetime) -> bool:
    """Open an alert again that was resolved for this reason. Whoever was not told of that is told nothing."""
    change = {
        "$set": {"state": OPEN, "last_seen_at": at},
        "$unset": {"resolved_at": "", "resolved_because": ""},
    }
    was = {"_id": identity, "state": RESOLVED, "resolved_because": why}
    return bool(db[documents.ALERTS].update_one(was, change).modified_count)


def newest(db: Db, state: str | None, rule: str | None, limit: int, at: datetime) -> list[Doc]:
    """The newest alerts, at most `limit`; None does not restrict."""
    found: list[Doc] = []
    for since in looks_back(at, "raised_at"):
        first = ({} if state is None else {"state": state}) | dict(since)
        then = {} if rule is None else {"rule": rule}
        ordered: list[Doc] = [{"$sort": {"raised_at": -1, "_id": 1}}, {"$limit": limit}]
        found = list(db[documents.ALERTS].aggregate([{"$match": first}, {"$match": then}, *ordered]))
        if len(found) >= limit:
            break
    return found
