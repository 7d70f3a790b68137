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
RECENT_S = 1200.0
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
    """The runs of one project, when they were listed and how long that took (monotonic s)."""

    runs: dict[str, Doc] = field(default_factory=dict)
    read_s: float = float("-inf")
    took_s: float = 0.0


class Runs:
    """Reads run summaries; `look` begins a round, in which each is read at most once."""

    def __init__(self, db: Db, stale_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = db[documents.RUN_SUMMARY]
        self._stale_after_s = stale_after_s
        self._clock = clock
        self._projects: dict[str, _Project] = {}
        self._recent: dict[str, Doc] = {}
        self._seen: dict[str, Doc | None] = {}
        self._active: list[Doc] = []

    def look(self, at: datetime) -> None:
        """Read the runs with an event not long ago; active ones are running and not stale."""
        since = at - timedelta(seconds=max(RECENT_S, self._stale_after_s))
        self._recent = {str(r["_id"]): r for r in self._runs.find({"last_event_at": {"$gte": since}}, FIELDS)}
        self._seen = dict(self._recent)
        fresh = at - timedelta(seconds=self._stale_after_s)
        self._active = [
            run
            for _, run in sorted(self._recent.items())
            if run.get("status") == RUNNING and run["last_event_at"] >= fresh
        ]

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

        There is no index for this. All summaries are looked through, which takes at most 1 / `SPARE` of the time
        (of all projects together); in between, only those with an event in the last `RECENT_S` are known anew.
        """
        known = self._projects.setdefault(project, _Project())
        began_s = self._clock()
        if began_s - known.read_s >= SPARE * known.took_s * len(self._projects):
            known.runs = {str(run["_id"]): run for run in self._runs.find({"project": project}, LISTED)}
            known.read_s, known.took_s = began_s, self._clock() - began_s
        else:
            known.runs.update({i: run for i, run in self._recent.items() if run.get("project") == project})
        return list(known.runs.values())
