"""What a run's summary knows beside its sums: first, last, best and sets.

Facets form a lattice: `merge` is associative, commutative and idempotent, so that order, repetition and the
split into batches cannot show. The later of two values is the one with the greater (time, identity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from schemas.times import EARLIEST, from_ms, to_ms
from schemas.units import MS_PER_S, w_from_kwh
from spark_jobs import marks

Facets: TypeAlias = dict[str, dict[str, Any]]
EARLIEST_MS = to_ms(EARLIEST)

# Field of an event -> name of the facet that keeps its latest value.
_LAST: Mapping[str, str] = {
    **{
        name: name
        for name in (
            "user_id",
            "project",
            "model_name",
            "dataset_name",
            "framework",
            "environment",
            "region_iso",
            "hyperparameters",
            "node_id",
            "epoch",
            "total_epochs",
            "step",
            "total_steps",
            "carbon_intensity_g_per_kwh",
            "carbon_intensity_source",
            "carbon_intensity_year",
            "carbon_intensity_kind",
            "reported_totals",
        )
    },
    "loss": "last_loss",
    "accuracy": "last_accuracy",
}
_SETS: Mapping[str, str] = {
    "rank": "ranks",
    "node_id": "nodes",
    "meters": "meters",
    "measurement": "measurements",
}
MAX_SET = 1024


class RunFacets:
    """The facets of a run's events, gathered one by one (this is on the path of every event)."""

    __slots__ = ("_newest", "epochs", "high", "last", "low", "sets", "steps")

    def __init__(self) -> None:
        self.last: dict[str, list[Any]] = {}
        self.low: dict[str, Any] = {}
        self.high: dict[str, Any] = {}
        self.sets: dict[str, set[Any]] = {}
        self.epochs: marks.Marks = {}
        self.steps: marks.Marks = {}
        # The newest event: not yet in `last`, for the next one mostly has every field that it has.
        self._newest: tuple[int, str, Mapping[str, Any]] | None = None

    def add(self, identity: str, doc: Mapping[str, Any]) -> None:
        """Take one event in."""
        at = to_ms(doc["timestamp"])
        self._take_last(at, identity, doc)
        event_type = doc["event_type"]
        if event_type != "metric":
            life = "running" if event_type == "run_started" else doc.get("status", "completed")
            self._later("life", at, identity, life)
        interval_s = doc.get("interval_s")
        self._lower("started_ms", _started_ms(at, interval_s, doc))
        self._higher("last_event_ms", at)
        if "epoch" in doc:
            self.epochs = marks.note(self.epochs, doc["epoch"], at)
        elif "step" in doc:
            self.steps = marks.note(self.steps, doc["step"], at)
        if "loss" in doc:
            self._lower("best_loss", doc["loss"])
        if "accuracy" in doc:
            self._higher("best_accuracy", doc["accuracy"])
        if interval_s and "energy_kwh" in doc:
            self._higher("peak_power_w", w_from_kwh(doc["energy_kwh"], interval_s))
        for name, kept_as in _SETS.items():
            if name in doc:
                value = doc[name]
                held = self.sets.get(kept_as)
                if held is None:
                    held = self.sets[kept_as] = set()
                held.update(value if isinstance(value, list) else (value,))

    def _take_last(self, at: int, identity: str, doc: Mapping[str, Any]) -> None:
        """Keep the newer of this event and the newest one; the other counts where it has a field besides."""
        event, newest = (at, identity, doc), self._newest
        if newest is None:
            self._newest = event
            return
        newer, older = (event, newest) if (at, identity) > newest[:2] else (newest, event)
        self._newest = newer
        if not older[2].keys() <= newer[2].keys():
            self._fold(*older)

    def _fold(self, at: int, identity: str, doc: Mapping[str, Any]) -> None:
        for name, value in doc.items():
            kept_as = _LAST.get(name)
            if kept_as is not None:
                self._later(kept_as, at, identity, value)

    def _later(self, name: str, at: int, identity: str, value: Any) -> None:
        held = self.last.get(name)
        if held is None or (at, identity) > (held[0], held[1]):
            self.last[name] = [at, identity, value]

    def _lower(self, name: str, value: Any) -> None:
        held = self.low.get(name)
        if held is None or value < held:
            self.low[name] = value

    def _higher(self, name: str, value: Any) -> None:
        held = self.high.get(name)
        if held is None or value > held:
            self.high[name] = value

    def to_facets(self) -> Facets:
        """As they travel and merge."""
        if self._newest is not None:
            self._fold(*self._newest)
        sets = {name: sorted(values)[:MAX_SET] for name, values in self.sets.items() if values}
        progress = {"epochs": marks.to_lists(self.epochs), "steps": marks.to_lists(self.steps)}
        return {
            "last": dict(self.last),
            "min": dict(self.low),
            "max": dict(self.high),
            "sets": sets,
            "progress": {name: reached for name, reached in progress.items() if reached},
        }


def _started_ms(at: int, interval_s: float | None, doc: Mapping[str, Any]) -> int:
    """Start of what the event says: of its interval, or of the run that a summary reports."""
    # An interval may be any finite number; none of ours began before times are accepted.
    start = at - int(min(interval_s * MS_PER_S, at - EARLIEST_MS)) if interval_s else at
    reported = doc.get("reported_totals", {}).get("started_at")
    return min(start, to_ms(reported)) if reported else start


def facets_of(identity: str, doc: Mapping[str, Any]) -> Facets:
    """The facets of one event."""
    gathered = RunFacets()
    gathered.add(identity, doc)
    return gathered.to_facets()


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> Facets:
    """The join of two facets."""
    return {
        "last": _join(one, other, "last", lambda a, b: a if tuple(a[:2]) >= tuple(b[:2]) else b),
        "min": _join(one, other, "min", min),
        "max": _join(one, other, "max", max),
        "sets": _join(one, other, "sets", lambda a, b: sorted({*a, *b})[:MAX_SET]),
        "progress": _join(one, other, "progress", marks.join),
    }


def _join(
    one: Mapping[str, Any], other: Mapping[str, Any], part: str, choose: Callable[[Any, Any], Any]
) -> dict[str, Any]:
    joined = dict(one.get(part, {}))
    for name, value in other.get(part, {}).items():
        joined[name] = choose(joined[name], value) if name in joined else value
    return joined


def fields_of_facets(facets: Mapping[str, Any]) -> dict[str, Any]:
    """The summary fields that facets say: who and what, status, times, last and best values."""
    last = {name: entry[2] for name, entry in facets.get("last", {}).items()}
    low, high, sets = facets.get("min", {}), facets.get("max", {}), facets.get("sets", {})
    life = facets.get("last", {}).get("life")
    status = last.pop("life", "running")
    fields: dict[str, Any] = {**last, "status": status}
    started, latest = low.get("started_ms"), high.get("last_event_ms")
    if started is not None and latest is not None:
        ended = life[0] if life is not None and status != "running" else None
        fields["started_at"] = from_ms(started)
        fields["last_event_at"] = from_ms(latest)
        fields["duration_s"] = ((latest if ended is None else max(ended, started)) - started) / MS_PER_S
        if ended is not None:
            fields["ended_at"] = from_ms(ended)
    for name in ("best_loss",):
        if name in low:
            fields[name] = low[name]
    for name in ("best_accuracy", "peak_power_w"):
        if name in high:
            fields[name] = high[name]
    for name in ("ranks", "nodes", "meters"):
        if sets.get(name):
            fields[name] = sets[name]
    kinds = sets.get("measurements", [])
    if kinds:
        fields["measurement"] = kinds[0] if len(kinds) == 1 else "mixed"
    return fields
