"""`training_run_summary.forecast`: from a summary and its marks to the document, and back to a past run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from schemas.times import from_ms, to_ms
from schemas.units import G_PER_KG, MS_PER_S, emissions_kg
from spark_jobs import marks as lattice
from spark_jobs.forecast.runs.energy import PLANNED, Outlook, Range, outlook, score
from spark_jobs.forecast.runs.epochs import Mark, Report, course_of
from spark_jobs.forecast.runs.rates import Course, Experience, Point
from spark_jobs.forecast.runs.similar import Found, Likeness, PastRun, PastRuns, Score, stage_of, whole
from spark_jobs.store import Doc

# What is needed of a summary.
FIELDS = (
    "model_name",
    "dataset_name",
    "nodes",
    "hyperparameters",
    "ranks",
    "status",
    "started_at",
    "last_event_at",
    "duration_s",
    "n_events",
    "energy_kwh",
    "emissions_kg",
    "carbon_intensity_g_per_kwh",
    "carbon_intensity_source",
    "epoch",
    "total_epochs",
    "step",
    "total_steps",
)
# A run without epochs has an entry of history for each of so many parts.
PARTS = 50


@dataclass(frozen=True, slots=True)
class Told:
    """A forecast as it was made: where the run was, what came of it, and who it was compared with."""

    course: Course
    outlook: Outlook | None
    found: Found
    past: Experience


def narrowed(doc: Mapping[str, Any]) -> Doc:
    """A summary without what forecasts do not need; of its facets, the marks and when `epoch` was last said."""
    kept = {name: doc[name] for name in FIELDS if name in doc}
    facets = doc.get("facets") or {}
    progress = facets.get("progress") or {}
    epoch = (facets.get("last") or {}).get("epoch")
    return {
        **kept,
        "seen": lattice.from_lists(progress.get("epochs")),
        "seen_steps": lattice.from_lists(progress.get("steps")),
        "epoch_at_ms": None if epoch is None else epoch[0],
    }


def report_of(doc: Mapping[str, Any]) -> Report | None:
    """A narrowed summary's progress; None where its energy or times are not known: no forecast, not zero."""
    if doc.get("energy_kwh") is None or "started_at" not in doc or "last_event_at" not in doc:
        return None
    return Report(
        started_ms=to_ms(doc["started_at"]),
        last_ms=to_ms(doc["last_event_at"]),
        energy_kwh=doc["energy_kwh"],
        n_events=doc.get("n_events", 0),
        epoch_at_ms=doc.get("epoch_at_ms"),
        ranks=max(1, len(doc.get("ranks", ()))),
        **{name: doc.get(name) for name in ("epoch", "total_epochs", "step", "total_steps")},
    )


def likeness_of(doc: Mapping[str, Any]) -> Likeness:
    """What its runs are compared by."""
    return Likeness(
        doc.get("model_name"),
        doc.get("dataset_name"),
        tuple(doc.get("nodes", ())),
        doc.get("hyperparameters"),
    )


def told(run_id: str, doc: Mapping[str, Any], course: Course, past_runs: PastRuns) -> Told:
    """The forecast at a point of a run's course."""
    found = past_runs.like(run_id, likeness_of(doc))
    if course.total is None and not course.points:
        # Nobody said how long it is: as long as its like were.
        found = replace(found, runs=tuple(replace(run, course=whole(run)) for run in found.runs))
        course = Course("runs", (), replace(course.now, done=0.0), 1.0)
    past = past_runs.experience(course, found)
    return Told(course, outlook(course, past), found, past)


def until(course: Course, n: int) -> Course:
    """The course as it was at its n-th point (from 1)."""
    return replace(course, points=course.points[:n], now=course.points[n - 1])


def forecast_doc(doc: Mapping[str, Any], made: Told, issued_ms: int) -> Doc:
    """The changing fields of `forecast`; what is not known is absent."""
    course, found = made.course, made.outlook
    fields: Doc = {
        "issued_at": from_ms(issued_ms),
        "method": "none" if found is None else found.method,
        "note": note(made),
        "n_similar": len(made.found.runs),
        "unit": course.unit,
    }
    if course.unit == "epochs":
        fields |= {"epoch": course.now.done, **_known("total_epochs", course.total)}
    if found is None:
        return fields
    if course.unit == "epochs":
        fields |= {"per_epoch_kwh": found.per_unit_kwh, "per_epoch_s": found.per_unit_s}
    fields["spread"] = found.spread
    if made.past.early:
        fields["early_stop_chance"] = made.past.early / (len(made.past.ends) + PLANNED)
    if found.energy_kwh is not None:
        fields["energy_kwh"] = _range(found.energy_kwh)
        fields |= _known("emissions_kg", _emissions(doc, found.energy_kwh))
    if found.duration_s is not None:
        start_ms = to_ms(doc["started_at"])
        fields |= _known("finishes_at", _times(start_ms, found.duration_s))
    return fields


LATEST_MS = to_ms(from_ms(0).replace(year=9999))


def _times(start_ms: int, duration_s: Range) -> Doc | None:
    ends = {name: start_ms + value * MS_PER_S for name, value in _range(duration_s).items()}
    if max(ends.values()) > LATEST_MS:
        return None
    return {name: from_ms(int(at_ms)) for name, at_ms in ends.items()}


def _known(name: str, value: Any) -> Doc:
    return {} if value is None else {name: value}


def _range(of: Range) -> dict[str, float]:
    return {"point": of.point, "p10": of.p10, "p90": of.p90}


def _emissions(doc: Mapping[str, Any], energy: Range) -> Doc | None:
    """What was emitted so far, and the rest at the run's own intensity; None where that is not known."""
    used, so_far = doc["energy_kwh"], doc.get("emissions_kg")
    g_per_kwh, source = doc.get("carbon_intensity_g_per_kwh"), doc.get("carbon_intensity_source")
    if g_per_kwh is None:
        if so_far is None or used <= 0:
            return None
        g_per_kwh, source = so_far * G_PER_KG / used, "emissions of the run so far"
    base = emissions_kg(used, g_per_kwh) if so_far is None else so_far
    values = {name: base + emissions_kg(value - used, g_per_kwh) for name, value in _range(energy).items()}
    return {**values, "g_per_kwh": g_per_kwh, "source": source or "client"}


def note(made: Told) -> str:
    """In words, what the forecast rests on."""
    found, course = made.outlook, made.course
    n, kind = len(made.found.runs), made.found.kind
    like = f"{n} similar run{'s' * (n != 1)} (same {kind})"
    if found is None:
        return "no epoch has ended and no similar run is known: no estimate yet"
    if found.method == "rate":
        return "total_epochs is not known: energy and time per epoch only"
    if found.method == "similar_runs":
        said = [f"from {like}" + ("" if course.unit == "runs" else " until the first epoch ends")]
    elif course.unit == "epochs" and len(course.points) == 1:
        said = ["after one epoch, which holds the warm-up"]
    else:
        said = [f"from its own {course.unit}"]
    if n and found.method != "similar_runs":
        said.append(f"with {like}")
    if made.past.early:
        said.append(f"{made.past.early} of {len(made.past.ends)} similar runs stopped early")
    return "; ".join(said)


def history_entry(key: int, at_ms: int, made: Told) -> Doc | None:
    """What was forecast when an epoch (or a part of the run) was done; None where nothing was."""
    if made.outlook is None or made.outlook.energy_kwh is None:
        return None
    return {
        "epoch": key,
        "at": from_ms(at_ms),
        "energy_kwh": _range(made.outlook.energy_kwh),
        "so_far_kwh": made.course.now.energy_kwh,
        "spread": made.outlook.spread,
        "stage": stage_of(made.course),
    }


def history_keys(course: Course) -> dict[int, int]:
    """Which points are worth an entry: number that it goes by (epochs done, or the part) -> place, from 1."""
    keys: dict[int, int] = {}
    for place, point in enumerate(course.points, 1):
        part = PARTS * point.done / course.total if course.total else 0.0
        keys.setdefault(int(point.done if course.unit == "epochs" else part), place)
    return lattice.thinned(keys)


def with_errors(history: Sequence[Mapping[str, Any]], actual_kwh: float) -> list[Doc]:
    """History once the actual is known: the error of each forecast in percent of it."""
    if actual_kwh <= 0:
        return [dict(entry) for entry in history]
    return [
        {**entry, "error_pct": 100.0 * (entry["energy_kwh"]["point"] / actual_kwh - 1.0)} for entry in history
    ]


def mean_error_pct(history: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean absolute error of a run's forecasts in percent; None where there was none."""
    errors = [abs(entry["error_pct"]) for entry in history if "error_pct" in entry]
    return fmean(errors) if errors else None


def past_run(
    run_id: str, doc: Mapping[str, Any], marks: Sequence[Mark], steps: Sequence[Mark]
) -> PastRun | None:
    """A narrowed summary of a run that ended as a past run; None where its energy is not known."""
    report = report_of(doc)
    if report is None or report.energy_kwh <= 0:
        return None
    course = course_of(report, marks, steps)
    now = replace(course.now, elapsed_s=float(doc.get("duration_s", course.now.elapsed_s)))
    if course.unit == "epochs" and not course.points:
        return PastRun(
            run_id, likeness_of(doc), Course("runs", (), Point(1.0, now.elapsed_s, now.energy_kwh), 1.0)
        )
    return PastRun(run_id, likeness_of(doc), replace(course, now=now))


def scores_of(doc: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Iterator[Score]:
    """How far off the forecasts of a run that ended were."""
    actual = doc.get("energy_kwh") or 0.0
    for entry in history:
        so_far = entry.get("so_far_kwh", 0.0)
        value = score(actual - so_far, entry["energy_kwh"]["point"] - so_far, entry.get("spread", 0.0))
        if value is not None:
            yield Score(doc.get("model_name"), entry.get("stage", ""), value)
