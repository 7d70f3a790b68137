"""The main of a process that works until it is asked to stop: signals, logs, settings, exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from conf import logs
from conf.settings import Settings
from schemas.errors import PipelineError


def run_until_signal(
    name: str, load: Callable[[], Settings], serve: Callable[[Settings, threading.Event], object]
) -> int:
    """Serve until SIGTERM or Ctrl-C: 0 after a signal, 1 where the process cannot begin or go on.

    `name` is what the one line of the log says of it where `load` or `serve` raises PipelineError.
    """
    logs.begin()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load()
        logs.configure(settings)
        serve(settings, stop)
    except PipelineError as error:
        logs.fail(name, error)
        return 1
    return 0
