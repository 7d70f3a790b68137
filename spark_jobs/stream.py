"""The streaming job: `python -m spark_jobs.stream`, or `spark-submit spark_jobs/stream.py`.

Exit code 0 after a stop that was asked for, 1 where a query died or the settings are wrong.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event

if __package__ in (None, ""):  # under spark-submit the folder of this file is on the path, not the project
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conf import logs
from conf.settings import load_settings
from schemas.errors import PipelineError
from spark_jobs.job import run_job

log = logging.getLogger("spark_jobs.stream")


def main(argv: Sequence[str] | None = None) -> int:
    """Load settings, wire, run, exit code."""
    logs.begin()
    asked, stop = Event(), Event()  # the job sets `stop` at any end of its own, too

    def ask(*_: object) -> None:
        asked.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    try:
        settings = load_settings()
        logs.configure(settings)
        run_job(settings, stop)
    except PipelineError as error:
        if asked.is_set():
            log.info("stopped: %s", error)
            return 0
        log.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would hide it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
