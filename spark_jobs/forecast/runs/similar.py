"""What past runs tell of a run: the same model on the same data and node first, then whatever is nearest.

Kept in memory, bounded: the newest finished runs of each model. Nothing is learnt from failed runs but the
scores of their forecasts are not counted either: why they ended is not in their course.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from spark_jobs.forecast.runs.rates import Course, Experience, Point, own_rate

PER_MODEL = 24
UNNAMED = ""  # no model is called so
MODELS = 500
SCORES = 400
# The newest of a kind are asked.
ASKED = 10
# A run that did this share of its plan did it.
WHOLE = 0.97
# Answers of past runs that are remembered.
REMEMBERED = 20_000
# Rate of the rest, and that over the rate by then.
WentOn: TypeAlias = "tuple[float | None, float | None]"
# So many scores of a kind are enough to leave out others, and so many are looked at.
MODEL_SCORES = 8
NEWEST = 60


@dataclass(frozen=True, slots=True)
class Likeness:
    """What runs are compared by; None is not known."""

    model: str | None = None
    dataset: str | None = None
    nodes: tuple[str, ...] = ()
    settings: Any = None  # hyperparameters, as they came

    def kinds(self, other: Likeness) -> tuple[bool, ...]:
        """Of which of KINDS the other is, nearest first. What both do not know does not tell them apart."""
        data, where = self.dataset == other.dataset, self.nodes == other.nodes
        return (data and where and self.settings == other.settings, data and where, data, where, True)

    def shared(self, other: Likeness) -> str:
        """In words, what is known to be the same."""
        names = {"model": "model", "dataset": "dataset", "nodes": "node", "settings": "hyperparameters"}
        same = [
            word
            for name, word in names.items()
            if getattr(self, name) and getattr(self, name) == getattr(other, name)
        ]
        return " and ".join(filter(None, (", ".join(same[:-1]), same[-1]))) if same else "nothing"


# By how much (log) the use of runs differs besides: of the same model, data, node and hyperparameters; all but
# the hyperparameters; model and data; model and node; the model only.
KINDS = (0.0, 0.05, 0.25, 0.25, 0.4)


@dataclass(frozen=True, slots=True)
class Score:
    """How far off a forecast was, in its own spreads; of which model and at which stage it was made."""

    model: str | None
    stage: str
    value: float


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that ended: its course to the end."""

    run_id: str
    likeness: Likeness
    course: Course

    @property
    def end(self) -> float:
        """Which share of its plan it did."""
        total = self.course.total
        share = 1.0 if not total else self.course.now.done / total
        return 1.0 if share >= WHOLE else share


@dataclass(frozen=True, slots=True)
class Found:
    """Runs like one, and in what they are like it."""

    runs: tuple[PastRun, ...] = ()
    model: str | None = None
    kind: str = ""
    unlike: float = 0.0


@dataclass(slots=True)
class PastRuns:
    """The past runs that are remembered."""

    _by_model: OrderedDict[str, OrderedDict[str, PastRun]] = field(default_factory=OrderedDict)
    _scores: deque[Score] = field(default_factory=lambda: deque(maxlen=SCORES))
    _went_on: dict[tuple[str, str, float], tuple[WentOn, WentOn]] = field(default_factory=dict)

    def add(self, run: PastRun, scores: Iterable[Score] = ()) -> None:
        """Remember a run that ended; the same run again takes its own place."""
        model = run.likeness.model or UNNAMED
        runs = self._by_model.setdefault(model, OrderedDict())
        self._by_model.move_to_end(model)
        if run.run_id not in runs:
            self._scores.extend(scores)
        elif runs[run.run_id] != run:
            self._went_on.clear()
        runs[run.run_id] = run
        while len(runs) > PER_MODEL:
            runs.popitem(last=False)
        while len(self._by_model) > MODELS:
            self._by_model.popitem(last=False)

    def like(self, run_id: str, likeness: Likeness) -> Found:
        """The runs of the nearest kind of which there are any."""
        if likeness.model is None:
            return Found()
        runs = [run for i, run in self._by_model.get(likeness.model, {}).items() if i != run_id]
        kinds = [(run, likeness.kinds(run.likeness)) for run in runs]
        for place, unlike in enumerate(KINDS):
            of_kind = tuple(run for run, kind in kinds if kind[place])
            if of_kind:
                return Found(of_kind, likeness.model, likeness.shared(of_kind[-1].likeness), unlike)
        return Found(model=likeness.model)

    def experience(self, course: Course, found: Found) -> Experience:
        """What runs like this one say at its point of progress, and past errors at its stage."""
        told = Experience(scores=self._scores_at(found.model, stage_of(course)))
        same = [run for run in found.runs if run.course.unit == course.unit][-ASKED:]
        if not same:
            return told
        went_on = [self._from(run, _cut(run.course, course)) for run in same]
        kwh = [energy for energy, _ in went_on]
        seconds = [pace for _, pace in went_on]
        return replace(
            told,
            unlike=found.unlike,
            rates_kwh=tuple(rate for rate, _ in kwh if rate is not None),
            rates_s=tuple(rate for rate, _ in seconds if rate is not None),
            growth_kwh=tuple(growth for _, growth in kwh if growth is not None),
            growth_s=tuple(growth for _, growth in seconds if growth is not None),
            ends=tuple(run.end for run in same if run.course.total and run.end > course.share),
        )

    def _from(self, run: PastRun, cut: float) -> tuple[WentOn, WentOn]:
        """How a past run went on from there, in energy and in time: many runs ask at the same epochs."""
        key = (run.run_id, run.course.unit, cut)
        told = self._went_on.get(key)
        if told is None:
            if len(self._went_on) >= REMEMBERED:
                self._went_on.clear()
            told = _went_on(run.course, cut, "energy_kwh"), _went_on(run.course, cut, "elapsed_s")
            self._went_on[key] = told
        return told

    def _scores_at(self, model: str | None, stage: str) -> tuple[float, ...]:
        """The newest of the same model and stage; where they are few of the stage; else all."""
        at_stage = [score for score in self._scores if score.stage == stage]
        own = [score for score in at_stage if model is not None and score.model == model]
        chosen = own if len(own) >= MODEL_SCORES else at_stage
        if len(chosen) < MODEL_SCORES:
            chosen = list(self._scores)
        return tuple(score.value for score in chosen[-NEWEST:])


def stage_of(course: Course) -> str:
    """How early it is in a run: forecasts of one stage err alike."""
    if course.unit == "epochs":
        n = len(course.points)
        return "before" if n == 0 else "1" if n == 1 else "2-4" if n < 5 else "5-9" if n < 10 else "10+"
    share = course.share
    return "early" if share < 0.15 else "first half" if share < 0.5 else "second half"


def whole(run: PastRun) -> Course:
    """The run as one unit of work, for runs that nobody said the length of."""
    now = run.course.now
    return Course("runs", (), Point(1.0, now.elapsed_s, now.energy_kwh), 1.0)


def _cut(past: Course, course: Course) -> float:
    """The place in a past run that answers to where a run is; of epochs, the first one is apart."""
    if past.unit != "epochs":
        return course.share * past.now.done
    done = course.points[-1].done if course.points else 0.0
    return max(done, past.points[0].done if past.points else 0.0)


def _went_on(past: Course, cut: float, quantity: str) -> WentOn:
    """A past run's use per unit after a place, and that over its own rate by then; None is not known."""
    end = getattr(past.now, quantity)
    until = [point for point in past.points if point.done <= cut + 1e-9]
    at = _at(past, cut, quantity)
    left = past.now.done - cut
    if left <= 0 or at is None or end <= at:
        rate = _overall(past, quantity)
        return rate, None
    rate = (end - at) / left
    if not until:
        return rate, None
    own = own_rate(replace(past, points=tuple(until), now=until[-1], total=past.now.done), quantity)
    return rate, rate / own.value if own is not None and own.value > 0 else None


def _overall(past: Course, quantity: str) -> float | None:
    own = own_rate(replace(past, total=past.now.done), quantity)
    return own.value if own is not None and own.value > 0 else None


def _at(past: Course, done: float, quantity: str) -> float | None:
    """Use by then; linear between the points."""
    before = Point(past.first, 0.0, 0.0)
    for point in (*past.points, past.now):
        if point.done >= done:
            width = point.done - before.done
            part = 1.0 if width <= 0 else (done - before.done) / width
            low, high = getattr(before, quantity), getattr(point, quantity)
            return float(low + part * (high - low))
        before = point
    return None
