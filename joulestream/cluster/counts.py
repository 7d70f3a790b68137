"""How many documents the main collections hold: `python -m joulestream.cluster.counts`, in any pod that may read.

Exit code: 0 said, 1 the document store is away or does not let us in.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from conf.settings import load_settings
from schemas import documents
from schemas.errors import PipelineError
from spark_jobs.store import Address, connect, server_errors

COLLECTIONS = (documents.TRAINING_METRICS, documents.RUN_SUMMARY, documents.WINDOWS)


def counts(db: Any) -> Mapping[str, int]:
    """Documents by collection. Raises PyMongoError."""
    return {name: db[name].count_documents({}) for name in COLLECTIONS}


def main() -> int:
    """One line a collection."""
    try:
        mongodb = load_settings().mongodb
        db = connect(Address(mongodb))
        with db.client, server_errors("the document store", mongodb):
            found = counts(db)
    except PipelineError as error:
        sys.stderr.write(f"counts: {error}\n")
        return 1
    for name, count in found.items():
        sys.stdout.write(f"{name:<24}{count:>10,}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
