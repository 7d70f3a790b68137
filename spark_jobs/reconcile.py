"""The reconciliation: every document against the ledger, as a Spark batch job beside the stream.

`python -m spark_jobs.reconcile [--repair]` prints one JSON object. It compares at a cut and only documents that
hold nothing newer, so it is right while data flows. With `--repair` it asks for what differs to be set right:
the stream does so between two batches; where no stream runs, this process takes the lease and does it itself.

Exit code: 0 nothing differs (any more), 1 an error, 4 documents differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event

if __package__ in (None, ""):  # under spark-submit the folder of this file is on the path, not the project
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conf import logs
from conf.settings import load_settings
from schemas.errors import PipelineError
from spark_jobs.comparison import reconcile
from spark_jobs.session import spark_session
from spark_jobs.store import Address, connect, server_errors

DIFFER = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Load settings, wire, run, exit code."""
    logs.begin("WARNING")
    parser = argparse.ArgumentParser(prog="spark_jobs.reconcile", description=__doc__)
    parser.add_argument("--repair", action="store_true", help="set right what differs")
    wanted = parser.parse_args(argv)
    try:
        settings = load_settings()
        logs.configure(settings, "WARNING")
        db = connect(Address.of(settings))
        with closing(db.client), server_errors("the document store", settings.mongodb):
            db.command("ping")  # asked before Spark is, which takes a while to start
            spark = spark_session("joulestream-reconcile", settings)
            found = reconcile(spark, settings, db, wanted.repair, Event())
    except PipelineError as error:
        logs.fail("reconcile", error)
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return DIFFER if any(entry["left"] for entry in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
