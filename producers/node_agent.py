"""The node agent's main: `python -m producers.node_agent`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from producers.agent import serve
from producers.local_stack import producer_settings
from schemas.errors import PipelineError


def main() -> int:
    """0 after a signal, 1 where the agent cannot begin."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        serve(producer_settings(), stop)
    except PipelineError as error:
        sys.stderr.write(f"node agent: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
