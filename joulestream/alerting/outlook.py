"""What a budget's subject will have used when its run is finished or its period is over.

    end = spent + known + (rest of the period after the known part) × mean power of the period so far

The known part is, in this order:

1. `runs`: what the active runs still need, by their own forecasts (`training_run_summary.forecast`): forecast
   at completion − used so far. Of a run that ends after the period only the share of the time that is left in
   it, as if its power were constant. A run of its own budget has nothing after it.
2. `power`: the forecast power of the subject (`energy_forecasts` of a user, a node, all), of the longest horizon
   that ends within the period and was issued in the last `FRESH_S`; where even the shortest is too long, its share.

Of period `total` there is no rest, so no mean power. The mean power counts all time since the subject's first
window in the period, idle time too, and at least 1 / `LEAST_SHARE` of the period: so a first job of some minutes is
not taken for a habit. After `power` the rest is spread as the known part in proportion; after `runs`, where it is
of runs that nobody has started, p10 is nothing and p90 twice the mean. CO2e: a document's own figure where it has
one, else energy × mean intensity so far.

Limits: who stops working, or starts more runs than so far, is not foreseen; spreads are added as `spread` says.
Where neither is known there is no forecast, and the note says so: the mean power alone, with nothing running, would
raise an alert after each job that is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joulestream.alerting.budgets import KG, KWH, Budget
from joulestream.alerting.periods import Period
from joulestream.alerting.runs import RUNNING, Runs
from joulestream.alerting.spending import Spent, Tariff
from joulestream.alerting.spread import Spread, exactly
from schemas import documents
from spark_jobs.store import Db, Doc

FRESH_S = 3600.0
LEAST_SHARE = 24
TARGETS = ("node", "user", "all")
NO_FORECAST = "no forecast yet"
RUN_ENDED = "the run has ended"
NOTHING_RUNS = "nothing runs, so nothing is forecast"


@dataclass(frozen=True, slots=True)
class Outlook:
    """The end of a run or period, in the unit of the budget, and when it is; `notes` say how it is known."""

    end: Spread | None
    at: datetime | None = None
    method: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """The known part: how much, from now to when, and how it is known."""

    amount: Spread
    until: datetime | None
    method: str
    notes: tuple[str, ...] = ()


class Forecasts:
    """Reads forecasts and puts them together. Raises PyMongoError where the store is away."""

    def __init__(self, db: Db, runs: Runs, tariff: Tariff) -> None:
        self._forecasts = db[documents.FORECASTS]
        self._runs = runs
        self._tariff = tariff
        self._read: dict[str, list[Doc]] = {}

    def look(self) -> None:
        """Begin a round, in which the forecasts of a target are read once."""
        self._read = {}

    def of(self, budget: Budget, period: Period, spent: Spent, at: datetime) -> Outlook:
        """The outlook of a budget at a time."""
        so_far = spent.amount(budget.unit, self._tariff)
        if period.over(at):
            return Outlook(None)
        if budget.scope == "run" and self._runs.ended(str(budget.key)):
            return Outlook(None, notes=(RUN_ENDED,))
        if so_far is None:
            return Outlook(None, notes=(NO_FORECAST,))
        known = self._of_runs(budget, period, spent, at) or self._of_power(budget, period, spent, at)
        if known is None:
            idle = budget.scope not in ("run", "node") and not self._runs.active(budget)
            return Outlook(None, notes=(NOTHING_RUNS if idle else NO_FORECAST,))
        end = known.amount.plus(so_far)
        if budget.scope != "run":
            end += _rest(known, period, spent.first_at, so_far, at)
        return Outlook(end, period.end or known.until, known.method, known.notes)

    def _of_runs(self, budget: Budget, period: Period, spent: Spent, at: datetime) -> _Known | None:
        if budget.scope == "node":
            return None
        runs = self._runs.active(budget)
        if budget.scope == "run":
            run = self._runs.run(str(budget.key))
            runs = [run] if run is not None and run.get("status") == RUNNING else []
        elif not runs and period.end is None:
            return _Known(exactly(0.0), at, "runs", ("nothing runs",))
        parts = [self._remaining(run, budget.unit, period, spent, at) for run in runs]
        known = [part for part in parts if part is not None]
        if not known or (len(known) < len(runs) and period.end is not None and budget.scope in TARGETS):
            return None
        missing = len(runs) - len(known)
        notes = (
            (f"{missing} of {len(runs)} active runs have no forecast and are not in it",) if missing else ()
        )
        ends = [until for _, until in known if until is not None]
        total = sum((amount for amount, _ in known), exactly(0.0))
        return _Known(total, max(ends, default=None), "runs", notes)

    def _remaining(
        self, run: Doc, unit: str, period: Period, spent: Spent, at: datetime
    ) -> tuple[Spread, datetime | None] | None:
        """What a run still needs within the period, and until when."""
        forecast = _mapping(run.get("forecast"))
        whole = self._amount(
            forecast.get("energy_kwh"), forecast.get("emissions_kg"), unit, _factor(run, spent)
        )
        used = Spent(run.get("energy_kwh"), run.get("emissions_kg")).amount(unit, self._tariff)
        if whole is None or used is None:
            return None
        left = whole.minus_used(used)
        finish = _mapping(forecast.get("finishes_at")).get("point")
        if not isinstance(finish, datetime) or finish <= at:
            return left, None
        if period.end is not None and finish > period.end:
            return left * ((period.end - at) / (finish - at)), period.end
        return left, finish

    def _of_power(self, budget: Budget, period: Period, spent: Spent, at: datetime) -> _Known | None:
        if budget.scope not in TARGETS or period.end is None:
            return None
        target = f"{budget.scope}/{'' if budget.key is None else budget.key}"
        found = self._issued(target, at)
        within = [doc for doc in found if doc["target_at"] <= period.end]
        # The longest that fits, and of these the newest; else the shortest, whose share is taken.
        found = within or sorted(found, key=lambda doc: -doc["horizon_s"])
        for doc in sorted(
            found, key=lambda doc: (doc["horizon_s"] if within else 0, doc["issued_at"]), reverse=True
        ):
            whole = self._amount(doc.get("energy"), doc.get("emissions"), budget.unit, spent.kg_per_kwh)
            if whole is not None:
                until = min(doc["target_at"], period.end)
                share = (until - at) / (doc["target_at"] - doc["issued_at"])
                return _Known(whole * share, until, "power")
        return None

    def _issued(self, target: str, at: datetime) -> list[Doc]:
        """The forecasts of a target that are fresh and still about the future."""
        if target not in self._read:
            since = at - timedelta(seconds=FRESH_S)
            # Only the fields of the index: the embedded server uses one only where it has them all.
            query = {"target": target, "target_at": {"$gt": at}}
            fields = dict.fromkeys(("issued_at", "target_at", "horizon_s", "energy", "emissions"), 1)
            found = self._forecasts.find(query, fields)
            self._read[target] = [doc for doc in found if since <= doc["issued_at"] < doc["target_at"]]
        return self._read[target]

    def _amount(self, energy: Any, emissions: Any, unit: str, kg_per_kwh: float | None) -> Spread | None:
        kwh = Spread.read(energy)
        if unit == KWH or kwh is None:
            return kwh if unit == KWH else None
        if unit != KG:
            price = self._tariff.price(unit)
            return None if price is None else kwh * price
        kg = Spread.read(emissions)
        return kg if kg is not None or kg_per_kwh is None else kwh * kg_per_kwh


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _factor(run: Mapping[str, Any], spent: Spent) -> float | None:
    """kg per kWh of a run so far, else of all that was spent."""
    own = Spent(run.get("energy_kwh"), run.get("emissions_kg")).kg_per_kwh
    return spent.kg_per_kwh if own is None else own


def _rest(known: _Known, period: Period, first_at: datetime | None, so_far: float, at: datetime) -> Spread:
    """What is used between the known part and the end of the period."""
    if period.start is None or period.end is None:
        return exactly(0.0)
    rest_s = max(0.0, (period.end - max(at, known.until or at)).total_seconds())
    elapsed_s = 0.0 if first_at is None else (at - first_at).total_seconds()
    least_s = (period.end - period.start).total_seconds() / LEAST_SHARE
    rest = so_far / max(elapsed_s, least_s) * rest_s
    if known.method == "runs":
        return Spread(rest, 0.0, 2 * rest)
    return exactly(rest) if known.amount.point <= 0 else known.amount * (rest / known.amount.point)
