"""Budgets with what the alerts process last found of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dashboard.store.fields import DATE, date, from_document, number, stored, text, texts
from dashboard.store.forecast_rows import SPAN, Span
from dashboard.store.reader import Reader
from schemas.documents import BUDGETS

MAX_BUDGETS = 500
# A budget is at risk from here on: more likely to break than not.
LIKELY = 0.5


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a budget's period has used (in the budget's unit), and will have used at its end."""

    period: str | None = stored(text)
    period_start: datetime | None = field(default=None, metadata=DATE)
    period_end: datetime | None = field(default=None, metadata=DATE)
    actual: float | None = stored(number)
    forecast: Span | None = field(default=None, metadata=SPAN)
    forecast_at: datetime | None = None
    probability: float | None = stored(number)
    stage_pct_actual: float | None = stored(number)
    stage_pct_forecast: float | None = stored(number)
    evaluated_at: datetime | None = field(default=None, metadata=DATE)
    note: str | None = stored(text)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit. `unit` is kWh, kg or a currency; `key` None is everybody, with `scope` all."""

    name: str
    scope: str | None = stored(text)
    key: str | None = stored(text)
    limit: float | None = stored(number)
    unit: str | None = stored(text)
    period: str | None = stored(text)
    on_break: str | None = stored(text)
    channels: tuple[str, ...] = stored(texts, ())
    created_at: datetime | None = field(default=None, metadata=DATE)
    created_by: str | None = stored(text)
    status: Status | None = None

    def share(self, amount: float | None) -> float | None:
        """An amount of the budget's unit as percent of the limit."""
        return None if amount is None or self.limit is None or self.limit <= 0 else 100 * amount / self.limit

    @property
    def at_risk(self) -> bool:
        """Used up already, or more likely to break than not."""
        if self.status is None:
            return False
        used = self.share(self.status.actual)
        return (self.status.probability or 0.0) >= LIKELY or (used is not None and used >= 100)


@dataclass(frozen=True)
class BudgetReads:
    """All reads of budgets."""

    reader: Reader

    def all(self) -> tuple[Budget, ...]:
        """Every budget, those at risk first, then by name; at most 500."""
        found = self.reader.find(BUDGETS, {}, None, (("_id", 1),), MAX_BUDGETS)
        budgets = [to_budget(document) for document in found]
        return tuple(sorted(budgets, key=lambda budget: not budget.at_risk))


def to_budget(document: Mapping[str, Any]) -> Budget:
    """A budget from its document."""
    given = document.get("status")
    status = None
    if isinstance(given, Mapping):
        ahead = given.get("forecast")
        at = date(ahead.get("at")) if isinstance(ahead, Mapping) else None
        status = from_document(Status, given, forecast_at=at)
    return from_document(Budget, document, name=str(document["_id"]), status=status)
