"""`DataFrame -> DataFrame`: no session, clock or settings inside; all but `watermarked` serve batch too."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.parse import MAX_MESSAGE_BYTES
from spark_jobs.arrow import output_schema
from spark_jobs.deadletters import KEPT_BYTES
from spark_jobs.sources import Source
from spark_jobs.verdict import INPUT_COLUMNS

MAX_KEY_BYTES = 1024


def bounded(records: DataFrame) -> DataFrame:
    """Kafka records with what is too large to parse cut down (its length and SHA-256 beside it).

    So a worker's memory is bounded by what may be parsed, whatever is sent.
    """
    length = F.length("value")
    too_large = length > MAX_MESSAGE_BYTES
    return records.select(
        "partition",
        "offset",
        "timestamp",
        F.substring("key", 1, MAX_KEY_BYTES).alias("key"),
        F.when(too_large, F.substring("value", 1, KEPT_BYTES)).otherwise(F.col("value")).alias("value"),
        F.coalesce(length, F.lit(0)).alias("length"),
        F.when(too_large, F.sha2("value", 256)).alias("sha256"),
    ).select(*INPUT_COLUMNS)


def judged(messages: DataFrame, source: Source, verdict: Callable[..., object]) -> DataFrame:
    """The contributions of the messages that the verdict calls new."""
    return messages.mapInArrow(verdict, output_schema(source))  # type: ignore[arg-type]


def watermarked(contributions: DataFrame, delay_s: int) -> DataFrame:
    """The stream-only step: how long a window stays open for disorder."""
    return contributions.withWatermark("event_time", f"{delay_s} seconds")


def by_dimension(contributions: DataFrame, source: Source, *more: str) -> DataFrame:
    """One row per dimension that an event counts in, with its key (empty where not known)."""
    names = F.array(*(F.lit(name) for name in source.dimensions))
    return contributions.select(
        "event_time", "run_id", *source.sums, *more, F.posexplode("keys").alias("position", "key")
    ).withColumn("dimension", F.element_at(names, F.col("position") + 1))


def windows(rows: DataFrame, source: Source, window_s: int, *more: str) -> DataFrame:
    """Sums of every value by event-time window, dimension, key (and `more`); what no row knows stays null."""
    keys = ("dimension", "key", "run_id", *more)
    grouped = rows.groupBy(F.window("event_time", f"{window_s} seconds"), *keys)
    return grouped.agg(*(F.sum(name).alias(name) for name in source.sums)).select(
        F.unix_millis("window.start").alias("start_ms"), *keys, *source.sums
    )
