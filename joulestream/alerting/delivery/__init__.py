"""The ways in which an alert reaches somebody; each behind the same small port."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from schemas.times import rfc3339

HIDDEN = ("deliveries", "_id")


class Channel(Protocol):
    """Delivers one alert, within its timeout.

    `key` is the same at every try of a delivery, so that a receiver can tell a second one from a new one.
    Raises RetryableError where a later try may succeed, PipelineError where it cannot.
    """

    def deliver(self, alert: Mapping[str, Any], key: str) -> None: ...


def delivery_key(alert_id: str, channel: str) -> str:
    """The idempotency key of a delivery."""
    return f"{alert_id}|{channel}"


def as_json(alert: Mapping[str, Any]) -> bytes:
    """An alert as others read it: `id`, all that it says, and `text` for receivers that show one line."""
    said = {name: value for name, value in alert.items() if name not in HIDDEN}
    whole = {"id": alert["_id"], "text": alert.get("message", ""), **said}
    return json.dumps(whole, default=_plain, ensure_ascii=True).encode()


def _plain(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else str(value)
