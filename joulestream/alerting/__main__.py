"""The alerts process's main: `python -m joulestream.alerting`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys

from joulestream.alerting.service import main

sys.exit(main())
