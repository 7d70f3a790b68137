"""Raises the alerts of budgets and resolves them.

Any number of processes may do this at once: alerts are raised by insert under an id that follows from the budget,
the stage and the period, resolved and opened again by conditional updates, and a status is only what was last seen.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne

from conf.links import dashboard_url
from conf.settings import Settings
from joulestream.alerting import alerts, stages
from joulestream.alerting.budgets import Budget, BudgetError, stored
from joulestream.alerting.evaluation import Evaluation, status_of
from joulestream.alerting.evaluator import Evaluator
from joulestream.alerting.messages import RULE, alert_id_of, budget_alert
from joulestream.alerting.raised import Known, Raised
from schemas import documents
from spark_jobs.store import Db, Doc

log = logging.getLogger(__name__)

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


def news(evaluation: Evaluation, known: Known, basis: str) -> stages.Step | None:
    """The stage to raise of a basis. A forecast that says no more than what is spent already is no news."""
    there = [stage for (of, stage) in known if of == basis]
    step = stages.next_step(basis, evaluation.pct(basis), there)
    if step is None or basis == stages.ACTUAL:
        return step
    return step if step.stage_pct > stages.stage_of(evaluation.pct(stages.ACTUAL)) else None


def status_update(doc: Doc, evaluation: Evaluation) -> list[UpdateOne]:
    """A budget's status where its figures changed or it grows old; never onto another budget of its name."""
    status = status_of(evaluation)
    before = dict(doc.get("status") or {})
    evaluated_at = before.pop("evaluated_at", None)
    fresh = {name: value for name, value in status.items() if name != "evaluated_at"}
    if evaluated_at is not None and fresh == before and evaluation.at - evaluated_at < STATUS_EVERY:
        return []
    same = {"_id": evaluation.budget.name, "created_at": evaluation.budget.created_at}
    return [UpdateOne(same, {"$set": {"status": status}})]


class Rules:
    """Evaluates budgets and writes what follows. Raises PyMongoError; the next round makes good for it."""

    def __init__(self, db: Db, settings: Settings, configured: Sequence[str]) -> None:
        self._db = db
        self._evaluator = Evaluator(db, settings)
        self._link = dashboard_url(settings)
        self._configured = tuple(configured)
        self._raised = Raised(db)
        self._unreadable: set[str] = set()

    def round(self, at: datetime) -> Round:
        """Evaluate every budget at a time, and write what follows."""
        # Before the budgets: of an alert that is read here the budget was there, so one that is not there is gone.
        open_alerts = [
            doc for doc in self._db[documents.ALERTS].find({"state": alerts.OPEN}) if doc["rule"] == RULE
        ]
        docs = stored(self._db)
        if not docs and not open_alerts:
            return Round(0, (), ())
        self._evaluator.look(at)
        raised: list[str] = []
        resolved: list[str] = []
        statuses: list[UpdateOne] = []
        live: set[str] = set()
        for doc in docs:
            budget = self._readable(doc)
            if budget is None:
                continue
            live.add(budget.revision)
            mine = [alert for alert in open_alerts if alert.get("revision") == budget.revision]
            found = self._evaluator.evaluations(budget, at)
            for evaluation in found:
                raised += self._raise(evaluation, mine, at)
                resolved += self._settle(evaluation, mine, at)
            resolved += self._end_periods(found, mine, at)
            statuses += status_update(doc, found[0])
        if statuses:
            self._db[documents.BUDGETS].bulk_write(statuses, ordered=False)
        orphans = [alert for alert in open_alerts if alert.get("revision") not in live]
        resolved += [a["_id"] for a in orphans if alerts.resolve(self._db, a["_id"], REMOVED, at)]
        self._raised.keep(live)
        return Round(len(live), tuple(raised), tuple(resolved))

    def _readable(self, doc: Doc) -> Budget | None:
        try:
            return Budget.from_doc(doc)
        except BudgetError as error:
            if str(doc["_id"]) not in self._unreadable:
                self._unreadable.add(str(doc["_id"]))
                log.log(logging.ERROR, "%s; remove it with: joule budget rm", error)
            return None

    def _raise(self, evaluation: Evaluation, mine: Sequence[Mapping[str, Any]], at: datetime) -> list[str]:
        """Raise the highest new stage of each basis; open again what is reached once more."""
        label = evaluation.period.label
        is_open = {(alert["basis"], alert["stage_pct"]) for alert in mine if alert["period"] == label}
        known = self._raised.of(evaluation.budget.revision, label)
        if not any(self._is_new(evaluation, known, is_open, basis) for basis in stages.BASES):
            return []
        known = self._raised.read(evaluation.budget.revision, label)
        raised = []
        for basis in stages.BASES:
            step = news(evaluation, known, basis)
            if step is not None:
                to = self._channels(evaluation, step)
                alert = budget_alert(evaluation, step, to, self._link, at)
                if alerts.raise_once(self._db, alert):
                    raised.append(str(alert["_id"]))
                    log.warning("raised %s: %s", alert["_id"], alert["message"])
                known[basis, step.stage_pct] = None
            for stage in stages.reached(evaluation.pct(basis)):
                if known.get((basis, stage)) == BELOW:
                    identity = alert_id_of(evaluation.budget.revision, basis, stage, label)
                    alerts.reopen(self._db, identity, BELOW, at)
                    known[basis, stage] = None
        return raised

    @staticmethod
    def _is_new(
        evaluation: Evaluation, known: Known, is_open: Collection[tuple[str, int]], basis: str
    ) -> bool:
        """Whether the store has to be asked: a stage is to be raised, or one that is reached is not open."""
        if news(evaluation, known, basis) is not None:
            return True
        reached = {(basis, stage) for stage in stages.reached(evaluation.pct(basis))} - set(is_open)
        return any(known[key] in (None, BELOW) for key in reached if key in known)

    def _channels(self, evaluation: Evaluation, step: stages.Step) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the channels that an alert goes to, and the runs that it stops."""
        budget = evaluation.budget
        names = budget.channels or self._configured
        if budget.on_break != "stop" or (step.basis, step.stage_pct) != (stages.ACTUAL, 100):
            return names, ()
        if budget.scope == "run":
            run = self._evaluator.runs.run(str(budget.key))
            runs = [] if run is None or evaluation.run_ended else [str(budget.key)]
        else:
            runs = [str(run["_id"]) for run in self._evaluator.runs.active(budget)]
        return (*names, *(("stop",) if runs else ())), tuple(runs)

    def _settle(self, evaluation: Evaluation, mine: Sequence[Mapping[str, Any]], at: datetime) -> list[str]:
        """Resolve the open alerts of a period that are over, and say of the others that they still hold."""
        resolved, still = [], []
        for alert in mine:
            if alert["period"] != evaluation.period.label:
                continue
            why = None
            if evaluation.run_ended:
                why = RUN_OVER
            elif evaluation.period.over(at) and alert["basis"] == stages.FORECAST:
                why = PERIOD_OVER
            elif stages.is_over(alert["basis"], alert["stage_pct"], evaluation.pct(alert["basis"])):
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
