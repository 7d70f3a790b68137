"""How far each query of the stream is, from the documents that it writes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from pymongo import DESCENDING, MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from conf.clients import mongo_options
from conf.mongo_trouble import mongo_refusal
from conf.settings import Settings
from schemas import documents
from schemas.lookback import looks_back

Doc = dict[str, Any]
SUMS = ("consumed", "accepted", "duplicate", "conflict", "late")


def query_progress(settings: Settings) -> tuple[list[Doc], str | None]:
    """One document per query (sums over partitions, last batch), and what is wrong if the store is away."""
    options = {**mongo_options(settings.mongodb), "serverSelectionTimeoutMS": 3000}
    try:
        with MongoClient[Doc](**options) as client:
            db = client[settings.mongodb.database]
            accounts = list(db[documents.ACCOUNTS].find())
            names = sorted({account["query"] for account in accounts})
            last = {name: newest_batch(db, name) for name in names}
    except PyMongoError as error:
        refused = mongo_refusal(error, settings.mongodb)
        if refused is not None:
            return [], str(refused)
        return [], f"the document store does not answer ({type(error).__name__}); look at: ./joule logs store"
    return [_of_query(name, accounts, last[name] or {}) for name in names], None


def newest_batch(db: Database[Doc], query: str) -> Doc | None:
    """The last batch of a query. No index has its name and the time, so the name is looked for here."""
    for since in looks_back(datetime.now(timezone.utc), "at"):
        found = db[documents.PROGRESS].find(since or {"query": query}).sort("at", DESCENDING)
        newest: Doc | None = next((doc for doc in found if doc.get("query") == query), None)
        if newest is not None:
            return newest
    return None


def _of_query(name: str, accounts: list[Doc], last: Doc) -> Doc:
    mine = [account for account in accounts if account["query"] == name]
    reasons: dict[str, int] = {}
    for account in mine:
        for code, count in account.get("rejected", {}).items():
            reasons[code] = reasons.get(code, 0) + count
    return {
        "query": name,
        "topic": mine[0].get("topic"),
        **{key: sum(account.get(key, 0) for account in mine) for key in SUMS},
        "rejected": sum(account.get("rejected_total", 0) for account in mine),
        "rejected_by_reason": reasons,
        "rows": last.get("rows_in"),
        "batch": last.get("batch"),
        "at": last.get("at"),
        "lag": last.get("lag"),
        "watermark": last.get("watermark"),
        "duration_s": last.get("duration_s"),
    }
