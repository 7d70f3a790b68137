"""Documents, alerts, budgets and forecasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from conf.settings import Settings
from joulestream.exporter.metrics import SEVERITIES
from joulestream.exporter.samples import Sample, Samples, age_s, number
from schemas import documents
from schemas.lookback import looks_back
from spark_jobs.forecast.anomalies.watch import RULES
from spark_jobs.store import Db, Doc

MAX_BUDGETS = 200
KNOWN_RULES = ("budget", *RULES)
CHANNELS = ("webhook", "mail", "command", "stop")
UNDONE = ("pending", "failed")

# Where the newest document of a collection is found through an index: query, and field of its time.
NEWEST: Mapping[str, tuple[Mapping[str, Any], str]] = {
    documents.RUN_SUMMARY: ({}, "last_event_at"),
    documents.WINDOWS: ({"dimension": "all", "key": "all"}, "window_start"),
    documents.PROGRESS: ({}, "at"),
    documents.FORECAST_STATES: ({}, "last_window_end"),
}


GROWING = (documents.RUN_SUMMARY, documents.WINDOWS, documents.PROGRESS)


class StatePart:
    """Reads what the other processes have written down of themselves."""

    def __init__(self, db: Db, settings: Settings) -> None:
        self._db, self._settings = db, settings

    def read(self, now: datetime) -> list[Sample]:
        """All of it. Raises PyMongoError."""
        out = Samples()
        self._ages(out, now)
        self._alerts(out)
        self._budgets(out, now)
        if self._settings.forecast.enabled:
            self._forecasts(out, now)
        return out.found

    def _ages(self, out: Samples, now: datetime) -> None:
        for collection, (query, field) in NEWEST.items():
            for since in looks_back(now, field) if collection in GROWING else ({},):
                wanted = {**query, **since}
                newest = self._db[collection].find_one(wanted, {field: 1}, sort=[(field, -1)])
                if newest is not None:
                    out.add("documents_age_seconds", age_s(newest.get(field), now), collection=collection)
                    break

    def _alerts(self, out: Samples) -> None:
        alerts = self._db[documents.ALERTS]
        open_now = Counter({(rule, severity): 0 for rule in KNOWN_RULES for severity in SEVERITIES})
        for doc in alerts.find({"state": "open"}, {"rule": 1, "severity": 1}):
            open_now[str(doc.get("rule")), str(doc.get("severity"))] += 1
        for (rule, severity), count in open_now.items():
            out.add("alerts_open", count, rule=rule, severity=severity)
        undone = Counter({(channel, state): 0 for channel in CHANNELS for state in UNDONE})
        for doc in alerts.find({"deliveries.state": {"$in": list(UNDONE)}}, {"deliveries": 1}):
            for delivery in doc["deliveries"]:
                if delivery["state"] in UNDONE:
                    undone[str(delivery["channel"]), delivery["state"]] += 1
        for (channel, state), count in undone.items():
            out.add("alert_deliveries", count, channel=channel, state=state)

    def _budgets(self, out: Samples, now: datetime) -> None:
        budgets = list(self._db[documents.BUDGETS].find({}, {"scope": 1, "unit": 1, "limit": 1, "status": 1}))
        budgets.sort(key=lambda doc: -(_part(doc, "actual") or 0.0))
        for doc in budgets[:MAX_BUDGETS]:
            names = {"budget": str(doc["_id"]), "scope": str(doc.get("scope")), "unit": str(doc.get("unit"))}
            out.add("budget_used_ratio", _part(doc, "actual"), **names)
            out.add("budget_forecast_ratio", _part(doc, "forecast"), **names)
            out.add("budget_break_probability", number(doc.get("status") or {}, "probability"), **names)
        times = [(doc.get("status") or {}).get("evaluated_at") for doc in budgets]
        evaluated = max((at for at in times if isinstance(at, datetime)), default=None)
        out.add("budget_evaluation_age_seconds", age_s(evaluated, now))

    def _forecasts(self, out: Samples, now: datetime) -> None:
        out.add("forecast_series", self._db[documents.FORECAST_STATES].estimated_document_count())
        fields = {"version": 1, "serving_since": 1}
        serving = self._db[documents.MODEL_REGISTRY].find_one({"state": "serving"}, fields)
        if serving is not None:
            out.add("forecast_model_info", 1.0, version=str(serving["_id"]))
            out.add("forecast_model_age_seconds", age_s(serving.get("serving_since"), now))


def _part(budget: Doc, what: str) -> float | None:
    """Part of a budget's limit; None where it is not known."""
    status, limit = budget.get("status") or {}, number(budget, "limit")
    value = number(status.get("forecast") or {}, "point") if what == "forecast" else number(status, what)
    return None if value is None or not limit else value / limit
