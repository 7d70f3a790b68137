"""Budgets: what a person may set, checked; their documents; adding, listing and removing them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from conf.ahead import Alerts
from joulestream.alerting.periods import KINDS
from schemas import documents
from schemas.errors import PipelineError
from schemas.fields import ID_PATTERN
from schemas.times import to_ms
from spark_jobs.store import Db, Doc

KWH = "kWh"
KG = "kg"
SCOPES = ("run", "user", "project", "node", "all")
ON_BREAK = ("notify", "stop")
CHANNELS = ("webhook", "mail", "command")
_LIMIT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]+)", re.ASCII)


class BudgetError(PipelineError):
    """A budget cannot be as it was asked for; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in `unit` (kWh, kg or a currency) on what a subject uses in each period."""

    name: str
    scope: str
    key: str | None
    limit: float
    unit: str
    period: str
    on_break: str
    channels: tuple[str, ...]
    created_at: datetime
    created_by: str

    @property
    def revision(self) -> str:
        """Tells a budget from an earlier one of its name, so that each has alerts of its own."""
        return f"{self.name}@{to_ms(self.created_at)}"

    @property
    def subject(self) -> Doc:
        """As alerts name it."""
        return {"dimension": self.scope, **({} if self.key is None else {"key": self.key})}

    @property
    def whose(self) -> str:
        """As messages name it."""
        return "all" if self.key is None else f"{self.scope} {self.key}"

    def to_doc(self) -> Doc:
        """As stored; `status` is the alerts process's and not in it."""
        return {
            "_id": self.name,
            "schema_version": documents.DOCUMENT_VERSION,
            "name": self.name,
            "scope": self.scope,
            **({} if self.key is None else {"key": self.key}),
            "limit": self.limit,
            "unit": self.unit,
            "period": self.period,
            "on_break": self.on_break,
            "channels": list(self.channels),
            "created_at": self.created_at,
            "created_by": self.created_by,
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Budget:
        """Read back a stored budget. Raises BudgetError where somebody wrote another thing by hand."""
        try:
            budget = cls(
                str(doc["_id"]),
                doc["scope"],
                doc.get("key"),
                float(doc["limit"]),
                doc["unit"],
                doc["period"],
                doc.get("on_break", "notify"),
                tuple(doc.get("channels", ())),
                doc["created_at"],
                doc.get("created_by", ""),
            )
            to_ms(budget.created_at)
        except (KeyError, TypeError, ValueError) as error:
            raise BudgetError(
                f"budget {doc.get('_id')!r} cannot be read ({type(error).__name__}: {error})"
            ) from None
        check(budget)
        return budget


def check(budget: Budget) -> None:
    """Hold a budget to its rules. Raises BudgetError."""
    for what, value in (("name", budget.name), (budget.scope, budget.key)):
        if value is not None and not re.fullmatch(ID_PATTERN, value):
            raise BudgetError(
                f"{what} {value!r} is no id; use 1 to 200 of the letters A-Z a-z, digits and . _ : @ / + -"
            )
    for what, value, known in (
        ("scope", budget.scope, SCOPES),
        ("period", budget.period, KINDS),
        ("on-break", budget.on_break, ON_BREAK),
        *(("channel", channel, CHANNELS) for channel in budget.channels),
    ):
        if value not in known:
            raise BudgetError(f"{what} {value!r} is not known; expected one of {', '.join(known)}")
    if not re.fullmatch(rf"{KWH}|{KG}|[A-Z]{{3}}", str(budget.unit)):
        raise BudgetError(f"unit {budget.unit!r} is not known; expected {KWH}, {KG} or a currency")
    if (budget.key is None) is not (budget.scope == "all"):
        raise BudgetError(f"a budget of {budget.scope} {'has no' if budget.key else 'needs a'} key")
    if not (math.isfinite(budget.limit) and budget.limit > 0):
        raise BudgetError(f"the limit is {budget.limit:g}; it must be a number above 0")


def parse_limit(text: str, settings: Alerts) -> tuple[float, str]:
    """`5kWh`, `2kg` or `10EUR` as a number and its unit. Raises BudgetError."""
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        raise BudgetError(f"{text!r} is no limit; give a number and its unit, such as 5kWh, 2kg or 10EUR")
    value, unit = float(match[1]), match[2]
    if not (math.isfinite(value) and value > 0):
        raise BudgetError(f"the limit {text!r} is not a number above 0")
    if unit.lower() in ("kwh", "kg"):
        return value, KWH if unit.lower() == "kwh" else KG
    if unit.upper() == settings.currency:
        if settings.tariff_per_kwh is None:
            raise BudgetError(
                f"a budget in {settings.currency} needs the price of a kWh: set alerts.tariff_per_kwh "
                "(JOULE_ALERTS_TARIFF_PER_KWH), also for the stack that runs"
            )
        return value, settings.currency
    raise BudgetError(
        f"{unit!r} is no unit of a limit; expected kWh, kg or {settings.currency} (alerts.currency)"
    )


def add(db: Db, budget: Budget, replace: bool = False) -> None:
    """Store a budget. Raises BudgetError where there is one of its name, unless it is to be replaced."""
    check(budget)
    if replace:
        db[documents.BUDGETS].replace_one({"_id": budget.name}, budget.to_doc(), upsert=True)
        return
    try:
        db[documents.BUDGETS].insert_one(budget.to_doc())
    except DuplicateKeyError:
        raise BudgetError(
            f"there is a budget {budget.name!r}; give another name, or --replace to change it"
        ) from None


def remove(db: Db, name: str) -> None:
    """Remove a budget. Raises BudgetError where there is none."""
    if not db[documents.BUDGETS].delete_one({"_id": name}).deleted_count:
        raise BudgetError(f"no budget is called {name!r}; those that there are: joule budget ls")


def stored(db: Db) -> Sequence[Doc]:
    """The documents of all budgets, by name."""
    return sorted(db[documents.BUDGETS].find(), key=lambda doc: str(doc["_id"]))
