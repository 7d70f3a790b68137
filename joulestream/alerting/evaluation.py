"""What one evaluation of a budget found, and the status that is stored of it. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from joulestream.alerting import stages
from joulestream.alerting.budgets import Budget
from joulestream.alerting.outlook import Outlook
from joulestream.alerting.periods import Period
from spark_jobs.store import Doc


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A budget in one period: what is spent, what will be, how likely it breaks; amounts in the budget's unit."""

    budget: Budget
    period: Period
    spent: float | None
    outlook: Outlook
    probability: float | None
    notes: tuple[str, ...]
    run_ended: bool
    at: datetime

    @property
    def spent_pct(self) -> float | None:
        """Of the limit."""
        return None if self.spent is None else stages.share_pct(self.spent, self.budget.limit)

    @property
    def forecast_pct(self) -> float | None:
        """Of the limit."""
        end = self.outlook.end
        return None if end is None else stages.share_pct(end.point, self.budget.limit)

    def pct(self, basis: str) -> float | None:
        """Percentage of the limit that a basis has reached."""
        return self.spent_pct if basis == stages.ACTUAL else self.forecast_pct


def forecast_doc(outlook: Outlook) -> Doc | None:
    """A forecast as stored: `at` is when the run or the period ends, absent where that is not known."""
    if outlook.end is None:
        return None
    end = {"point": outlook.end.point, "p10": outlook.end.p10, "p90": outlook.end.p90}
    return {**end, "method": outlook.method, **({} if outlook.at is None else {"at": outlook.at})}


def status_of(evaluation: Evaluation) -> Doc:
    """The status of a budget; what is not known is absent, never zero."""
    status: Doc = {
        "period": evaluation.period.label,
        "period_start": evaluation.period.start,
        "period_end": evaluation.period.end,
        "actual": evaluation.spent,
        "forecast": forecast_doc(evaluation.outlook),
        "probability": evaluation.probability,
        "stage_pct_actual": stages.stage_of(evaluation.spent_pct),
        "stage_pct_forecast": stages.stage_of(evaluation.forecast_pct),
        "note": "; ".join(evaluation.notes) or None,
        "evaluated_at": evaluation.at,
    }
    return {name: value for name, value in status.items() if value is not None}
