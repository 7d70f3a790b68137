"""Where a run's epochs ended and what it had used by then: from first sights of epochs and the run's windows.

A batch may hold many epochs, when a topic is replayed, or a part of one. So the energy of an epoch is not what
the summary said at its first sight in a batch. The facets know the time of each epoch's first event
(`spark_jobs.marks`: a lattice, 0.05 us per event and 0.6 KiB per summary at most), the windows know the run's
energy per minute, and both are the same however the batches were cut. Within a window the energy is taken as
even between events. The alternatives cost more or know less: ranges of the ledger are scans on the embedded
server (seconds in a batch), sums per epoch in the receipts count twice when a topic is read again, and the
producers' running totals begin again with each restart and rank.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from schemas.units import MS_PER_S
from spark_jobs.forecast.runs.rates import Course, Point

# Before its first mark a run that reports epochs when they are done has spent this share of an epoch.
FULL_EPOCH = 0.3
# Event times are whole milliseconds and clocks are set: intervals that miss a window by less still fit.
SLACK_MS = 1000
# Steps and epochs that say different things by more than so many epochs are counted differently.
AGREE = 1.5


@dataclass(frozen=True, slots=True)
class Used:
    """A window of a run: its energy (kWh), how many events brought it, and the time (s) that they cover."""

    energy_kwh: float
    n_events: int
    covered_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Mark:
    """When an epoch was first seen, and what the run had used by then."""

    number: int
    at_ms: int
    energy_kwh: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a run's summary says of its progress. Times in ms since the epoch; None is not known."""

    started_ms: int
    last_ms: int
    energy_kwh: float
    n_events: int
    epoch: float | None = None
    epoch_at_ms: int | None = None
    total_epochs: float | None = None
    step: float | None = None
    total_steps: float | None = None
    ranks: int = 1


def marks_of(
    seen: Mapping[int, int],
    windows: Mapping[int, Used],
    window_ms: int,
    report: Report,
    known: Sequence[Mark] = (),
) -> list[Mark]:
    """Marks with their energies, ascending in number, time and energy.

    The energy is counted back from the run's total, so only windows from the mark's own on are needed; marks
    from before them are taken from `known`. An epoch that went back in time (a restart) has no mark.
    """
    starts = sorted(windows)
    after = _sums_after(starts, windows)
    spans = _spans(starts, windows, window_ms, report.last_ms)
    times = sorted(seen.values())
    held = {mark.number: mark for mark in known}
    found: list[Mark] = []
    for number, at_ms in sorted(seen.items()):
        start = at_ms - at_ms % window_ms
        if starts and start >= starts[0]:
            later = after[bisect_right(starts, start)]
            own = windows.get(start)
            missing = 0.0
            if own is not None:
                span = spans.get(start) or _likely_span(at_ms, own, window_ms, times, report)
                missing = own.energy_kwh * (1.0 - _share(at_ms, span))
            mark = Mark(number, at_ms, max(0.0, report.energy_kwh - later - missing))
        elif number in held:
            mark = held[number]
        else:
            continue
        if not found or (mark.at_ms >= found[-1].at_ms and mark.energy_kwh >= found[-1].energy_kwh):
            found.append(mark)
    return found


def _sums_after(starts: Sequence[int], windows: Mapping[int, Used]) -> list[float]:
    """At i: the energy of the windows from the i-th on; one entry more than there are windows."""
    sums = [0.0]
    for start in reversed(starts):
        sums.append(sums[-1] + windows[start].energy_kwh)
    return sums[::-1]


def _spans(
    starts: Sequence[int], windows: Mapping[int, Used], window_ms: int, last_ms: int
) -> dict[int, tuple[float, float]]:
    """Over which time (ms) the energy of each window was used: it ends with the window's last event.

    Counted back from the run's last event by the time that each window covers, for as long as that agrees with
    the windows' own times: a gap in the run, or events that do not say their interval, end it.
    """
    spans: dict[int, tuple[float, float]] = {}
    end = float(last_ms)
    for start in reversed(starts):
        covered_ms = windows[start].covered_s * MS_PER_S
        if covered_ms <= 0 or not start - SLACK_MS <= end < start + window_ms + SLACK_MS:
            break
        spans[start] = (end - covered_ms, end)
        end -= covered_ms
    return spans


def _likely_span(
    at_ms: int, own: Used, window_ms: int, times: Sequence[int], report: Report
) -> tuple[float, float]:
    """As `_spans`, where the time that the events cover is not known.

    Where only the marks have events, it ends with the last of them; where there are others too, the events
    are taken as evenly spread, each with the energy of the time before it.
    """
    start = at_ms - at_ms % window_ms
    inside = times[bisect_left(times, start) : bisect_left(times, start + window_ms)]
    others = own.n_events - (start <= report.started_ms)  # the start brings no energy
    if others <= len(inside) * report.ranks:
        before = bisect_left(times, start)
        return max(times[before - 1] if before else 0, report.started_ms), inside[-1]
    begin, end = max(start, report.started_ms), min(start + window_ms, report.last_ms)
    if begin == start:
        apart = (end - begin) / own.n_events
        return begin - apart / 2, end - apart / 2
    return begin, end


def _share(at_ms: int, span: tuple[float, float]) -> float:
    """Which part of a window's energy had come by an event's time: 0 to 1."""
    begin, end = span
    return 1.0 if end <= begin else min(1.0, max(0.0, (at_ms - begin) / (end - begin)))


def course_of(report: Report, marks: Sequence[Mark], steps: Sequence[Mark] = ()) -> Course:
    """The run's course: over its epochs, or over its steps where it has no epochs."""
    now = Point(0.0, _elapsed_s(report, report.last_ms), report.energy_kwh)
    if report.epoch is None and report.step is not None:
        return _over_steps(report, steps, now)
    total = report.total_epochs if report.total_epochs and report.total_epochs > 0 else None
    shift = _shift(report, marks)
    points = tuple(
        Point(mark.number + shift, _elapsed_s(report, mark.at_ms), mark.energy_kwh)
        for mark in marks
        if mark.number + shift > 0
    )
    if total is not None and points and shift == 1:
        # Counted from 0: the last of N is called N - 1.
        points = tuple(point for point in points if point.done <= total) or points
    first = _first(marks, shift)
    points = tuple(point for point in points if point.done > first)
    done = points[-1].done if points else first
    if report.epoch is not None and len(marks) > 1 and report.epoch < marks[-2].number:
        done = max(0.0, report.epoch + shift)  # it went back: so much is to be done again
    elif report.epoch is not None and shift == 0 and not report.epoch.is_integer():
        done = max(done, report.epoch)
    else:
        done = _by_steps(report, done, total)
    return Course("epochs", points, Point(done, now.elapsed_s, now.energy_kwh), total, first)


def _over_steps(report: Report, steps: Sequence[Mark], now: Point) -> Course:
    points = tuple(
        Point(float(mark.number), _elapsed_s(report, mark.at_ms), mark.energy_kwh)
        for mark in steps
        if mark.number > 0
    )
    total = report.total_steps if report.total_steps and report.total_steps > 0 else None
    return Course("steps", points, Point(report.step or 0.0, now.elapsed_s, now.energy_kwh), total)


def _elapsed_s(report: Report, at_ms: int) -> float:
    return max(0.0, (at_ms - report.started_ms) / MS_PER_S)


def _shift(report: Report, marks: Sequence[Mark]) -> int:
    """What to add to an epoch's number at its first sight to know how many were done by then.

    The contract's `epoch` is epochs done: 0. A client that names the epoch under way says 1 at once: -1; one
    that counts from 0 and reports at the end says 0 after the first: 1.
    """
    if not marks:
        return 0
    if report.epoch is not None and not report.epoch.is_integer():
        return 0
    first = marks[0]
    spent_ms = first.at_ms - report.started_ms
    if len(marks) > 1:
        typical = median((b.at_ms - a.at_ms) / (b.number - a.number) for a, b in pairwise(marks))
        at_end = spent_ms > FULL_EPOCH * typical
    else:
        # Only one number so far: said again later, it is the epoch under way.
        again_ms = (report.epoch_at_ms or first.at_ms) - first.at_ms
        at_end = spent_ms > 0 and again_ms <= spent_ms / 2
    if first.number == 0:
        return 1 if at_end else 0
    return 0 if at_end else -1


def _first(marks: Sequence[Mark], shift: int) -> float:
    """How much was done before this run began: more than 0 where it goes on from another's checkpoint."""
    if not marks or shift != 0 or marks[0].number <= 1:
        return float(max(0, marks[0].number + shift)) if marks and shift == -1 else 0.0
    if len(marks) == 1:
        return 0.0
    width = marks[1].number - marks[0].number
    return float(max(0, marks[0].number - width))


def _by_steps(report: Report, done: float, total: float | None) -> float:
    """How many epochs are done by the steps, where they agree with the epochs; else what is known."""
    if total is None or report.step is None or not report.total_steps or report.total_steps <= 0:
        return done
    by_steps = total * min(1.0, report.step / report.total_steps)
    return by_steps if done <= by_steps <= done + AGREE else done
