"""Evaluates budgets: reads what was spent and what will be, and writes nothing."""

from __future__ import annotations

from datetime import datetime

from conf.settings import Settings
from joulestream.alerting.budgets import KG, KWH, Budget
from joulestream.alerting.evaluation import Evaluation
from joulestream.alerting.outlook import Forecasts
from joulestream.alerting.periods import Period, live_periods
from joulestream.alerting.runs import Runs
from joulestream.alerting.spending import Spending, Tariff
from joulestream.alerting.spread import probability_of_breaking
from spark_jobs.store import Db


class Evaluator:
    """Evaluates budgets against one store. Raises PyMongoError where it is away."""

    def __init__(self, db: Db, settings: Settings) -> None:
        self._tariff = Tariff(settings.alerts.tariff_per_kwh, settings.alerts.currency)
        self._grace_s = float(settings.stream.watermark_s + settings.stream.window_s)
        self.runs = Runs(db, settings.dashboard.stale_after_s)
        self._spending = Spending(db, settings, self.runs)
        self._forecasts = Forecasts(db, self.runs, self._tariff)

    def look(self, at: datetime) -> None:
        """Begin a round: what is read twice in it is the same."""
        self.runs.look(at)
        self._spending.look()
        self._forecasts.look()

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
        ended = budget.scope == "run" and self.runs.ended(str(budget.key))
        notes = [*spent.notes, *outlook.notes]
        if budget.unit not in (KWH, KG) and self._tariff.price(budget.unit) is None:
            notes.append(
                f"no price of a kWh in {budget.unit} is set (alerts.tariff_per_kwh, alerts.currency)"
            )
        return Evaluation(
            budget, period, amount, outlook, probability, tuple(dict.fromkeys(notes)), ended, at
        )
