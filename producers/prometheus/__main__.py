"""Main of the reading of Kepler and DCGM: `python -m producers.prometheus`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from producers.local_stack import producer_settings
from producers.prometheus.serving import serve
from schemas.errors import PipelineError


def main() -> int:
    """0 after a signal, 1 where it cannot go on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        serve(producer_settings(), stop)
    except PipelineError as error:
        sys.stderr.write(f"prometheus: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
