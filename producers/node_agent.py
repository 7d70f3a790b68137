"""The node agent's main: `python -m producers.node_agent`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from conf import logs
from producers.agent import serve
from producers.local_stack import producer_settings
from schemas.errors import PipelineError


def main() -> int:
    """0 after a signal, 1 where the agent cannot begin."""
    logs.begin()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = producer_settings()
        logs.configure(settings)
        serve(settings, stop)
    except PipelineError as error:
        logs.fail("node agent", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
