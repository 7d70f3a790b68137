"""Ends the services when whoever started them is gone, however it went (`kill -9` included).

The watchdog is a process in a session of its own that reads a pipe whose other end only the starter
holds. The kernel closes that end when the starter dies, on Linux and macOS alike; the watchdog then
ends, latest first, what it was told of. It needs the standard library alone, so it stays small.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "joulestream.local.watchdog"]


class Watchdog:
    """The starter's end of the pipe."""

    def __init__(self) -> None:
        self._watched: dict[str, tuple[int, float, float]] = {}
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(COMMAND, stdin=subprocess.PIPE, start_new_session=True, cwd=ROOT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, name: str, pid: int, create_time: float, stop_timeout_s: float) -> None:
        """From now on `pid` does not outlive us. A later start of the same name replaces it."""
        self._watched.pop(name, None)
        self._watched[name] = (pid, create_time, stop_timeout_s)
        self._tell()

    def forget(self, name: str) -> None:
        """The service has ended by our own hand."""
        if self._watched.pop(name, None):
            self._tell()

    def _tell(self) -> None:
        line = json.dumps(list(self._watched.values())).encode() + b"\n"
        if self._process.poll() is not None:
            self.close()
            self._process = self._start()
        pipe: IO[bytes] | None = self._process.stdin
        if pipe is not None:
            with suppress(BrokenPipeError):  # it has just died; the next word finds that out
                pipe.write(line)
                pipe.flush()

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it end: what is still watched is ended now."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Wait for the end of the pipe, then end what was named last on it."""
    watched: list[list[float]] = []
    for line in sys.stdin.buffer:
        with suppress(ValueError):
            watched = json.loads(line)
    from joulestream.local.process import end_group, is_alive

    for pid, create_time, stop_timeout_s in reversed(watched):
        if is_alive(int(pid), create_time):
            end_group(int(pid), stop_timeout_s)


if __name__ == "__main__":
    main()
