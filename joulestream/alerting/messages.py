"""The alert of a budget's stage, in words and as a document. Pure functions."""

from __future__ import annotations

from datetime import datetime

from conf.links import budget_url, run_url
from joulestream.alerting import alerts, stages
from joulestream.alerting.evaluation import Evaluation, forecast_doc
from joulestream.alerting.periods import TOTAL
from schemas import documents
from schemas.times import rfc3339
from spark_jobs.store import Doc

RULE = "budget"


def alert_id_of(revision: str, basis: str, stage_pct: int, period: str) -> str:
    """`_id` of the alert of a stage of a budget."""
    return alerts.alert_id(RULE, revision, f"{basis}-{stage_pct}", period)


def budget_alert(
    evaluation: Evaluation,
    step: stages.Step,
    to: tuple[tuple[str, ...], tuple[str, ...]],
    base_url: str,
    at: datetime,
) -> Doc:
    """The document of a new alert. `to`: channels that deliver it, and runs that it asks to stop."""
    budget, period = evaluation.budget, evaluation.period
    channels, stop_runs = to
    link = budget_url(base_url, budget.name) if budget.scope != "run" else run_url(base_url, str(budget.key))
    alert: Doc = {
        "_id": alert_id_of(budget.revision, step.basis, step.stage_pct, period.label),
        "schema_version": documents.DOCUMENT_VERSION,
        "rule": RULE,
        "severity": stages.severity(step.basis, step.stage_pct),
        "state": alerts.OPEN,
        "subject": budget.subject,
        "budget": budget.name,
        "revision": budget.revision,
        "stage_pct": step.stage_pct,
        "basis": step.basis,
        "passed": list(step.passed),
        "period": period.label,
        "probability": evaluation.probability,
        "message": message(evaluation, step, stop_runs),
        "evidence": evidence(evaluation, stop_runs),
        "link": link,
        "raised_at": at,
        "last_seen_at": at,
        "deliveries": alerts.deliveries(channels, at),
    }
    return {name: value for name, value in alert.items() if value is not None}


def evidence(evaluation: Evaluation, stop_runs: tuple[str, ...]) -> Doc:
    """The figures behind an alert."""
    budget = evaluation.budget
    found: Doc = {
        "limit": budget.limit,
        "unit": budget.unit,
        "actual": evaluation.spent,
        "actual_pct": evaluation.spent_pct,
        "forecast": forecast_doc(evaluation.outlook),
        "forecast_pct": evaluation.forecast_pct,
        "notes": list(evaluation.notes) or None,
        "stop_runs": list(stop_runs) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def message(evaluation: Evaluation, step: stages.Step, stop_runs: tuple[str, ...] = ()) -> str:
    """One or two sentences for people."""
    budget, end = evaluation.budget, evaluation.outlook.end
    when = "" if evaluation.period.kind == TOTAL else f" in {evaluation.period.label}"
    limit = f"{budget.limit:.4g} {budget.unit}"
    if step.basis == stages.ACTUAL or end is None:
        spent, pct = evaluation.spent or 0.0, evaluation.spent_pct or 0.0
        said = f"Budget {budget.name}: {budget.whose} has used {spent:.4g} of {limit} ({pct:.0f} %){when}."
    else:
        at = evaluation.outlook.at
        by = "" if at is None else f" by {rfc3339(at.replace(microsecond=0))}"
        said = (
            f"Budget {budget.name}: {budget.whose} is forecast to use {end.point:.4g} of {limit} "
            f"({evaluation.forecast_pct or 0.0:.0f} %){when}{by}; p10 {end.p10:.4g}, p90 {end.p90:.4g}."
        )
    if evaluation.probability is not None and step.basis == stages.FORECAST:
        said += f" It breaks with a probability of {100 * evaluation.probability:.0f} %."
    if stop_runs:
        shown = ", ".join(stop_runs[:5]) + (" …" if len(stop_runs) > 5 else "")
        said += f" Asked to stop: {shown}."
    return said
