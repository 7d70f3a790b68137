"""What budgets need to know of runs: their sums, who started them, and their forecast to the finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from joulestream.alerting.budgets import Budget
from schemas import documents
from spark_jobs.store import Db, Doc

RUNNING = "running"
REREAD_S = 600.0
SPARE = 20.0
FIELDS = dict.fromkeys(
    (
        *("status", "user_id", "project", "nodes", "node_id", "region_iso"),
        *("started_at", "last_event_at", "energy_kwh", "emissions_kg", "forecast"),
    ),
    1,
)
LISTED = {name: 1 for name in FIELDS if name != "forecast"}


def belongs(run: Mapping[str, Any], budget: Budget) -> bool:
    """Whether a run is the budget's subject, or one of its runs."""
    if budget.scope == "all":
        return True
    if budget.scope == "run":
        return bool(run["_id"] == budget.key)
    if budget.scope == "node":
        return budget.key in (run.get("nodes") or (run.get("node_id"),))
    return bool(run.get("user_id" if budget.scope == "user" else "project") == budget.key)


@dataclass(slots=True)
class _Project:
    """The runs of one project. `newest` is the latest event time among all runs that were looked at."""

    runs: dict[str, Doc] = field(default_factory=dict)
    read_s: float = float("-inf")
    took_s: float = 0.0


class Runs:
    """Reads run summaries; `look` begins a round, in which each is read at most once."""

    def __init__(self, db: Db, stale_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = db[documents.RUN_SUMMARY]
        self._stale_after = timedelta(seconds=stale_after_s)
        self._clock = clock
        self._projects: dict[str, _Project] = {}
        self._active: list[Doc] = []
        self._seen: dict[str, Doc | None] = {}

    def look(self, at: datetime) -> None:
        """Read the runs that are active: running, with an event not long ago (the others are stale)."""
        since = {"$gte": at - self._stale_after}
        found = self._runs.find({"last_event_at": since, "status": RUNNING}, FIELDS)
        self._active = sorted(found, key=lambda run: str(run["_id"]))
        self._seen = {str(run["_id"]): run for run in self._active}

    def active(self, budget: Budget) -> Sequence[Doc]:
        """Active runs of a budget's subject."""
        return [run for run in self._active if belongs(run, budget)]

    def run(self, run_id: str) -> Doc | None:
        """One run's summary; None where it is not known yet."""
        if run_id not in self._seen:
            self._seen[run_id] = self._runs.find_one({"_id": run_id}, FIELDS)
        return self._seen[run_id]

    def ended(self, run_id: str) -> bool:
        """Whether a run is known and runs no more."""
        run = self.run(run_id)
        return run is not None and run.get("status", RUNNING) != RUNNING

    def of_project(self, project: str) -> Sequence[Doc]:
        """All runs of a project.

        There is no index for this, so all summaries are looked at once, and again after `REREAD_S` for those
        that ended unseen; the active ones are those of this round.
        """
        known = self._projects.setdefault(project, _Project())
        began_s = self._clock()
        if began_s - known.read_s > max(REREAD_S, SPARE * known.took_s):
            known.runs = {run["_id"]: run for run in self._runs.find({"project": project}, LISTED)}
            known.read_s, known.took_s = began_s, self._clock() - began_s
        seen = {str(run["_id"]): run for run in self._active}
        # What was running when it was listed and is no more has moved on since: read it again.
        for run_id, run in list(known.runs.items()):
            if run.get("status") == RUNNING and run_id not in seen:
                known.runs[run_id] = self._runs.find_one({"_id": run_id}, LISTED) or run
        known.runs.update({i: run for i, run in seen.items() if run.get("project") == project})
        return list(known.runs.values())
