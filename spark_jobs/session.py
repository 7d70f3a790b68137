"""The Spark session of the jobs: everything that Spark is told, in one place."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from conf.settings import Settings, env_name
from schemas.errors import PipelineError, RetryableError
from spark_jobs import object_store

ROOT = Path(__file__).resolve().parent.parent
KAFKA_READER = "org.apache.spark.sql.kafka010.KafkaSourceProvider"
# Nobody may give these another value: windows are in UTC, and one task alone judges a partition.
FIXED = ("spark.sql.session.timeZone", "spark.speculation")
ARROW_ROWS = 2000  # times 1 MiB bounds a worker's memory, also for the largest messages


def spark_session(name: str, settings: Settings, own: Mapping[str, str] | None = None) -> SparkSession:
    """A session with the pinned jars, UTC, and workers that find this project.

    What is given to `spark-submit` stands. `own` are options that a job of other work than the stream's wants in a
    session that nobody but us starts. Raises PipelineError where the jars are missing, RetryableError where Spark's
    master does not answer.
    """
    _require_user()
    submitted = is_submitted(os.environ)
    _let_workers_import(submitted)
    builder = SparkSession.builder.appName(name)
    options = {
        **options_of(settings),
        **(_cluster_options(settings) if submitted else {**_own_options(settings), **(own or {})}),
    }
    given = _given() if submitted else {}
    for key, value in options.items():
        if key not in given or key in FIXED:
            builder = builder.config(key, value)
    spark = _started(builder)
    if submitted:
        _require_kafka(spark)
    if object_store.is_s3(settings.checkpoint_root):
        _write_directly(spark)
    return spark


def _started(builder: SparkSession.Builder) -> SparkSession:
    """The session, or RetryableError with what Spark says first and what was behind it."""
    try:
        return builder.getOrCreate()
    except Py4JJavaError as error:
        first = cause = error.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        said = dict.fromkeys(str(one.toString()).splitlines()[0][:200] for one in (first, cause))
        raise RetryableError(
            f"Spark does not start ({'; '.join(said)}): its master must answer this process and let it in; Spark's "
            "own lines above say more. Nothing is lost: the stream goes on where it was"
        ) from None


def _require_user() -> None:
    """Raise PipelineError where this process's user has no name: Hadoop inside Spark ends without one."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise PipelineError(
            f"user {os.getuid()} has no entry in /etc/passwd, without which Spark does not start: run the container "
            "as user 185, or give it an /etc/passwd that has this one (docs/how-to/build-images.md)"
        ) from None


def is_submitted(environment: Mapping[str, str]) -> bool:
    """Whether Spark was started, or is to be started, with options of somebody else's.

    The first variable is set by `spark-submit` for the Python that it runs, on every master and in cluster mode;
    the second is read by pyspark when it starts Spark itself.
    """
    return "PYSPARK_GATEWAY_PORT" in environment or "PYSPARK_SUBMIT_ARGS" in environment


def _given() -> dict[str, str]:
    """The options with which Spark was started."""
    SparkContext._ensure_initialized()  # the JVM must be there to be asked
    return dict(SparkConf().getAll())


def _own_options(settings: Settings) -> dict[str, str]:
    """Options of a session that nobody but us starts: all of it on this machine."""
    return {
        "spark.master": master_of(settings),
        "spark.driver.memory": settings.stream.driver_memory,
        "spark.jars": ",".join([*_jars(settings.spark_jars_dir), *object_store.jars_of(settings)]),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        # Most of the work is the store's and Python's: compiling Spark's own code further costs more
        # than it saves, half of all the driver's time. A collector with threads of its own wants more cores.
        # Without the last tiers Java also makes the room for compiled code smaller (48 MiB instead of 240): a job of
        # two queries fills that within minutes, and then Java compiles nothing any more.
        "spark.driver.extraJavaOptions": (
            "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
        ),
        # Where Spark's workers find the project on their path before they start: not with --py-files.
        "spark.python.daemon.module": "spark_jobs.workers",
    }


def _cluster_options(settings: Settings) -> dict[str, str]:
    """Options of a submitted session: what Spark's processes say to one another is for nobody else, given a secret.

    It goes to the JVM by pyspark's own connection, so it is in no process list. On Kubernetes Spark can make or read
    one itself (`spark.authenticate`, `spark.authenticate.secret.file`).
    """
    secret = settings.stream.auth_secret
    if secret is None:
        return {}
    return {
        "spark.authenticate": "true",
        "spark.authenticate.secret": secret.get_secret_value(),
        "spark.network.crypto.enabled": "true",
    }


def _require_kafka(spark: SparkSession) -> None:
    """Raise PipelineError where the submitted session cannot read Kafka: Spark itself would say so much later."""
    if not _has_class(spark, KAFKA_READER):
        raise PipelineError(
            "Spark has no Kafka reader: give spark-submit the pinned jars with --jars (docs/how-to/spark-submit.md)"
        )


def _has_class(spark: SparkSession, name: str) -> bool:
    """Whether the driver's JVM can load a class."""
    jvm = spark._jvm
    if jvm is None:  # Spark Connect has no JVM beside it; the jobs never run there
        return True
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(name)
    except Py4JJavaError:
        return False
    return True


def _write_directly(spark: SparkSession) -> None:
    """Have checkpoints written without renaming, unless Spark was told otherwise or has no class for it."""
    manager = object_store.MANAGER
    if spark.conf.get(manager, None) is None and _has_class(spark, object_store.DIRECT):
        spark.conf.set(manager, object_store.DIRECT)


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
        **({"spark.executorEnv.PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
        "spark.log.level": "WARN",
        # Python on the executors begins its logs by these (spark_jobs/workers.py).
        f"spark.executorEnv.{env_name('logs.format')}": settings.logs.format,
        f"spark.executorEnv.{env_name('logs.level')}": settings.logs.level,
        **_checkpoint_options(settings.checkpoint_root),
    }


def _checkpoint_options(place: str) -> dict[str, str]:
    """Options for the file system of the checkpoints."""
    if object_store.is_s3(place):
        return object_store.options_of(os.environ)
    return dict(_LOCAL_CHECKPOINTS) if is_local(place) else {}


# Without its native library, Hadoop starts five processes (chmod, readlink) for every file of a checkpoint, twenty a
# batch, which takes longer than the batch's own work. Plain files need none of them; a rename is as atomic.
_LOCAL_CHECKPOINTS = {
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    object_store.MANAGER: "org.apache.spark.sql.execution.streaming.FileSystemBasedCheckpointFileManager",
}


def is_local(place: str) -> bool:
    """Whether a folder or URI lies on this machine's own file system."""
    return "://" not in place or place.startswith("file://")


def _let_workers_import(submitted: bool) -> None:
    """Put the project on the path of Spark's workers; code in an archive gets there by `--py-files`."""
    if not submitted:
        os.environ["PYSPARK_PYTHON"] = os.environ.get("PYSPARK_PYTHON", sys.executable)
    if submitted and not ROOT.is_dir():
        return
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
