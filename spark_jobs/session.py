"""The Spark session of the jobs: everything that Spark is told, in one place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from conf.settings import Settings
from schemas.errors import PipelineError

ROOT = Path(__file__).resolve().parent.parent
ARROW_ROWS = 2000  # times 1 MiB bounds a worker's memory, also for the largest messages


def spark_session(name: str, settings: Settings) -> SparkSession:
    """A session with the pinned jars, UTC, and workers that find this project.

    What is given to `spark-submit` stands. Raises PipelineError where the jars are missing.
    """
    _let_workers_import()
    builder = SparkSession.builder.appName(name)
    submitted = "SPARK_ENV_LOADED" in os.environ or "SPARK_SUBMIT_OPTS" in os.environ
    if not submitted:
        builder = (
            builder.master(master_of(settings))
            .config("spark.driver.memory", settings.stream.driver_memory)
            .config("spark.jars", ",".join(_jars(settings.spark_jars_dir)))
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.ui.enabled", "false")
            # Most of the work is the store's and Python's: compiling Spark's own code further costs more
            # than it saves, half of all the driver's time. A collector with threads of its own wants more cores.
            .config("spark.driver.extraJavaOptions", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
            # Where Spark's workers find the project on their path before they start: not with --py-files.
            .config("spark.python.daemon.module", "spark_jobs.workers")
        )
    for key, value in options_of(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def master_of(settings: Settings) -> str:
    """Spark's master; `local[*]` is a thread per core, and one per partition: tasks mostly wait for the store."""
    master = settings.stream.master
    if master != "local[*]":
        return master
    return f"local[{max(os.cpu_count() or 1, settings.kafka.partitions + 1)}]"


def options_of(settings: Settings) -> dict[str, str]:
    """Spark's options besides those that only a session of ours gets."""
    return {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.stream.shuffle_partitions),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(ARROW_ROWS),
        "spark.sql.streaming.metricsEnabled": "true",
        "spark.sql.streaming.stopTimeout": "30s",
        # The stream keeps few batches of state and offsets: it never goes back further than one.
        "spark.sql.streaming.minBatchesToRetain": "10",
        "spark.python.worker.reuse": "true",
        # One task per Kafka partition, in order of offset; a second copy of a task would only waste work.
        "spark.speculation": "false",
        "spark.task.maxFailures": "4",
        "spark.executorEnv.PYTHONPATH": os.environ["PYTHONPATH"],
        "spark.log.level": "WARN",
        **(_LOCAL_CHECKPOINTS if is_local(settings.checkpoint_root) else {}),
    }


# Without its native library, Hadoop starts five processes (chmod, readlink) for every file of a checkpoint, twenty a
# batch, which takes longer than the batch's own work. Plain files need none of them; a rename is as atomic.
_LOCAL_CHECKPOINTS = {
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.FileSystemBasedCheckpointFileManager"
    ),
}


def is_local(place: str) -> bool:
    """Whether a folder or URI lies on this machine's own file system."""
    return "://" not in place or place.startswith("file://")


def _let_workers_import() -> None:
    os.environ["PYSPARK_PYTHON"] = os.environ.get("PYSPARK_PYTHON", sys.executable)
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


def _jars(folder: Path) -> list[str]:
    jars = sorted(str(jar) for jar in folder.glob("*.jar"))
    if not any("spark-sql-kafka" in jar for jar in jars):
        raise PipelineError(
            f"{folder} holds no spark-sql-kafka jar; run `./joule up` once (it fetches the "
            "pinned jars), or set JOULE_STREAM_JARS_DIR"
        )
    return jars
