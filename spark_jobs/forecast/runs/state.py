"""The state of one run that is forecast, and the draft of what to write of it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.times import from_ms, to_ms
from schemas.units import MS_PER_S
from spark_jobs.forecast.runs import documents as made
from spark_jobs.forecast.runs.epochs import Mark, Report, Used, course_of, marks_of
from spark_jobs.forecast.runs.rates import Course
from spark_jobs.forecast.runs.similar import PastRuns
from spark_jobs.store import Doc

# Windows of a run that are remembered: a mark in one of them follows what late events change.
KEPT_WINDOWS = 64
# Entries of history that are made up at a time for a run whose epochs came many at a time.
ENTRIES_PER_TURN = 4
ENDED = ("completed", "failed", "stopped")
# Fields of `forecast` that a later forecast may not have.
OPTIONAL = (
    "epoch",
    "total_epochs",
    "per_epoch_kwh",
    "per_epoch_s",
    "spread",
    "early_stop_chance",
    "energy_kwh",
    "emissions_kg",
    "finishes_at",
    "actual_energy_kwh",
    "error_pct",
)


@dataclass(slots=True)
class RunState:
    """What is known of one run. `stored` is `forecast` as it was last written."""

    doc: Doc = field(default_factory=dict)
    windows: dict[int, Used] = field(default_factory=dict)
    epochs: list[Mark] = field(default_factory=list)
    steps: list[Mark] = field(default_factory=list)
    history: dict[int, Doc] = field(default_factory=dict)
    # The first window from which on all are known (ms); None until the run is loaded.
    since_ms: int | None = None
    more: bool = False
    issued: tuple[Any, ...] | None = None
    issued_ms: int = 0

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.doc.get("status") in ENDED

    @property
    def last_ms(self) -> int:
        """Time of the run's last event (ms); 0 where it is not known."""
        last = self.doc.get("last_event_at")
        return 0 if last is None else to_ms(last)

    def take_window(self, start_ms: int, used: Used) -> None:
        """A window as it is now; one from before those that are known would leave a gap."""
        if self.since_ms is None or start_ms >= self.since_ms:
            self.windows[start_ms] = used

    def is_whole(self) -> bool:
        """Whether all of the run's windows are remembered, by their events."""
        events: int = self.doc.get("n_events", 0)
        return sum(used.n_events for used in self.windows.values()) >= events

    def first_needed(self, window_ms: int) -> int | None:
        """Start of the first window that a mark needs whose energy is not stored (ms); None where none lacks."""
        lacking: list[int] = [
            at_ms
            for seen, known in (("seen", self.epochs), ("seen_steps", self.steps))
            for number, at_ms in (self.doc.get(seen) or {}).items()
            if number not in {mark.number for mark in known}
        ]
        return min(lacking) - min(lacking) % window_ms if lacking else None

    def begin(self, from_ms: int) -> None:
        """All windows from then on are remembered from now on; those from before are not all known."""
        self.windows = {start: used for start, used in self.windows.items() if start >= from_ms}
        self.since_ms = min(self.windows, default=from_ms)

    def trim(self) -> None:
        """Forget the windows that no mark is likely to need again."""
        for start in sorted(self.windows)[:-KEPT_WINDOWS]:
            del self.windows[start]
        self.since_ms = min(self.windows, default=self.since_ms)

    def key(self) -> tuple[Any, ...]:
        """What calls for a new forecast at once when it changes: an epoch, the end, what changed after it."""
        seen = self.doc.get("seen") or {}
        top = max(seen) if seen else None
        return (top, self.doc.get("status"), self.doc.get("energy_kwh") if self.ended else None)


@dataclass(frozen=True, slots=True)
class Draft:
    """A forecast before it is written; no fields where nothing can be said."""

    fields: Doc
    epochs: list[Mark]
    steps: list[Mark]
    history: dict[int, Doc]
    more: bool
    issued_ms: int


def draft_of(run_id: str, state: RunState, window_ms: int, past: PastRuns) -> Draft:
    """What to write of a run now."""
    report = made.report_of(state.doc)
    if report is None:
        return Draft({}, state.epochs, state.steps, state.history, False, state.last_ms)
    epochs = marks_of(state.doc["seen"], state.windows, window_ms, report, state.epochs)
    steps = marks_of(state.doc["seen_steps"], state.windows, window_ms, report, state.steps)
    course = course_of(report, epochs, steps)
    history, more = _history(run_id, state, course, report, past)
    now = made.told(run_id, state.doc, course, past)
    fields = made.forecast_doc(state.doc, now, report.last_ms)
    if not course.points:
        entry = made.history_entry(0, report.last_ms, now)
        if entry is not None and not state.ended:
            history.setdefault(0, entry)
    entries = [history[key] for key in sorted(history)]
    if state.ended:
        entries = made.with_errors(entries, report.energy_kwh)
        fields |= _ended(state.doc, report, entries)
    history = {entry["epoch"]: entry for entry in entries}
    # Most of the bytes: only where they changed.
    if history != state.history or state.issued is None:
        fields["history"] = entries
    for name, marks, before in (("marks", epochs, state.epochs), ("step_marks", steps, state.steps)):
        if marks != before:
            fields[name] = [[mark.number, mark.at_ms, mark.energy_kwh] for mark in marks]
    return Draft(fields, epochs, steps, history, more, report.last_ms)


def _history(
    run_id: str, state: RunState, course: Course, report: Report, past: PastRuns
) -> tuple[dict[int, Doc], bool]:
    """History with entries for the epochs that have none yet, the first few at a time; whether more lack."""
    keys = made.history_keys(course)
    history = {key: entry for key, entry in state.history.items() if key in keys or key == 0}
    lacking = [key for key in keys if key > 0 and key not in history]
    before = len(history)
    for key in lacking[:ENTRIES_PER_TURN]:
        then = made.until(course, keys[key])
        at_ms = report.started_ms + int(then.now.elapsed_s * MS_PER_S)
        entry = made.history_entry(key, at_ms, made.told(run_id, state.doc, then, past))
        if entry is not None:
            history[key] = entry
    # A run of unknown length has no entries: another turn would find none either.
    return history, len(lacking) > ENTRIES_PER_TURN and len(history) > before


def _ended(doc: Mapping[str, Any], report: Report, entries: Sequence[Mapping[str, Any]]) -> Doc:
    """A run that ended has used what it used."""
    error = made.mean_error_pct(entries)
    ends = doc["started_at"].timestamp() + float(doc.get("duration_s", 0.0))
    at = from_ms(int(ends * MS_PER_S))
    return {
        "note": f"the run has ended ({doc.get('status')})",
        "energy_kwh": dict.fromkeys(("point", "p10", "p90"), report.energy_kwh),
        "finishes_at": dict.fromkeys(("point", "p10", "p90"), at),
        "actual_energy_kwh": report.energy_kwh,
        **({} if error is None else {"error_pct": error}),
    }


def restore(state: RunState, stored: Mapping[str, Any]) -> None:
    """Marks and history as an earlier process stored them."""
    state.epochs = [Mark(*mark) for mark in stored.get("marks", ())]
    state.steps = [Mark(*mark) for mark in stored.get("step_marks", ())]
    state.history = {entry["epoch"]: entry for entry in stored.get("history", ())}


def remember(past: PastRuns, run_id: str, state: RunState) -> None:
    """Add a run that ended to what is known of past runs; one that failed says nothing of its like."""
    if state.doc.get("status") == "failed":
        return
    run = made.past_run(run_id, state.doc, state.epochs, state.steps)
    if run is not None:
        past.add(run, made.scores_of(state.doc, list(state.history.values())))


def used_of(doc: Mapping[str, Any]) -> Used:
    """What a window's document says of the run; a window without energy adds none."""
    return Used(doc.get("energy_kwh", 0.0), doc.get("n_events", 0), doc.get("covered_s", 0.0))
