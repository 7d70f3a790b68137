"""Forecasts inside the stream: fed by the windows that a batch has written, written when the batch is settled.

A window is closed for forecasting once a later one of its series is there, which is when the series' newest event
time has reached its end. Nothing in here can stop the stream: what fails is logged, and forecasts go on.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.write_concern import WriteConcern

from schemas import documents
from spark_jobs.forecast.anomalies.watch import Signal
from spark_jobs.forecast.cells import Issued, Joined
from spark_jobs.forecast.engine import Horizons, Series
from spark_jobs.forecast.learning.history import observation_of_node_window, observation_of_window, target_of
from spark_jobs.forecast.memory import STATE_EVERY, recall
from spark_jobs.forecast.models.features import matrix
from spark_jobs.forecast.models.in_use import InUse
from spark_jobs.forecast.records import actual_fields, head_doc, id_of, issued_doc, state_doc
from spark_jobs.forecast.series import Floats, Observation
from spark_jobs.store import DUPLICATE_KEY, Db, is_away

log = logging.getLogger(__name__)

ROWS_PER_PREDICTION = 2000
# So many writes are sent at once; while the store is away more wait, and beyond the second the oldest are given up.
SENT_AT_ONCE = 10_000
MOST_WAITING = 50_000

Write = tuple[str, Any]


@dataclass(slots=True)
class Forecaster:
    """The forecasts of one query's series. Not for two threads at once."""

    db: Db
    model: Callable[[], InUse]
    horizons: Horizons
    dimensions: frozenset[str]
    history: int
    max_series: int
    # Told of anomalies, by series.
    signal: Callable[[str, Sequence[Signal]], None] = lambda _target, _signals: None
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    seconds: float = 0.0
    _series: OrderedDict[str, Series] = field(default_factory=OrderedDict)
    _open: dict[str, dict[int, Observation]] = field(default_factory=dict)
    # Models of runs that are not at hand yet.
    _kinds: dict[str, str] = field(default_factory=dict)
    _outbox: list[Write] = field(default_factory=list)
    _said: str = ""

    def written(self, collection: str, docs: Mapping[str, Mapping[str, Any]]) -> None:
        """Take note of windows; cheap, and as often as the batch is tried."""
        node = collection == documents.NODE_WINDOWS
        if collection == documents.RUN_SUMMARY and "run" in self.dimensions:
            named = {target_of("run", run): doc.get("model_name") for run, doc in docs.items()}
            self._kinds.update(
                {t: str(m) for t, m in named.items() if m is not None and t not in self._series}
            )
        if not node and collection != documents.WINDOWS:
            return
        for doc in docs.values():
            dimension = "node" if node else doc["dimension"]
            key = doc["node_id"] if node else doc["key"]
            if dimension not in self.dimensions or key is None:
                continue
            window = observation_of_node_window(doc) if node else observation_of_window(doc)
            if window is not None:
                self._open.setdefault(target_of(dimension, key), {})[window.start_ms] = window

    def flush(self) -> None:
        """Forecast from what was closed since, and write it. Raises nothing."""
        began = time.monotonic()
        try:
            self._forecast()
            self._send()
        except PyMongoError as error:
            self._put_off(error)
        except Exception:
            log.exception("forecasts: this batch has none")
        self.seconds = time.monotonic() - began

    def _forecast(self) -> None:
        self._meet()
        closed, later = self._closed()
        ready: list[tuple[Series, list[Observation]]] = []
        for target, windows in closed.items():
            series = self._series[target]
            for window in later.get(target, ()):
                self._note((), series.correct(window))
            if windows:
                ready.append((series, windows))
        in_use = self.model()
        batch: list[tuple[Series, list[Observation]]] = []
        for series, windows in ready:
            batch.append((series, windows))
            if sum(len(w) for _, w in batch) >= ROWS_PER_PREDICTION:
                self._step(batch, in_use)
                batch = []
                if len(self._outbox) >= SENT_AT_ONCE:
                    self._send_now()
        if batch:
            self._step(batch, in_use)

    def _put_off(self, error: PyMongoError) -> None:
        """What waits is sent after the next batch; what the store refused is not."""
        if not is_away(error):
            log.warning("forecasts: the store refused: %s", str(error)[:500])
            self._outbox.clear()
            return
        self._say(f"the forecasts wait for the document store ({type(error).__name__})")
        if len(self._outbox) > MOST_WAITING:
            log.warning("forecasts: %d writes were given up", len(self._outbox) - MOST_WAITING)
            del self._outbox[:-MOST_WAITING]

    def _closed(self) -> tuple[dict[str, list[Observation]], dict[str, list[Observation]]]:
        """Per target: the windows that are newly closed, in order of time, and closed ones that have changed."""
        fresh: dict[str, list[Observation]] = {}
        changed: dict[str, list[Observation]] = {}
        width = self.horizons.window_ms
        for target, held in self._open.items():
            newest = max(held)
            windows = [held.pop(start) for start in sorted(held) if start < newest]
            if windows:
                known = self._series[target].last_ms or 0
                fresh[target] = [w for w in windows if w.start_ms + width > known]
                changed[target] = [w for w in windows if w.start_ms + width <= known]
        return fresh, changed

    def _meet(self) -> None:
        """Have the series whose windows are closed now at hand, and let the oldest ones go."""
        newest_first = sorted(self._open, key=lambda target: -max(self._open[target]))
        for target in newest_first[self.max_series :]:
            del self._open[target]
        due = [target for target, held in self._open.items() if len(held) > 1]
        unknown = {t: min(self._open[t]) for t in due if t not in self._series}
        found = recall(self.db, unknown, self.horizons, self.history, self._kinds)
        for target, (series, missed) in found.items():
            self._series[target] = series
            if series.cells and series.learned_ms == 0:
                self._keep(series)
            self._open[target] = {w.start_ms: w for w in missed} | self._open[target]
        self._kinds = {
            t: kind for t, kind in self._kinds.items() if t in self._open and t not in self._series
        }
        for target in due:
            self._series.move_to_end(target)
        while len(self._series) > self.max_series:
            _, series = self._series.popitem(last=False)
            self._keep(series)

    def _step(self, batch: Sequence[tuple[Series, list[Observation]]], in_use: InUse) -> None:
        """Forecast from each closed window of these series: one prediction of the model for all of them."""
        width = self.horizons.window_ms
        rows = [_rows(series, windows, width) for series, windows in batch] if in_use.model else []
        changes, why = in_use.predict(np.concatenate(rows) if rows else np.empty((0, 0)))
        if why is not None and in_use.model is not None:
            self._say(why)
        place = 0
        for series, windows in batch:
            mine = {h: values[place : place + len(windows)] for h, values in changes.items()}
            place += len(windows)
            try:
                self._run_through(series, windows, mine, in_use, why)
            except Exception:
                log.exception("forecasts: series %s starts anew", series.target)
                self._series.pop(series.target, None)

    def _run_through(
        self,
        series: Series,
        windows: Sequence[Observation],
        changes: Mapping[int, Floats],
        in_use: InUse,
        why: str | None,
    ) -> None:
        """Judge and forecast at each of these windows; `changes` has a row for each."""
        width = self.horizons.window_ms
        for place, window in enumerate(windows):
            joined = series.close(window)
            fallbacks = {h: why or in_use.fallback(h) for h in self.horizons.due(window.start_ms + width)}
            here = {h: values[place] for h, values in changes.items()}
            self._note(series.issue(here, in_use.version, fallbacks), joined)
            if series.signals:
                self.signal(series.target, series.signals)
                series.signals = []
            if _is_turn(series, width):
                self._keep(series)
        change = UpdateOne({"_id": series.target}, {"$set": head_doc(series)}, upsert=True)
        self._outbox.append((documents.FORECAST_STATES, change))

    def _note(self, issued: Sequence[Issued], joined: Sequence[Joined]) -> None:
        now = self.clock()
        self._outbox += [(documents.FORECASTS, InsertOne(issued_doc(one))) for one in issued]
        for one in joined:
            change = UpdateOne({"_id": id_of(one.issued)}, {"$set": actual_fields(one, now)})
            self._outbox.append((documents.FORECASTS, change))

    def _keep(self, series: Series) -> None:
        """Store what a series has learned or, before its first window, what it starts with."""
        if series.last_ms is None and not series.cells:
            return
        doc = state_doc(series, self.model().version, self.clock())
        change = UpdateOne({"_id": series.target}, {"$set": doc}, upsert=True)
        self._outbox.append((documents.FORECAST_STATES, change))

    def _send_now(self) -> None:
        """Write what waits in the middle of a batch, which goes on where the store is away."""
        try:
            self._send()
        except PyMongoError as error:
            self._put_off(error)

    def _send(self) -> None:
        """Write what waits: new forecasts first, then actuals, then states. Doing it twice changes nothing."""
        for collection in (documents.FORECASTS, documents.FORECAST_STATES):
            mine = [write for name, write in self._outbox if name == collection]
            for kind in (InsertOne, UpdateOne):
                writes = [write for write in mine if isinstance(write, kind)]
                if writes:
                    _write(self.db, collection, writes)
        self._outbox.clear()

    def close(self) -> None:
        """Store what was learned, before the process ends."""
        for series in self._series.values():
            self._keep(series)
        try:
            self._send()
        except PyMongoError as error:
            log.warning("forecasts: what was learned last is not stored (%s)", type(error).__name__)

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            log.warning("forecasts: %s", text)


def _rows(series: Series, windows: Sequence[Observation], width_ms: int) -> Floats:
    """The model's inputs at the end of each of these windows, which follow the series' history."""
    past = [*series.history, *windows]
    return matrix(past, width_ms, [w.start_ms + width_ms for w in windows])


def _is_turn(series: Series, width_ms: int) -> bool:
    """Whether it is this series' turn to store its state; the series take turns."""
    return ((series.last_ms or 0) // width_ms + zlib.crc32(series.target.encode())) % STATE_EVERY == 0


def _write(db: Db, collection: str, writes: Sequence[Any]) -> None:
    """One bulk; documents that are there already stand. Raises PyMongoError.

    Not journaled one by one, which costs a lone server a flush of its disk per update: the next batch's journaled
    write takes these along, and an end without warning loses the states that tell of forecasts with them.
    """
    target = db.get_collection(collection, write_concern=WriteConcern(w="majority"))
    try:
        target.bulk_write(list(writes), ordered=False)
    except BulkWriteError as error:
        failed = error.details.get("writeErrors", [])
        if error.details.get("writeConcernErrors") or any(e["code"] != DUPLICATE_KEY for e in failed):
            raise
