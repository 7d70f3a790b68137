"""The thread beside the training: looks at the meters, divides energy among events, hands them to the sink.

The training loop only puts a mark into a queue (whose `put` is reentrant, so a signal handler may call it
too).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from conf.logs import inherit
from producers.attribution import Charge
from producers.events import EventBuilder
from producers.exits import Shield
from producers.ports import Clock, EventSink, Instant, instant
from producers.run_meter import Interval, RunMeter, State
from producers.timeline import Portion, Timeline
from schemas.topics import TRAINING_EVENTS

MIN_GAP_S = 0.1
MAX_COST = 0.01  # looks may cost this share of one core at most


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that becomes an event: what `log` was given, or with `status` the end of the run."""

    at: Instant
    progress: Mapping[str, Any]
    extra: Mapping[str, Any]
    status: str | None = None


class Recorder:
    """Records one run. `interval_s` is the longest time between events, `sample_s` between looks."""

    def __init__(
        self,
        meter: RunMeter,
        builder: EventBuilder,
        sink: EventSink,
        clock: Clock,
        interval_s: float,
        sample_s: float,
        shield: Shield,
    ) -> None:
        self._shield = shield
        self._meter, self._builder, self._sink, self._clock = meter, builder, sink, clock
        self._interval_s, self._sample_s = interval_s, min(sample_s, interval_s)
        self._marks: queue.SimpleQueue[Mark] = queue.SimpleQueue()
        self._timeline = Timeline()
        self._look_cost_s = 0.0
        self._last_look_s = self._last_event_s = 0.0
        self._thread = threading.Thread(target=inherit(self._run), name="joulestream-recorder", daemon=True)

    def start(self) -> None:
        """Take the base line, send `run_started`, and begin."""
        at = instant(self._clock)
        self._meter.look(at)
        self._last_look_s = self._last_event_s = at.monotonic_s
        self._send(self._builder.started(at))
        self._thread.start()

    def mark(self, progress: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        """Something to send with the energy up to now. Returns at once."""
        self._marks.put(Mark(instant(self._clock), progress, extra))

    def finish(self, status: str, timeout_s: float, extra: Mapping[str, Any]) -> bool:
        """Send `run_finished` with the energy up to now; False where the thread did not end in time."""
        self._marks.put(Mark(instant(self._clock), {}, extra, status))
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        ended = False
        try:
            while not ended:
                ended = self._turn(self._collect())
        finally:
            self._meter.close()

    def _collect(self) -> list[Mark]:
        """Marks to send now.

        Waits for the next look's time, or for marks and a decent gap since the last look.
        """
        marks: list[Mark] = []
        gap_s = max(MIN_GAP_S, self._look_cost_s / MAX_COST)
        due_s = self._last_look_s + max(self._sample_s, gap_s)
        while not (marks and marks[-1].status):
            left_s = due_s - self._clock.monotonic()
            if left_s <= 0 and self._marks.empty():
                break
            try:
                marks.append(self._marks.get(timeout=max(0.0, left_s)))
            except queue.Empty:
                break
            due_s = min(due_s, self._last_look_s + gap_s)
        return marks

    def _turn(self, marks: list[Mark]) -> bool:
        """Look once, send what is due; True after the end of the run."""
        # A mark that came while the last look was taken counts from then on.
        ended = bool(marks and marks[-1].status)
        if ended:
            # Counters tick in milliseconds: energy over less than a decent gap is not a power.
            time.sleep(max(0.0, self._last_look_s + MIN_GAP_S - self._clock.monotonic()))
        at = instant(self._clock)
        if ended:
            marks[-1] = replace(marks[-1], at=at)
        interval = self._look(at)
        cursor_s = interval.from_s
        for mark in marks:
            until_s = min(max(mark.at.monotonic_s, cursor_s), interval.to_s)
            self._timeline.add(interval, cursor_s, until_s)
            cursor_s = until_s
            self._emit(mark, interval)
        self._timeline.add(interval, cursor_s, interval.to_s)
        if not ended and interval.to_s - self._last_event_s >= self._interval_s - self._sample_s / 2:
            self._emit(Mark(at, {}, {}), interval)
        return ended

    def _look(self, at: Instant) -> Interval:
        began_s = time.thread_time()
        interval = Interval(self._last_look_s, at.monotonic_s, Charge(), (), State())
        with self._shield:
            interval = self._meter.look(at)
        self._look_cost_s = time.thread_time() - began_s
        self._last_look_s = at.monotonic_s
        return interval

    def _emit(self, mark: Mark, interval: Interval) -> None:
        portion = self._timeline.take()
        self._last_event_s = mark.at.monotonic_s
        with self._shield:
            self._send_event(mark, interval, portion)

    def _send_event(self, mark: Mark, interval: Interval, portion: Portion) -> None:
        if mark.status is None:
            value = self._builder.metric(mark.at, portion, interval.state, mark.progress, mark.extra)
        else:
            lost = {"spool_dropped_events": self._sink.dropped} if self._sink.dropped else {}
            extra = {**mark.extra, **lost}
            value = self._builder.finished(mark.at, portion, interval.state, mark.status, extra)
        self._send(value)

    def _send(self, value: bytes) -> None:
        self._sink.send(TRAINING_EVENTS, self._builder.run_id, value)
