"""What the forecaster reads when it meets a series: its state, its last windows, its forecasts on their way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from schemas import documents
from schemas.times import from_ms, to_ms
from spark_jobs.forecast.anomalies.watch import AnomalyWatch
from spark_jobs.forecast.cells import Cell, Pending
from spark_jobs.forecast.engine import Horizons, Series
from spark_jobs.forecast.layers.speed import speed_row
from spark_jobs.forecast.learning.history import observation_of_node_window, observation_of_window
from spark_jobs.forecast.records import cells_from_doc, issued_from_doc
from spark_jobs.forecast.series import Observation
from spark_jobs.store import Db, find_by_ids

Doc = dict[str, Any]

KEYS_PER_FIND = 100
# A state is stored every so many windows; what it misses is learned again from the stored windows and forecasts.
STATE_EVERY = 10
EPOCH = datetime.fromtimestamp(0, timezone.utc)


def recall(
    db: Db,
    targets: Mapping[str, int],
    horizons: Horizons,
    history: int,
    kinds: Mapping[str, str] | None = None,
) -> dict[str, tuple[Series, list[Observation]]]:
    """The series of these targets as they were left, each with the windows that its state does not know yet.

    `targets` gives the start of the first window (ms) that is still to be taken in; nothing from there on is read.
    The windows are to be taken in like new ones: what was forecast from them is known and not forecast again, what
    an end without warning has lost is made up. A series without a state starts with what the newest other one of
    its kind has learned (`kinds`, by target). Raises PyMongoError.
    """
    names = sorted(targets)
    heads = find_by_ids(db[documents.FORECAST_STATES], names)
    states = {doc["_id"]: doc for doc in heads if "learned_until" in doc}
    own = {name: kind for name, kind in (kinds or {}).items() if name in targets and name not in states}
    ancestors = _ancestors(db, set(own.values()))
    found: dict[str, tuple[Series, list[Observation]]] = {}
    for start in range(0, len(names), KEYS_PER_FIND):
        chunk = names[start : start + KEYS_PER_FIND]
        windows = _windows(db, chunk, targets, horizons.window_ms, history)
        known = {
            name: _known_ms(states.get(name), of, horizons.window_ms, history) for name, of in windows.items()
        }
        waiting = _waiting(db, known, targets)
        for name in chunk:
            state = states.get(name)
            kind = state.get("kind") if state else own.get(name)
            series = Series(name, horizons, history, _watch(name, state, horizons.window_ms), kind)
            if state is None and kind in ancestors:
                series.cells = {h: cell.heir() for h, cell in ancestors[kind].items()}
            past = windows.get(name, [])
            _restore(series, state, past, known.get(name, 0), waiting.get(name, []))
            missed = [w for w in past if w.start_ms + horizons.window_ms > known[name]]
            found[name] = series, missed
    return found


def _ancestors(db: Db, kinds: Collection[str]) -> dict[str | None, dict[int, Cell]]:
    """What the newest state of each kind has learned."""
    found: dict[str | None, dict[int, Cell]] = {}
    for kind in kinds:
        query = {"kind": kind, "learned_until": {"$gt": EPOCH}}
        newest = db[documents.FORECAST_STATES].find_one(query, sort=[("learned_until", -1)])
        if newest is not None:
            found[kind] = cells_from_doc(newest)
    return found


def _known_ms(state: Doc | None, windows: Sequence[Observation], width_ms: int, history: int) -> int:
    """Up to where (ms) a series knows its windows, which are not empty.

    A series without a state that is younger than its history has lost it in an end without warning, and knows none.
    Of an older one the last STATE_EVERY are taken in.
    """
    if state is None and len(windows) >= history:
        return windows[-1].start_ms - STATE_EVERY * width_ms
    learned_ms = to_ms(state["learned_until"]) if state else 0
    return max(learned_ms, windows[0].start_ms)


def _watch(target: str, state: Doc | None, window_ms: int) -> AnomalyWatch | None:
    """Nodes and runs are watched for anomalies; the sums of users and the fleet move with who is at work."""
    if target.partition("/")[0] not in ("node", "run"):
        return None
    if state is None or "anomalies" not in state:
        return AnomalyWatch(target, window_ms)
    return AnomalyWatch.from_doc(target, window_ms, state["anomalies"])


def _restore(
    series: Series, state: Doc | None, windows: Sequence[Observation], known_ms: int, waiting: Sequence[Doc]
) -> None:
    """Remember the windows that the state knows, and the forecasts that wait for their actuals."""
    if state:
        series.learned_ms = to_ms(state["learned_until"])
        series.cells = cells_from_doc(state)
    width = series.horizons.window_ms
    series.remember(w for w in windows if w.start_ms + width <= known_ms)
    issued = sorted((issued_from_doc(doc) for doc in waiting), key=lambda one: one.issued_ms)
    pendings = []
    for one in issued:
        before = [w for w in windows if w.start_ms + width <= one.issued_ms]
        if before and before[-1].start_ms + width == one.issued_ms:
            pendings.append(Pending(one, speed_row(before, width)))
            _add_energy(pendings[-1], [w for w in series.history if w.start_ms >= one.issued_ms])
    series.expect(pendings)


def _add_energy(pending: Pending, windows: Sequence[Observation]) -> None:
    for window in windows:
        if window.energy_kwh is not None and window.start_ms < pending.issued.target_ms:
            pending.energy_kwh += window.energy_kwh
            pending.windows += 1


def _windows(
    db: Db, targets: Sequence[str], before: Mapping[str, int], width_ms: int, history: int
) -> dict[str, list[Observation]]:
    """The last windows of each series before the given one, in order of time."""
    found: dict[str, list[Observation]] = {}
    for dimension in sorted({target.partition("/")[0] for target in targets}):
        node = dimension == "node"
        names = {t.partition("/")[2] or "all": t for t in targets if t.partition("/")[0] == dimension}
        oldest = min(before[t] for t in names.values()) - history * width_ms
        collection = db[documents.NODE_WINDOWS if node else documents.WINDOWS]
        # One by one: the embedded server uses no index for a list of keys and a range.
        for name, target in names.items():
            query: Doc = {"node_id": name} if node else {"dimension": dimension, "key": name}
            within = {"$gte": from_ms(oldest), "$lt": from_ms(before[target])}
            for doc in collection.find({**query, "window_start": within}, {"parts": 0}):
                window = observation_of_node_window(doc) if node else observation_of_window(doc)
                if window is not None:
                    found.setdefault(target, []).append(window)
    return {target: sorted(seen, key=lambda w: w.start_ms)[-history:] for target, seen in found.items()}


def _waiting(db: Db, known_ms: Mapping[str, int], before_ms: Mapping[str, int]) -> dict[str, list[Doc]]:
    """Forecasts whose actual the series has not seen, of windows that were closed by then."""
    found: dict[str, list[Doc]] = {}
    for target, ms in known_ms.items():
        query = {"target": target, "target_at": {"$gt": from_ms(ms)}}
        waiting = [
            doc for doc in db[documents.FORECASTS].find(query) if to_ms(doc["issued_at"]) <= before_ms[target]
        ]
        if waiting:
            found[target] = waiting
    return found
