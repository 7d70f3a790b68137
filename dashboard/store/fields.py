"""From a document's loosely typed values to a dataclass: what is absent or of another type is None."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, field, fields
from datetime import datetime, timezone
from typing import Any, TypeVar, cast

T = TypeVar("T")


def text(value: Any) -> str | None:
    """A text that is not empty."""
    return value if isinstance(value, str) and value else None


def number(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def whole(value: Any) -> int | None:
    """A whole number."""
    found = number(value)
    return None if found is None else int(found)


def date(value: Any) -> datetime | None:
    """A time in UTC."""
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


def texts(value: Any) -> tuple[str, ...]:
    """A list of names or numbers, as text."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return ()
    return tuple(str(item) for item in value if item is not None)


def pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """An object, or its stored form of a list of {k, v}, as pairs of texts."""
    if isinstance(value, Mapping):
        return tuple((str(key), str(item)) for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple((str(item.get("k")), str(item.get("v"))) for item in value if isinstance(item, Mapping))
    return ()


def stored(read: Callable[[Any], Any], default: Any = None) -> Any:
    """A dataclass field that is read from the document's field of the same name."""
    return field(default=default, metadata={"read": read})


# As `stored(date)`, spelled for `field(default=None, metadata=DATE)`.
DATE = {"read": date}


def from_document(cls: type[T], document: Mapping[str, Any], **given: Any) -> T:
    """Build `cls` from its `stored` fields; `given` ones win."""
    values = dict(given)
    for item in fields(cast(Any, cls)):
        if item.name in values or "read" not in item.metadata:
            continue
        value = item.metadata["read"](document.get(item.name))
        if value is None and item.default is not MISSING:
            value = item.default
        values[item.name] = value
    return cls(**values)
