"""The only place with `readStream` and `writeStream`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from conf.clients import spark_kafka_options
from conf.settings import Settings
from spark_jobs.sources import Source
from spark_jobs.writer import BatchWriter


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
    """Whether a folder with files is there, on any file system that Spark knows."""
    jvm = spark._jvm
    if jvm is None:  # Spark Connect has no JVM beside it; the jobs never run there
        return False
    target = jvm.org.apache.hadoop.fs.Path(path)
    files = target.getFileSystem(spark._jsc.hadoopConfiguration())
    return bool(files.exists(target)) and len(files.listStatus(target)) > 0
