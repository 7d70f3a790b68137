"""The exporter's main: `python -m joulestream.exporter`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys

from conf.mains import run_until_signal
from conf.settings import load_settings
from joulestream.exporter.service import serve


def main() -> int:
    """0 after a signal, 1 where the exporter cannot begin."""
    return run_until_signal("exporter", load_settings, serve)


if __name__ == "__main__":
    sys.exit(main())
