"""One service under supervision: started, seen to be ready, started again when it dies, given up at last."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from joulestream.local.process import Running, Service, last_words, start
from joulestream.local.state import ServiceState
from joulestream.local.watchdog import Watchdog
from schemas.errors import PipelineError

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
GIVE_UP_AFTER = 6
WITHIN_S = 300.0

Say = Callable[[str], None]


@dataclass
class Backoff:
    """Pauses before the next start: 1, 2, 4 … 30 s; None after `GIVE_UP_AFTER` deaths within `WITHIN_S`."""

    def __post_init__(self) -> None:
        self._deaths: deque[float] = deque()

    def pause_s(self, now_s: float) -> float | None:
        """Count a death at `now_s` (monotonic seconds); returns how long to wait."""
        self._deaths.append(now_s)
        while self._deaths[0] < now_s - WITHIN_S:
            self._deaths.popleft()
        if len(self._deaths) >= GIVE_UP_AFTER:
            return None
        return min(FIRST_PAUSE_S * 2.0 ** (len(self._deaths) - 1), LONGEST_PAUSE_S)


class Managed:
    """A service and what became of it. `tick` is called over and over; it never waits for long."""

    def __init__(self, service: Service, watchdog: Watchdog, say: Say) -> None:
        self.service = service
        self.state = "stopped"
        self.restarts = 0
        self.running: Running | None = None
        self._watchdog = watchdog
        self._say = say
        self._backoff = Backoff()
        self._next_start_s = 0.0
        self._ready_by_s = 0.0
        self._started_at: str | None = None

    @property
    def name(self) -> str:
        return self.service.name

    def start(self, now_s: float) -> None:
        """Start the process. Raises PipelineError if that cannot be done."""
        self.running = start(self.service, self._watchdog)
        self.state = "starting"
        self._ready_by_s = now_s + self.service.ready_timeout_s
        self._started_at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def tick(self, now_s: float) -> bool:
        """Look after the service; True if its state changed."""
        before = (self.state, self.running)
        if self.state == "waiting" and now_s >= self._next_start_s:
            self._start_again(now_s)
        elif self.state in ("starting", "running"):
            self._look(now_s)
        return before != (self.state, self.running)

    def stop(self) -> None:
        """End it. The line says so only if it had to be killed."""
        if self.running is not None and self.state != "stopped":
            if self.running.exit_code is None and not self.running.stop():
                took = self.service.stop_timeout_s
                self._say(f"{self.name:<10} did not end within {took:.0f} s and was killed")
            self._watchdog.forget(self.name)
        if self.state not in ("failed", "finished"):
            self.state = "stopped"

    def snapshot(self) -> ServiceState:
        """What is written into state.json."""
        running = self.running if self.state in ("starting", "running") else None
        return ServiceState(
            state=self.state,
            log=str(self.service.log),
            pid=running.pid if running else None,
            create_time=running.create_time if running else None,
            port=self.service.port,
            started_at=self._started_at,
            restarts=self.restarts,
        )

    def _look(self, now_s: float) -> None:
        if self.running is None:
            return
        code = self.running.exit_code
        if code is not None:
            self._ended(code, now_s)
        elif self.state == "starting":
            waiting = self.service.ready()
            if waiting is None:
                self.state = "running"
                if self.restarts:
                    self._say(f"{self.name:<10} runs again (pid {self.running.pid})")
            elif now_s > self._ready_by_s:
                self._say(f"{self.name:<10} is not ready in time (waits for {waiting}); ending it")
                self.running.stop()
                self._died(f"was not ready after {self.service.ready_timeout_s:.0f} s", now_s)

    def _ended(self, code: int, now_s: float) -> None:
        if self.running is not None:
            self.running.stop()  # what it leaves behind of its group
        self._watchdog.forget(self.name)
        if not self.service.restart:
            self.state = "finished" if code == 0 else "failed"
            end = "finished" if code == 0 else f"failed with exit code {code}{last_words(self.service.log)}"
            self._say(f"{self.name:<10} {end}")
        else:
            self._died(f"ended with exit code {code}", now_s)

    def _died(self, how: str, now_s: float) -> None:
        pause_s = self._backoff.pause_s(now_s)
        if pause_s is None:
            self.state = "failed"
            self._say(
                f"{self.name:<10} {how}, {GIVE_UP_AFTER} times within {WITHIN_S / 60:.0f} minutes: given up. "
                f"Look at `./joule logs {self.name}` and `./joule doctor`, then run `./joule down` and "
                f"`./joule up`"
                f"{last_words(self.service.log)}"
            )
            return
        self.state = "waiting"
        self._next_start_s = now_s + pause_s
        self._say(f"{self.name:<10} {how}; starting it again in {pause_s:.0f} s (./joule logs {self.name})")

    def _start_again(self, now_s: float) -> None:
        self.restarts += 1
        try:
            self.start(now_s)
        except PipelineError as error:
            self._died(f"could not be started ({error})", now_s)
