"""The exporter's main: `python -m joulestream.exporter`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from conf import logs
from conf.settings import load_settings
from joulestream.exporter.service import serve
from schemas.errors import PipelineError


def main() -> int:
    """0 after a signal, 1 where the exporter cannot begin."""
    logs.begin()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        logs.configure(settings)
        serve(settings, stop)
    except PipelineError as error:
        logs.fail("exporter", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
