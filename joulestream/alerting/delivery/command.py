"""Alerts as a program of the user's, with the alert as JSON on its standard input. No shell is involved."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from conf.settings import secret_variables
from joulestream.alerting.delivery import as_json, status_of
from schemas.errors import PipelineError, RetryableError

POLL_S = 0.05
LAST_WORDS = 200
# Passwords that the service was given and the program has no need of, and the files that hold them.
SECRETS = frozenset(secret_variables())


class Command:
    """Runs a program for each alert; exit code 0 is success. Raises PipelineError on a line that is none."""

    def __init__(self, line: str, timeout_s: float, stop: threading.Event | None = None) -> None:
        try:
            self._argv = shlex.split(line)
        except ValueError as error:
            raise PipelineError(f"alerts.command cannot be read ({error}); correct its quotes") from None
        if not self._argv:
            raise PipelineError("alerts.command is empty; name a program, or unset it")
        self._timeout_s = timeout_s
        self._stop = stop or threading.Event()

    def deliver(self, alert: Mapping[str, Any], key: str) -> None:
        """Run the program. It sees the delivery's key in JOULE_DELIVERY_KEY and what is told in JOULE_ALERT_STATUS."""
        env = {name: value for name, value in os.environ.items() if name not in SECRETS}
        env |= {"JOULE_DELIVERY_KEY": key, "JOULE_ALERT_STATUS": status_of(alert)}
        # Files and not pipes: neither a program that reads nothing nor one that says much can block us.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(as_json(alert))
            given.seek(0)
            try:
                process = subprocess.Popen(
                    self._argv,
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env=env,
                    start_new_session=True,
                )
            except OSError as error:
                raise PipelineError(
                    f"the command cannot be started ({error.strerror}); correct alerts.command"
                ) from None
            code = self._wait(process)
            if code != 0:
                raise RetryableError(f"the command ends with exit code {code}{_last_words(said)}")

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code. Past its time, or when we stop, its whole group is ended."""
        until_s = time.monotonic() + self._timeout_s
        while time.monotonic() < until_s and not self._stop.is_set():
            with suppress(subprocess.TimeoutExpired):
                return process.wait(POLL_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._stop.is_set():
            raise RetryableError("the alerts process stopped before the command ended")
        raise RetryableError(f"the command did not end within {self._timeout_s:g} s and was killed")


def _last_words(said: IO[bytes]) -> str:
    end = said.seek(0, os.SEEK_END)
    said.seek(max(0, end - LAST_WORDS))
    text = " ".join(said.read().decode("utf-8", "replace").split())
    return f": {text}" if text else ""
