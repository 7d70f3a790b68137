"""The node agent's main: `python -m producers.node_agent`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys

from conf.mains import run_until_signal
from producers.agent import serve
from producers.local_stack import producer_settings


def main() -> int:
    """0 after a signal, 1 where the agent cannot begin."""
    return run_until_signal("node agent", producer_settings, serve)


if __name__ == "__main__":
    sys.exit(main())
