"""Looks at the parts: each in a thread of its own, not more often than it may, and none waited for without end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from joulestream.exporter.samples import Sample
from schemas.errors import PipelineError

log = logging.getLogger(__name__)

# A look that takes long is taken less often: at most so much of the time is spent looking.
MOST_OF_THE_TIME = 1 / 20
# While a look takes longer than a scrape waits, the last one stands for its period and so much more (s).
OUTDATED_S = 60.0

Read = Callable[[], Sequence[Sample]]


@dataclass(slots=True)
class Part:
    """One thing that is looked at. `read` raises what it will; then there is nothing to show."""

    name: str
    read: Read
    every_s: float
    clock: Callable[[], float] = time.monotonic
    n_errors: int = 0
    took_s: float | None = None
    problem: str | None = None
    _samples: Sequence[Sample] | None = None
    _read_at: float = 0.0
    _began_at: float | None = None
    _running: threading.Event | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> threading.Event | None:
        """Start a look where one is due; the event is set at the end of the one under way, None without one."""
        with self._lock:
            if self._running is None and self._is_due():
                self._running = threading.Event()
                self._began_at = self.clock()
                threading.Thread(
                    target=self._look, args=(self._running,), name=f"look-{self.name}", daemon=True
                ).start()
            return self._running

    def shown(self) -> Sequence[Sample] | None:
        """What the latest look found; None where it failed, or is outdated."""
        with self._lock:
            if self._samples is None or self.age_s > self._period_s() + OUTDATED_S:
                return None
            return self._samples

    @property
    def age_s(self) -> float:
        """Time since the latest look that succeeded."""
        return self.clock() - self._read_at

    def _is_due(self) -> bool:
        return self._began_at is None or self.clock() - self._began_at >= self._period_s()

    def _period_s(self) -> float:
        return max(self.every_s, (self.took_s or 0.0) / MOST_OF_THE_TIME)

    def _look(self, done: threading.Event) -> None:
        began = self.clock()
        samples: Sequence[Sample] | None = None
        problem: str | None = None
        try:
            samples = self.read()
        except Exception as error:  # noqa: BLE001 - whatever it was, the part is not shown, and the log says why
            problem = (
                str(error)
                if isinstance(error, PipelineError)
                else f"{type(error).__name__}: {str(error)[:300]}"
            )
        with self._lock:
            self._say(problem)
            self.n_errors += problem is not None
            # One that failed is tried again at the next occasion, however long it took.
            self.took_s = self.clock() - began if problem is None else None
            self.problem, self._samples, self._read_at = problem, samples, self.clock()
            self._running = None
        done.set()

    def _say(self, problem: str | None) -> None:
        """One line per change."""
        if problem is not None and problem != self.problem:
            log.warning("%s cannot be shown: %s", self.name, problem)
        elif problem is None and self.problem is not None:
            log.warning("%s can be shown again", self.name)


def look(parts: Sequence[Part], patience_s: float) -> None:
    """Look at what is due; those that take longer than `patience_s` go on meanwhile."""
    until = time.monotonic() + patience_s
    for done in [part.begin() for part in parts]:
        if done is not None:
            done.wait(max(0.0, until - time.monotonic()))
