"""Evaluates all budgets: reads what was spent and will be, raises what is new, resolves what is over.

Any number of processes may do this at once: alerts are raised by insert under an id that follows from the budget,
the stage and the period, resolved and opened again by conditional updates, and a status is only what was last seen.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from conf.links import dashboard_url
from conf.settings import Settings
from joulestream.alerting import alerts, stages
from joulestream.alerting.budgets import KG, KWH, Budget, BudgetError, stored
from joulestream.alerting.evaluation import Evaluation, status_of
from joulestream.alerting.messages import budget_alert
from joulestream.alerting.outlook import Forecasts
from joulestream.alerting.periods import Period, live_periods
from joulestream.alerting.runs import Runs
from joulestream.alerting.spending import Spending, Tariff
from joulestream.alerting.spread import probability_of_breaking
from schemas import documents
from spark_jobs.store import Db, Doc

log = logging.getLogger(__name__)

RULE = "budget"
SEEN_EVERY = timedelta(seconds=60)
STATUS_EVERY = timedelta(seconds=30)
REMOVED = "the budget was removed or changed"
PERIOD_OVER = "the period is over"
RUN_OVER = "the run has ended"
BELOW = "back under its stage"


@dataclass(frozen=True, slots=True)
class Round:
    """What one evaluation of all budgets did."""

    evaluated: int
    raised: tuple[str, ...]
    resolved: tuple[str, ...]


class Evaluator:
    """Evaluates budgets. Raises PyMongoError where the store is away; the next round makes good for it."""

    def __init__(self, db: Db, settings: Settings, configured: Sequence[str]) -> None:
        self._db = db
        self._tariff = Tariff(settings.alerts.tariff_per_kwh, settings.alerts.currency)
        self._grace_s = float(settings.stream.watermark_s + settings.stream.window_s)
        self._link = dashboard_url(settings)
        self._configured = tuple(configured)
        self._runs = Runs(db, settings.dashboard.stale_after_s)
        self._spending = Spending(db, settings, self._runs)
        self._forecasts = Forecasts(db, self._runs, self._tariff)
        self._unreadable: set[str] = set()

    def look(self, at: datetime) -> None:
        """Begin a round of reads."""
        self._runs.look(at)
        self._spending.look()

    def round(self, at: datetime) -> Round:
        """Evaluate every budget at a time, and write what follows."""
        docs = stored(self._db)
        open_alerts = list(self._db[documents.ALERTS].find({"state": alerts.OPEN, "rule": RULE}))
        if not docs and not open_alerts:
            return Round(0, (), ())
        self.look(at)
        raised: list[str] = []
        resolved: list[str] = []
        live: dict[str, Budget] = {}
        for doc in docs:
            budget = self._readable(doc)
            if budget is None:
                continue
            live[budget.revision] = budget
            mine = [alert for alert in open_alerts if alert.get("revision") == budget.revision]
            found = self.evaluations(budget, at)
            for evaluation in found:
                raised += self._raise(evaluation, at)
                resolved += self._settle(evaluation, mine, at)
            resolved += self._end_periods(found, mine, at)
            self._write_status(doc, found[0], at)
        orphans = [alert for alert in open_alerts if alert.get("revision") not in live]
        resolved += [a["_id"] for a in orphans if alerts.resolve(self._db, a["_id"], REMOVED, at)]
        return Round(len(live), tuple(raised), tuple(resolved))

    def evaluations(self, budget: Budget, at: datetime) -> list[Evaluation]:
        """A budget in its present period (first), and in the one before while late events may still come."""
        periods = live_periods(budget.period, at, self._grace_s)
        # A period that was over when the budget was made is none of its business.
        wanted = [p for p in periods if p is periods[0] or (p.end is not None and p.end > budget.created_at)]
        return [self.evaluate(budget, period, at) for period in wanted]

    def evaluate(self, budget: Budget, period: Period, at: datetime) -> Evaluation:
        """What of a budget is spent and will be. `look` must have begun the round."""
        spent = self._spending.of(budget, period)
        amount = spent.amount(budget.unit, self._tariff)
        outlook = self._forecasts.of(budget, period, spent, at)
        end = outlook.end
        probability = None
        if amount is not None and amount >= budget.limit:
            probability = 1.0
        elif end is not None:
            probability = probability_of_breaking(end, amount or 0.0, budget.limit)
        ended = budget.scope == "run" and self._runs.ended(str(budget.key))
        notes = [*spent.notes, *outlook.notes]
        if budget.unit not in (KWH, KG) and self._tariff.price(budget.unit) is None:
            notes.append(
                f"no price of a kWh in {budget.unit} is set (alerts.tariff_per_kwh, alerts.currency)"
            )
        return Evaluation(
            budget, period, amount, outlook, probability, tuple(dict.fromkeys(notes)), ended, at
        )

    def _readable(self, doc: Doc) -> Budget | None:
        try:
            return Budget.from_doc(doc)
        except BudgetError as error:
            if str(doc["_id"]) not in self._unreadable:
                self._unreadable.add(str(doc["_id"]))
                log.log(logging.ERROR, "%s; remove it with: joule budget rm", error)
            return None

    def _raise(self, evaluation: Evaluation, at: datetime) -> list[str]:
        """Raise the highest new stage of each basis; open again what is reached once more."""
        budget = evaluation.budget
        prefix = f"{RULE}|{budget.revision}|"
        # `}` is the character after `|`: all alerts of this revision, by the beginning of their id.
        known = self._db[documents.ALERTS].find(
            {"_id": {"$gte": prefix, "$lt": prefix[:-1] + "}"}, "period": evaluation.period.label},
            {"basis": 1, "stage_pct": 1, "state": 1, "resolved_because": 1},
        )
        there = list(known)
        raised = []
        spent_stage = stages.stage_of(evaluation.spent_pct)
        for basis, pct in evaluation.shares():
            mine = [alert for alert in there if alert["basis"] == basis]
            step = stages.next_step(basis, pct, [alert["stage_pct"] for alert in mine])
            # A forecast that says no more than what is spent already is no news.
            if step is not None and (basis == stages.ACTUAL or step.stage_pct > spent_stage):
                alert = budget_alert(evaluation, step, self._channels(evaluation, step), self._link, at)
                if alerts.raise_once(self._db, alert):
                    raised.append(alert["_id"])
                    log.warning("raised %s: %s", alert["_id"], alert["message"])
            for alert in mine:
                if alert.get("resolved_because") == BELOW and alert["stage_pct"] in stages.reached(pct):
                    alerts.reopen(self._db, alert["_id"], BELOW, at)
        return raised

    def _channels(self, evaluation: Evaluation, step: stages.Step) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the channels that an alert goes to, and the runs that it stops."""
        budget = evaluation.budget
        names = budget.channels or self._configured
        if budget.on_break != "stop" or (step.basis, step.stage_pct) != (stages.ACTUAL, 100):
            return names, ()
        if budget.scope == "run":
            run = self._runs.run(str(budget.key))
            runs = [] if run is None or evaluation.run_ended else [str(budget.key)]
        else:
            runs = [str(run["_id"]) for run in self._runs.active(budget)]
        return (*names, *(("stop",) if runs else ())), tuple(runs)

    def _settle(self, evaluation: Evaluation, mine: Sequence[Mapping[str, Any]], at: datetime) -> list[str]:
        """Resolve the open alerts of a period that are over, and say of the others that they still hold."""
        shares = dict(evaluation.shares())
        resolved, still = [], []
        for alert in mine:
            if alert["period"] != evaluation.period.label:
                continue
            why = None
            if evaluation.run_ended:
                why = RUN_OVER
            elif evaluation.period.over(at) and alert["basis"] == stages.FORECAST:
                why = PERIOD_OVER
            elif stages.is_over(alert["basis"], alert["stage_pct"], shares.get(alert["basis"])):
                why = BELOW
            if why is not None and alerts.resolve(self._db, alert["_id"], why, at):
                resolved.append(alert["_id"])
            elif why is None and at - alert["last_seen_at"] >= SEEN_EVERY:
                still.append(alert["_id"])
        alerts.seen(self._db, still, at)
        return resolved

    def _end_periods(
        self, found: Sequence[Evaluation], mine: Sequence[Mapping[str, Any]], at: datetime
    ) -> list[str]:
        """Resolve the alerts of periods that are not looked at any more."""
        live = {evaluation.period.label for evaluation in found}
        over = [alert["_id"] for alert in mine if alert["period"] not in live]
        return [identity for identity in over if alerts.resolve(self._db, identity, PERIOD_OVER, at)]

    def _write_status(self, doc: Doc, evaluation: Evaluation, at: datetime) -> None:
        """Write a budget's status where its figures changed or it grows old; never onto another of its name."""
        status = status_of(evaluation)
        before = dict(doc.get("status") or {})
        evaluated_at = before.pop("evaluated_at", None)
        fresh = {name: value for name, value in status.items() if name != "evaluated_at"}
        if evaluated_at is None or fresh != before or at - evaluated_at >= STATUS_EVERY:
            same = {"_id": evaluation.budget.name, "created_at": evaluation.budget.created_at}
            self._db[documents.BUDGETS].update_one(same, {"$set": {"status": status}})
