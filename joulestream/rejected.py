"""Rejected messages: read them, show their bytes harmlessly, tell which can be sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.store import Reader
from dashboard.store.reader import chunks
from schemas.documents import REJECTED

FACTS = (
    *("topic", "partition", "offset", "key", "length", "sha256", "truncated", "reason", "message", "field"),
    *("first_seen_at", "recorded_at"),
)
NEWEST_FIRST = (("first_seen_at", -1), ("_id", 1))


def read_rejected(
    reader: Reader, query: Mapping[str, Any], limit: int, *, with_value: bool
) -> list[dict[str, Any]]:
    """The newest that match; their bytes only if asked for, since each may have 256 KiB."""
    names = [*FACTS, "value"] if with_value else FACTS
    return reader.find(REJECTED, query, names, NEWEST_FIRST, limit)


def read_some(reader: Reader, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Those with these ids, in the order asked for; ids that are not there are left out."""
    found: dict[str, dict[str, Any]] = {}
    for some in chunks(list(dict.fromkeys(ids)), 50):
        found |= {str(doc["_id"]): doc for doc in reader.find(REJECTED, {"_id": {"$in": list(some)}})}
    return [found[name] for name in dict.fromkeys(ids) if name in found]


def can_be_sent(doc: Mapping[str, Any]) -> bool:
    """Whether all of its bytes are kept."""
    value = doc.get("value") or b""
    return not doc.get("truncated") and len(value) == doc.get("length", len(value))


def escaped(value: bytes) -> str:
    """The bytes as text that no terminal obeys: what is not UTF-8 as `\\xff`, what does not print as `\\u…`."""
    text = value.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
