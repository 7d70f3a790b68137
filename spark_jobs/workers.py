"""Where Spark's Python workers are forked from: what every task needs is done here once, before the fork.

Spark runs this module in place of `pyspark.daemon` (setting `spark.python.daemon.module`).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder


def without_archives(path: Sequence[str]) -> list[str]:
    """The import path without Spark's archives, if what they hold is installed beside them.

    Spark puts its jar and its own copies of pyspark and py4j on the path of its workers. At the start of each
    task Python reads the directory of every archive there again, which takes a tenth of a second of CPU time.
    """
    jars = [entry for entry in path if entry.endswith(".jar")]
    archives = [entry for entry in path if entry.endswith((".jar", ".zip"))]
    rest = [entry for entry in path if entry not in archives]
    installed = all(PathFinder.find_spec(name, rest) for name in ("pyspark", "py4j"))
    return rest if installed else [entry for entry in path if entry not in jars]


def prepare() -> None:
    """Log as the driver does, import what the tasks use, and freeze it: after each task a worker collects garbage."""
    sys.path[:] = without_archives(sys.path)
    sys.path_importer_cache.clear()
    import pyarrow as pa

    import spark_jobs.verdict  # noqa: F401 - imported for the workers
    from conf import logs

    logs.begin("WARNING")
    pa.array([None], pa.float64())  # the first array imports pandas
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    prepare()
    from pyspark.daemon import manager

    manager()  # type: ignore[no-untyped-call]  # pyspark has no types here
