"""Services as processes: what to start, how to see that it is ready, how to end all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from joulestream.local.watchdog import Watchdog
from schemas.errors import PipelineError

# A service is started here, so that no `conf.py` of the caller's folder stands before the project's `conf`.
ROOT = Path(__file__).resolve().parents[2]
ROTATE_BYTES = 8 * 2**20
POLL_S = 0.2


@dataclass(frozen=True)
class Service:
    """One process of the stack.

    `ready` returns None when the service can be used, else what it still waits for; it may be slow,
    but must not raise. `prepare` runs before each start. Times are in seconds.
    """

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], str | None]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    port: int | None = None
    prepare: Callable[[], None] = lambda: None
    ready_timeout_s: float = 90.0
    stop_timeout_s: float = 20.0
    restart: bool = True


class Running:
    """A started service; ended by its own pid, with all that it started."""

    def __init__(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        self.service = service
        self.process = process
        self.pid = process.pid
        self.create_time = psutil.Process(process.pid).create_time()

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def wait_ready(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Return when the service can be used. Raises PipelineError with its last words if it never can."""
        deadline = time.monotonic() + self.service.ready_timeout_s
        waiting: str | None = "its start"
        while waiting is not None and not stop():
            if self.exit_code is not None:
                raise PipelineError(
                    f"{self.service.name} ended with exit code {self.exit_code} before it was ready"
                    f"{last_words(self.service.log)}"
                )
            waiting = self.service.ready()
            if waiting is not None and time.monotonic() > deadline:
                raise PipelineError(
                    f"{self.service.name} is not ready after {self.service.ready_timeout_s:.0f} s: "
                    f"waiting for {waiting}{last_words(self.service.log)}"
                )
            if waiting is not None:
                time.sleep(POLL_S)

    def stop(self) -> bool:
        """End it and its children; True if it went by itself within its time."""
        return end_group(self.pid, self.service.stop_timeout_s, self.process)


def start(service: Service, watchdog: Watchdog | None = None) -> Running:
    """Start a service in a process group of its own, its output in its log."""
    service.prepare()
    service.log.parent.mkdir(parents=True, exist_ok=True)
    _rotate(service.log)
    with service.log.open("ab") as log:
        try:
            process = subprocess.Popen(
                list(service.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **service.env},
                cwd=service.cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise PipelineError(f"{service.name} cannot be started: {error}") from error
    running = Running(service, process)
    if watchdog is not None:
        watchdog.watch(service.name, running.pid, running.create_time, service.stop_timeout_s)
    return running


@contextmanager
def running(*services: Service) -> Iterator[list[Running]]:
    """Services started one after the other and ready; ended in reverse, however this process ends."""
    started: list[Running] = []
    with Watchdog() as watchdog:
        try:
            for service in services:
                started.append(start(service, watchdog))
                started[-1].wait_ready()
            yield started
        finally:
            for one in reversed(started):
                one.stop()


def end_group(pid: int, timeout_s: float, process: subprocess.Popen[bytes] | None = None) -> bool:
    """SIGTERM to the leader, SIGKILL to what is left of its group after `timeout_s`; True if not needed.

    Only the leader is asked: it ends its children in the order that they need (Spark's driver its JVM).
    """
    family = _family(pid)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
    graceful = _gone(pid, timeout_s, process)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for member in family:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            member.kill()  # psutil looks at the creation time too, so a reused pid is safe
    psutil.wait_procs(family, timeout=5)
    if process is not None:
        process.wait()
    return graceful


def is_alive(pid: int, create_time: float) -> bool:
    """Whether this very process runs: a pid alone may have been given to another one since."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - create_time) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def last_words(log: Path, lines: int = 8) -> str:
    """The end of a log, as the tail of an error message."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    shown = "".join(f"\n    {line}" for line in text)
    return f"; its log {log} ends with:{shown}" if shown else f"; its log {log} is empty"


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _gone(pid: int, timeout_s: float, process: subprocess.Popen[bytes] | None) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process is not None:
            if process.poll() is not None:
                return True
        elif not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def _rotate(log: Path) -> None:
    with suppress(OSError):
        if log.stat().st_size > ROTATE_BYTES:
            log.replace(log.with_suffix(log.suffix + ".1"))
