"""Forecasts of runs inside the stream: from what the books write to `training_run_summary.forecast`.

Beside the stream and never in its way: one bulk write of few documents after a batch, within a budget of
time; a run whose turn did not come has it after the next batch. What was forecast is kept with the run, so a
restart goes on where it was; marks that it missed are counted again from the run's windows.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from pymongo import UpdateOne
from pymongo.write_concern import WriteConcern

from schemas import documents
from schemas.times import from_ms, to_ms
from schemas.units import MS_PER_S
from spark_jobs.forecast.runs import documents as made
from spark_jobs.forecast.runs.similar import PastRuns
from spark_jobs.forecast.runs.state import (
    ENDED,
    OPTIONAL,
    Draft,
    RunState,
    draft_of,
    remember,
    restore,
    used_of,
)
from spark_jobs.store import Db, Doc, find_by_ids

EVERY_S = 30.0
BUDGET_S = 0.25
WRITE_WEIGHT = 0.3
MAX_RUNS = 1000
RUNS_PER_FLUSH = 200
# Runs whose stored forecasts are read at a time, after a restart.
LOADS_PER_FLUSH = 100
PAST_RUNS = 400


class RunForecaster:
    """Fed with what `Books` wrote; writes the forecasts of runs after each batch.

    `epoch` is the lease's: documents that a later process has written are left alone. `written` and `flush`
    raise only what the store's driver raises; nothing is lost then, the next flush tries again.
    """

    def __init__(
        self,
        db: Db,
        epoch: int,
        window_ms: int,
        every_s: float = EVERY_S,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._epoch = epoch
        self._window_ms = window_ms
        self._every_ms = int(every_s * MS_PER_S)
        self._budget_s = budget_s
        self._clock = clock
        self._states: OrderedDict[str, RunState] = OrderedDict()
        self._dirty: OrderedDict[str, None] = OrderedDict()
        self._past: PastRuns | None = None
        self._write_s = 0.0  # what a document's write has cost lately

    def written(self, collection: str, docs: Mapping[str, Doc]) -> None:
        """Take in the documents that the books wrote: `{_id: document}`. No I/O."""
        if collection == documents.WINDOWS:
            for doc in docs.values():
                if doc["dimension"] == "run" and doc.get("key") is not None:
                    self._state(doc["key"]).take_window(to_ms(doc["window_start"]), used_of(doc))
        elif collection == documents.RUN_SUMMARY:
            for run_id, doc in docs.items():
                self._state(run_id).doc = made.narrowed(doc)
                self._dirty[run_id] = None

    def flush(self) -> int:
        """Write the forecasts that are due, within the budget; returns how many. Raises PyMongoError."""
        until_s = self._clock() + self._budget_s
        due = [run for run in self._dirty if self._is_due(self._states[run])][:RUNS_PER_FLUSH]
        if len(due) < RUNS_PER_FLUSH:
            self._dirty = OrderedDict.fromkeys(due)
        if not due:
            return 0
        past = self._past_runs()
        drafts: list[tuple[str, Draft]] = []
        for run in self._loaded(due, until_s):
            drafts.append((run, draft_of(run, self._states[run], self._window_ms, past)))
            if self._clock() + len(drafts) * self._write_s > until_s:
                break
        writes = [self._write(run, draft) for run, draft in drafts if draft.fields]
        if writes:
            began_s = self._clock()
            target = self._db.get_collection(documents.RUN_SUMMARY, write_concern=WriteConcern(w="majority"))
            target.bulk_write(writes, ordered=False)
            each_s = (self._clock() - began_s) / len(writes)
            self._write_s += WRITE_WEIGHT * (each_s - self._write_s)
        for run, draft in drafts:
            self._settle(run, draft, past)
        return len(writes)

    def _write(self, run: str, draft: Draft) -> UpdateOne:
        changes = {f"forecast.{name}": value for name, value in draft.fields.items()}
        gone = {f"forecast.{name}": "" for name in OPTIONAL if name not in draft.fields}
        ours = {"_id": run, "writer": {"$not": {"$gt": self._epoch}}}
        return UpdateOne(ours, {"$set": changes, "$unset": gone} if gone else {"$set": changes})

    def _state(self, run_id: str) -> RunState:
        state = self._states.get(run_id)
        if state is None:
            state = self._states[run_id] = RunState()
            while len(self._states) > MAX_RUNS:
                others = [run for run in self._states if run != run_id]
                oldest = next((run for run in others if run not in self._dirty), others[0])
                del self._states[oldest]
                self._dirty.pop(oldest, None)
        else:
            self._states.move_to_end(run_id)
        return state

    def _is_due(self, state: RunState) -> bool:
        if state.issued is None or state.more or state.issued != state.key():
            return True
        return not state.ended and state.last_ms - state.issued_ms >= self._every_ms

    def _past_runs(self) -> PastRuns:
        """The runs that ended before this process began, newest last; read once."""
        if self._past is None:
            past = PastRuns()
            fields = {**dict.fromkeys(made.FIELDS, 1), "forecast": 1}
            query = {"status": {"$in": [status for status in ENDED if status != "failed"]}}
            found = self._db[documents.RUN_SUMMARY].find(query, fields).sort("last_event_at", -1)
            for doc in reversed(list(found.limit(PAST_RUNS))):
                state = RunState(made.narrowed(doc))
                restore(state, doc.get("forecast") or {})
                remember(past, doc["_id"], state)
            self._past = past
        return self._past

    def _loaded(self, runs: Sequence[str], until_s: float) -> list[str]:
        """Those of the runs of which all is known that is needed: a few more with each call."""
        unknown = [run for run in runs if self._states[run].since_ms is None][:LOADS_PER_FLUSH]
        stored = {
            doc["_id"]: doc.get("forecast") or {}
            for doc in find_by_ids(self._db[documents.RUN_SUMMARY], unknown, {"forecast": 1})
        }
        for run in unknown:
            state = self._states[run]
            restore(state, stored.get(run, {}))
            if state.is_whole():
                state.begin(0)
            else:
                # Between the windows that came by may be some that only the store knows.
                newest_ms = max(state.windows, default=state.last_ms)
                needed_ms = state.first_needed(self._window_ms)
                if needed_ms is not None and needed_ms < newest_ms:
                    self._read_windows(run, state, needed_ms)
                    newest_ms = needed_ms
                state.begin(newest_ms)
            if self._clock() > until_s:
                break
        return [run for run in runs if self._states[run].since_ms is not None]

    def _read_windows(self, run: str, state: RunState, since_ms: int) -> None:
        """The windows since then that other processes wrote, or that were forgotten."""
        query = {"dimension": "run", "key": run, "window_start": {"$gte": from_ms(since_ms)}}
        fields = {"window_start": 1, "energy_kwh": 1, "n_events": 1, "covered_s": 1}
        for doc in self._db[documents.WINDOWS].find(query, fields):
            state.windows.setdefault(to_ms(doc["window_start"]), used_of(doc))

    def _settle(self, run: str, draft: Draft, past: PastRuns) -> None:
        """The write went well: what was drafted is so. A run that ended need not be remembered."""
        state = self._states[run]
        state.epochs, state.steps, state.history = draft.epochs, draft.steps, draft.history
        state.more, state.issued, state.issued_ms = draft.more, state.key(), draft.issued_ms
        state.trim()
        if not state.more:
            self._dirty.pop(run, None)
            if state.ended:
                remember(past, run, state)
                del self._states[run]
