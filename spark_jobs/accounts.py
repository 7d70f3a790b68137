"""The accounts: per partition, what the messages became, and the fence below which all is settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import UpdateOne

from schemas import documents
from spark_jobs.receipts import COUNTS
from spark_jobs.store import Db, Doc, find_by_ids


def account_id(topic: str, partition: int) -> str:
    """`_id` of a partition's account."""
    return f"{topic}/{partition}"


def open_accounts(db: Db, query: str, topic: str, partitions: Mapping[int, int]) -> None:
    """Make an account for each partition (by its first offset) that has none."""
    for partition, first in partitions.items():
        db[documents.ACCOUNTS].update_one(
            {"_id": account_id(topic, partition)},
            {"$setOnInsert": _opening(query, topic, partition, first)},
            upsert=True,
        )


def _opening(query: str, topic: str, partition: int, first: int) -> Doc:
    return {
        "schema_version": documents.DOCUMENT_VERSION,
        "query": query,
        "topic": topic,
        "partition": partition,
        "first_offset": first,
        "next_offset": first,
        **dict.fromkeys((*COUNTS, "rejected_total", "unknown"), 0),
        "rejected": {},
    }


def fences(db: Db, topic: str) -> dict[int, int]:
    """`next_offset` by partition: all below is settled."""
    return {doc["partition"]: doc["next_offset"] for doc in db[documents.ACCOUNTS].find({"topic": topic})}


def claim(db: Db, query: str, epoch: int) -> None:
    """Close the accounts and generations of a query to the holders of earlier leases."""
    for collection in (documents.ACCOUNTS, documents.GENERATIONS):
        db[collection].update_many({"query": query}, {"$max": {"writer": epoch}})


def post(db: Db, query: str, topic: str, heads: Sequence[Mapping[str, Any]], epoch: int) -> None:
    """Move each partition's fence to the end of what its task did, and its counts with it, in one update each.

    Once the fence has moved, or a later process has claimed the account, posting changes nothing.
    """
    if not heads:
        return
    _ensure(db, query, topic, heads)
    moves = [_move(topic, head, epoch) for head in heads]
    db[documents.ACCOUNTS].bulk_write(moves, ordered=False)


def _move(topic: str, head: Mapping[str, Any], epoch: int) -> UpdateOne:
    end = head["end"]
    increments = {name: head[name] for name in COUNTS}
    increments["rejected_total"] = sum(head["rejected"].values())
    if "unknown" in head:
        increments["unknown"] = head["unknown"]
    increments.update({f"rejected.{code}": count for code, count in head["rejected"].items()})
    unmoved = {
        "_id": account_id(topic, head["partition"]),
        "next_offset": {"$lt": end},
        "writer": {"$not": {"$gt": epoch}},
    }
    return UpdateOne(unmoved, {"$inc": increments, "$set": {"next_offset": end}})


def _ensure(db: Db, query: str, topic: str, heads: Sequence[Mapping[str, Any]]) -> None:
    """A partition that was added to the topic while the stream ran has no account yet."""
    firsts = {account_id(topic, head["partition"]): (head["partition"], head["first"]) for head in heads}
    known = {doc["_id"] for doc in find_by_ids(db[documents.ACCOUNTS], list(firsts), {"_id": 1})}
    open_accounts(db, query, topic, dict(first for i, first in firsts.items() if i not in known))
