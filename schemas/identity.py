"""Who an event is: the one function that says whether two messages are one event."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def identity_of(owner: str, fields: Mapping[str, Any], message: bytes) -> str:
    """The identity of an event, which is also its `_id` in the ledger.

    `owner` is the `run_id` (or `node_id`). `e|owner|event_id` where the sender gave an `event_id`, else
    `s|owner|producer_id|sequence` where it gave both, else `h|` + SHA-256 of the message's bytes.
    Identifiers cannot contain `|`, so no two identities read alike.
    """
    event_id = fields.get("event_id")
    if event_id is not None:
        return f"e|{owner}|{event_id}"
    producer_id, sequence = fields.get("producer_id"), fields.get("sequence")
    if producer_id is not None and sequence is not None:
        return f"s|{owner}|{producer_id}|{sequence}"
    return "h|" + hashlib.sha256(message).hexdigest()


def is_hashed(identity: str) -> bool:
    """Whether the identity is the hash of the bytes, which does not name its owner."""
    return identity.startswith("h|")


def identity_ranges(owner: str) -> tuple[tuple[str, str], ...]:
    """Half-open `_id` ranges that hold all identities of an owner but the hashed ones.

    `}` is the character after `|`. So the ledger needs no secondary index to list a run.
    """
    return tuple((f"{kind}|{owner}|", f"{kind}|{owner}}}") for kind in ("e", "s"))
