"""Messages as clients write them: small builders for the catalogues of odd and of bad input."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from schemas.parse import Parse, parse_node, parse_training
from schemas.topics import NODE_METRICS, TRAINING_EVENTS

# In the past, so that a real broker's record time is after it too.
AT_TEXT = "2024-03-01T12:00:00Z"
AT = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
AT_EPOCH_S = 1_709_294_400
RECORDED_AT = datetime(2024, 3, 1, 12, 0, 30, tzinfo=timezone.utc)

PARSERS: dict[str, Parse] = {TRAINING_EVENTS: parse_training, NODE_METRICS: parse_node}


class Raw(str):
    """JSON text that goes into a message as it stands, such as `1e999`."""

    __slots__ = ()


class Absent:
    """Marks a field that a builder leaves out, and one that a document must not have."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


def training(**fields: Any) -> bytes:
    """A `training.events` message: run `r`, at AT, and the fields given."""
    return message({"run_id": "r", "timestamp": AT_TEXT, **fields})


def node(**fields: Any) -> bytes:
    """A `node.metrics` message: node `n`, at AT, and the fields given."""
    return message({"node_id": "n", "timestamp": AT_TEXT, **fields})


def message(fields: dict[str, Any]) -> bytes:
    """UTF-8 JSON of the fields; those that are ABSENT are left out, Raw ones are not quoted."""
    parts = [f"{json.dumps(name)}: {_text(value)}" for name, value in fields.items() if value is not ABSENT]
    return ("{" + ", ".join(parts) + "}").encode()


def _text(value: Any) -> str:
    return str(value) if isinstance(value, Raw) else json.dumps(value, ensure_ascii=False)


def nested(levels: int) -> Raw:
    """So many arrays, one inside the other, as JSON text."""
    return Raw("[" * levels + "]" * levels)
