"""How parts and facets are stored: as one binary value each, which is BSON within BSON.

They are the stream's own and nobody queries them, but for `parts.at`. A store copies and compares a document value
by value at each update, and most of a document's values would be theirs: the sums of each open window of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone
from typing import Any

import bson
from bson.codec_options import CodecOptions

from spark_jobs.store import Doc

AT = "at"
PACKED = "packed"
WORKING = ("parts", "facets")  # change with each write

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=timezone.utc)


def packed(doc: Mapping[str, Any]) -> Doc:
    """A document as it is stored."""
    parts = doc["parts"]
    rest = bson.encode({name: value for name, value in parts.items() if name != AT})
    stored: Doc = {**doc, "parts": {AT: parts[AT], PACKED: rest}}
    if "facets" in doc:
        stored["facets"] = bson.encode(doc["facets"])
    return stored


def parts_in(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts of a stored document, also of one that was stored before they were packed; empty where it has none."""
    parts: Mapping[str, Any] = stored.get("parts") or {}
    if PACKED not in parts:
        return parts
    return {AT: parts[AT], **decoded(parts[PACKED])}


def facets_in(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The facets of a stored document, as `parts_in`."""
    facets = stored.get("facets") or {}
    return decoded(facets) if isinstance(facets, bytes) else dict(facets)


def decoded(data: bytes) -> Doc:
    """BSON read back: times with UTC."""
    return bson.decode(data, _OPTIONS)
