"""Rejected messages: read them, show their bytes harmlessly, tell which can be sent again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from dashboard.store import Reader
from dashboard.store.reader import chunks
from schemas.documents import REJECTED
from schemas.lookback import looks_back

FACTS = (
    *("topic", "partition", "offset", "key", "length", "sha256", "truncated", "reason", "message", "field"),
    *("first_seen_at", "recorded_at"),
)
PAGE = 50
NEWEST_FIRST = (("first_seen_at", -1), ("_id", 1))


def read_rejected(reader: Reader, query: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """The newest that match, without their bytes."""
    if query.keys() <= {"reason"}:
        return reader.newest(REJECTED, query, "first_seen_at", limit, FACTS, NEWEST_FIRST[1:])
    if "topic" not in query:
        return reader.find(REJECTED, query, FACTS, NEWEST_FIRST, limit)
    first = {name: value for name, value in query.items() if name != "topic"}
    if "first_seen_at" in first:
        return _of_topic(reader, first, query["topic"], limit)
    found: list[dict[str, Any]] = []
    for since in looks_back(datetime.now(timezone.utc), "first_seen_at"):
        found = _of_topic(reader, {**first, **since}, query["topic"], limit)
        if len(found) >= limit:
            break
    return found


def _of_topic(reader: Reader, first: Mapping[str, Any], topic: str, limit: int) -> list[dict[str, Any]]:
    """In two stages: no index has the topic, and the embedded server uses one only for all of the first."""
    stages: list[dict[str, Any]] = [
        {"$match": first},
        {"$match": {"topic": topic}},
        {"$sort": dict(NEWEST_FIRST)},
        {"$limit": limit},
    ]
    return reader.aggregate(REJECTED, [*stages, {"$project": dict.fromkeys(FACTS, 1)}])


def read_some(reader: Reader, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Those with these ids, without their bytes, in the order asked for; others are left out."""
    wanted = list(dict.fromkeys(ids))
    found = {
        str(doc["_id"]): doc for some in chunks(wanted) for doc in reader.find(REJECTED, _in(some), FACTS)
    }
    return [found[name] for name in wanted if name in found]


def with_values(reader: Reader, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The same with their bytes, a few at a time: each may have 256 KiB."""
    for some in chunks(list(dict.fromkeys(ids)), PAGE):
        found = {str(doc["_id"]): doc for doc in reader.find(REJECTED, _in(some))}
        yield from (found[name] for name in some if name in found)


def _in(ids: Sequence[str]) -> dict[str, Any]:
    return {"_id": {"$in": list(ids)}}


def can_be_sent(doc: Mapping[str, Any]) -> bool:
    """Whether all of its bytes are kept."""
    return not doc.get("truncated")


def escaped(value: bytes) -> str:
    """The bytes as text that no terminal obeys: what is not UTF-8 as `\\xff`, what does not print as `\\u…`."""
    text = value.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
