"""How a run ends that nobody closes: SIGTERM, the interpreter's exit, an exception nobody caught."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

COMPLETED, FAILED, STOPPED = "completed", "failed", "stopped"


class RunStopped(BaseException):
    """Raised by `log` in a run that was asked to stop and that obeys (`on_budget="stop"`).

    No `Exception`, as `asyncio.CancelledError` is none: a loop's `except Exception` must not swallow it. The
    run's `with` block ends on it and the script goes on behind the block.
    """

    def __init__(self, run_id: str, reason: str | None) -> None:
        super().__init__(f"run {run_id} was asked to stop" + (f": {reason}" if reason else ""))
        self.run_id = run_id
        self.reason = reason


def status_of(error: BaseException | None, *, asked_to_stop: bool) -> str:
    """The status of a run that ended with this exception, or without one."""
    if asked_to_stop or isinstance(error, (KeyboardInterrupt, GeneratorExit, RunStopped)):
        return STOPPED
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return COMPLETED
    return FAILED


class ExitHooks:
    """Calls `finish(status)` where the process ends first. SIGTERM keeps the effect that it had.

    Where the program handles SIGTERM itself, it decides when to end: then only `asked_to_stop` is noted.
    Forked children inherit the hooks but never act on them.
    """

    def __init__(self, finish: Callable[[str], None]) -> None:
        self._finish = finish
        self._pid = os.getpid()
        self._active = True
        self._previous: Callable[[int, FrameType | None], object] | int | None = None
        self._error_before = _uncaught()
        self.asked_to_stop = False

    def install(self) -> None:
        """Hook into exit, and in the main thread into SIGTERM."""
        atexit.register(self._at_exit)
        if threading.current_thread() is not threading.main_thread():
            return
        self._previous = signal.getsignal(signal.SIGTERM)
        if self._previous is not None and self._previous != signal.SIG_IGN:
            signal.signal(signal.SIGTERM, self._on_term)

    def renew(self) -> None:
        """Run before whatever registered itself for exit since: a Kafka producer closes itself there."""
        if self._active and os.getpid() == self._pid:
            atexit.unregister(self._at_exit)
            atexit.register(self._at_exit)

    def remove(self) -> None:
        """The run is closed. A later handler that calls ours finds it passing the signal on."""
        self._active = False
        atexit.unregister(self._at_exit)
        main = threading.current_thread() is threading.main_thread()
        if main and self._previous is not None and signal.getsignal(signal.SIGTERM) == self._on_term:
            signal.signal(signal.SIGTERM, self._previous)

    def _at_exit(self) -> None:
        if self._active and os.getpid() == self._pid:
            error = _uncaught()
            fresh = error if error is not self._error_before else None
            self._finish(status_of(fresh, asked_to_stop=self.asked_to_stop))

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        own = self._active and os.getpid() == self._pid
        previous = self._previous
        if callable(previous):
            self.asked_to_stop = self.asked_to_stop or own
            previous(signum, frame)
            return
        if own:
            self._finish(STOPPED)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


def _uncaught() -> BaseException | None:
    """The exception that the interpreter last showed as uncaught."""
    error = getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None


class Shield:
    """Errors inside end here: logged once with their traceback, never raised into the training loop."""

    def __init__(self, log: Callable[[str, BaseException], None]) -> None:
        self._log = log
        self._told = False

    def __enter__(self) -> Shield:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False  # KeyboardInterrupt and SystemExit are the user's
        if not self._told:
            self._told = True
            self._log("joulestream: the tracker failed; the training goes on (said once)", error)
        return True
