"""A stop that was asked for is no error: what Spark would say of it, in a hundred lines, is not said."""

from __future__ import annotations

import logging

from pyspark.sql import SparkSession

from spark_jobs.store import Stopped

PROXY = "py4j.clientserver"
QUERIES = "org.apache.spark.sql.execution.streaming.MicroBatchExecution"


class QuietStop(logging.Filter):
    """Drops py4j's traceback of a batch that was asked to stop, and has Spark's logger drop its own of the same.

    py4j logs before Spark learns of the exception, so Spark's logger is off in time. Other errors pass.
    """

    def __init__(self, spark: SparkSession) -> None:
        super().__init__()
        self._jvm = spark._jvm

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, Stopped):
            return True
        if self._jvm is not None:
            log4j = self._jvm.org.apache.logging.log4j
            log4j.core.config.Configurator.setLevel(QUERIES, log4j.Level.OFF)
        return False


def stop_quietly(spark: SparkSession) -> None:
    """From now on a batch that is asked to stop says nothing."""
    logging.getLogger(PROXY).addFilter(QuietStop(spark))
