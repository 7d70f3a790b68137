"""The ways in which an alert reaches somebody; each behind the same small port."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from schemas.times import rfc3339

HIDDEN = ("deliveries", "_id", "status", "told")
RAISED = "raised"


class Channel(Protocol):
    """Delivers one alert, within its timeout; its `status` says what there is to tell: see `status_of`.

    `key` is the same at every try of a delivery, so that a receiver can tell a second one from a new one.
    Raises RetryableError where a later try may succeed, PipelineError where it cannot.
    """

    def deliver(self, alert: Mapping[str, Any], key: str) -> None: ...


def delivery_key(alert_id: str, channel: str, about: str = RAISED, follow_ups: int = 0) -> str:
    """The idempotency key of a delivery; `follow_ups` counts what was told after the alert itself."""
    return f"{alert_id}|{channel}" + (f"|{about}-{follow_ups}" if follow_ups else "")


def status_of(alert: Mapping[str, Any]) -> str:
    """What is told of an alert: `raised`, `resolved`, or `reopened` after that."""
    return str(alert.get("status", RAISED))


def text_of(alert: Mapping[str, Any]) -> str:
    """What is told, in a line."""
    status, message = status_of(alert), str(alert.get("message", ""))
    if status == RAISED:
        return message
    why = f" ({alert['resolved_because']})" if alert.get("resolved_because") else ""
    return f"{status.capitalize()}{why}: {message}"


def as_json(alert: Mapping[str, Any]) -> bytes:
    """An alert as others read it: `id`, `status`, all that it says, and `text` for receivers that show one line."""
    said = {name: value for name, value in alert.items() if name not in HIDDEN}
    whole = {"id": alert["_id"], "status": status_of(alert), "text": text_of(alert), **said}
    return json.dumps(whole, default=_plain, ensure_ascii=True).encode()


def _plain(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else str(value)
