"""Alerts: what was noticed, of whom, with its evidence, and how it was delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dashboard.store.fields import DATE, from_document, number, stored, text, whole
from dashboard.store.forecasts import flattened
from dashboard.store.reader import Reader
from schemas.documents import ALERTS

RULES = ("budget", "power_anomaly", "idle_gpu", "stuck_counter")
STATES = ("open", "resolved")
MAX_ALERTS = 500
MAX_EVIDENCE = 200


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One channel of an alert. `about` (`resolved`, `reopened`): what it tells since the alert itself was sent."""

    channel: str | None = stored(text)
    state: str | None = stored(text)
    about: str | None = stored(text)
    attempts: int | None = stored(whole)
    next_at: datetime | None = field(default=None, metadata=DATE)
    sent_at: datetime | None = field(default=None, metadata=DATE)
    followed_at: datetime | None = field(default=None, metadata=DATE)
    last_error: str | None = stored(text)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Something that was noticed once. `evidence` is names and values as text."""

    id: str
    rule: str | None = stored(text)
    severity: str | None = stored(text)
    state: str | None = stored(text)
    dimension: str | None = None
    key: str | None = None
    budget: str | None = stored(text)
    stage_pct: float | None = stored(number)
    basis: str | None = stored(text)
    period: str | None = stored(text)
    probability: float | None = stored(number)
    message: str | None = stored(text)
    raised_at: datetime | None = field(default=None, metadata=DATE)
    last_seen_at: datetime | None = field(default=None, metadata=DATE)
    resolved_at: datetime | None = field(default=None, metadata=DATE)
    resolved_because: str | None = stored(text)
    deliveries: tuple[Delivery, ...] = ()
    evidence: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class AlertReads:
    """All reads of alerts."""

    reader: Reader

    def some(self, states: Sequence[str] = (), rules: Sequence[str] = ()) -> tuple[Alert, ...]:
        """Open ones first, the newest first; at most 500 of each state. Empty filters do not restrict."""
        found: list[Alert] = []
        for state in STATES:
            if not states or state in states:
                query = {"state": state} | ({"rule": {"$in": list(rules)}} if rules else {})
                found += self._find(query, MAX_ALERTS)
        return tuple(found)

    def of(self, dimension: str, key: str | None, limit: int = 20) -> tuple[Alert, ...]:
        """The newest alerts on one subject."""
        query: dict[str, Any] = {"subject.dimension": dimension}
        if dimension != "all":
            query["subject.key"] = key
        return tuple(self._find(query, limit))

    def one(self, alert_id: str) -> Alert | None:
        """One alert; None if there is none of this id."""
        found = self._find({"_id": alert_id}, 1)
        return found[0] if found else None

    def n_open(self) -> int:
        """How many are open."""
        return self.reader.count(ALERTS, {"state": "open"})

    def _find(self, query: Mapping[str, Any], limit: int) -> list[Alert]:
        found = self.reader.find(ALERTS, query, None, (("raised_at", -1),), limit)
        return [to_alert(document) for document in found]


def to_alert(document: Mapping[str, Any]) -> Alert:
    """An alert from its document."""
    subject = document.get("subject")
    given = subject if isinstance(subject, Mapping) else {}
    listed = document.get("deliveries")
    items = listed if isinstance(listed, Sequence) and not isinstance(listed, (str, bytes)) else ()
    evidence = tuple(flattened(document.get("evidence")))[:MAX_EVIDENCE]
    return from_document(
        Alert,
        document,
        id=str(document["_id"]),
        dimension=text(given.get("dimension")),
        key=text(given.get("key")),
        deliveries=tuple(from_document(Delivery, item) for item in items if isinstance(item, Mapping)),
        evidence=evidence,
    )
