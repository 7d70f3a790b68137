"""Main of the reading of Kepler and DCGM: `python -m producers.prometheus`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from conf import logs
from producers.local_stack import producer_settings
from producers.prometheus.serving import serve
from schemas.errors import PipelineError


def main() -> int:
    """0 after a signal, 1 where it cannot go on."""
    logs.begin()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = producer_settings()
        logs.configure(settings)
        serve(settings, stop)
    except PipelineError as error:
        logs.fail("prometheus ingest", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
