"""The only place with `readStream` and `writeStream`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from conf.clients import spark_kafka_options
from conf.settings import Settings
from schemas.errors import PipelineError
from spark_jobs.object_store import is_s3
from spark_jobs.sources import Source
from spark_jobs.writer import BatchWriter

# More than a file's name: a full disk takes that, too.
PROBE_BYTES = 4096


def read_topic(spark: SparkSession, settings: Settings, topic: str, start: Mapping[int, int]) -> DataFrame:
    """The topic as a stream; `start` (offset by partition) counts only where there is no checkpoint."""
    return (
        spark.readStream.format("kafka")
        .options(**spark_kafka_options(settings.kafka))
        .option("subscribe", topic)
        .option("startingOffsets", json.dumps({topic: {str(p): offset for p, offset in start.items()}}))
        .option("maxOffsetsPerTrigger", settings.stream.max_offsets_per_trigger)
        .option("failOnDataLoss", "true")
        .option("kafka.max.partition.fetch.bytes", str(4 * 1024**2))
        .load()
    )


def write_batches(
    windows: DataFrame, writer: BatchWriter, source: Source, checkpoint: str, trigger_s: float
) -> StreamingQuery:
    """Start the query: each batch of changed windows goes to the writer."""
    trigger = f"{max(trigger_s, source.least_trigger_s) * 1000:.0f} milliseconds"
    return (
        windows.writeStream.outputMode("update")
        .foreachBatch(writer)
        .queryName(source.query)
        .option("checkpointLocation", checkpoint)
        .trigger(processingTime=trigger)
        .start()
    )


def path_exists(spark: SparkSession, path: str) -> bool:
    """Whether a folder with files is there, on any file system that Spark knows. Raises PipelineError."""
    jvm = getattr(spark, "_jvm", None)
    if jvm is None:  # Spark Connect has no JVM beside it; the jobs never run there
        return False
    try:
        target = jvm.org.apache.hadoop.fs.Path(path)
        files = target.getFileSystem(spark._jsc.hadoopConfiguration())
        return bool(files.exists(target)) and len(files.listStatus(target)) > 0
    except Py4JJavaError as error:
        raise _unusable(path, error) from None


def require_writable(spark: SparkSession, root: str) -> None:
    """Raise PipelineError unless a file can be made below the folder of the checkpoints."""
    jvm = getattr(spark, "_jvm", None)
    if jvm is None:
        return
    try:
        probe = jvm.org.apache.hadoop.fs.Path(f"{root.rstrip('/')}/.writable-{uuid.uuid4().hex}")
        files = probe.getFileSystem(spark._jsc.hadoopConfiguration())
        out = files.create(probe)
        out.write(bytearray(PROBE_BYTES))
        out.close()
        files.delete(probe, False)
    except Py4JJavaError as error:
        raise _unusable(root, error) from None


def _unusable(path: str, error: Py4JJavaError) -> PipelineError:
    why = str(error.java_exception.toString()).splitlines()[0][:300]
    return PipelineError(
        f"the checkpoint folder {path} cannot be used ({why}); {_remedy(path, why)}, or "
        "name another with JOULE_STREAM_CHECKPOINT_DIR. Nothing is lost: the stream goes on where it was"
    )


def _remedy(path: str, why: str) -> str:
    if "s3a.S3AFileSystem not found" in why:
        return "give Spark the jars of the set `s3` (docs/how-to/spark-submit.md)"
    if path.startswith("s3://"):
        return "write it as s3a://"
    if is_s3(path):
        return (
            "the bucket must be there and these credentials may read, write, list and delete in it: see "
            "AWS_ENDPOINT_URL, AWS_REGION, AWS_SHARED_CREDENTIALS_FILE (docs/how-to/spark-submit.md)"
        )
    return "make it writable for this user, free some space"
