"""Main of the reading of Kepler and DCGM: `python -m producers.prometheus`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys

from conf.mains import run_until_signal
from producers.local_stack import producer_settings
from producers.prometheus.serving import serve


def main() -> int:
    """0 after a signal, 1 where it cannot go on."""
    return run_until_signal("prometheus ingest", producer_settings, serve)


if __name__ == "__main__":
    sys.exit(main())
