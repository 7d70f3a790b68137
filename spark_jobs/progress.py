"""Progress documents: what each batch did, and Spark's own figures of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas import documents
from schemas.times import from_ms
from spark_jobs.generation import Generation
from spark_jobs.receipts import COUNTS, Receipts
from spark_jobs.store import Db, Doc

LAG = ("lag", "lag_by_partition")


def progress_id(query: str, number: int) -> str:
    """`_id` of a batch's progress."""
    return f"{query}|{number}"


def batch_doc(
    query: str,
    generation: Generation,
    batch: int,
    done: Receipts,
    seconds: Mapping[str, float],
    now: datetime,
) -> Doc:
    """What the writer knows of a batch. Batches are numbered on over all generations."""
    number = generation.first_batch + batch
    doc: Doc = {
        "_id": progress_id(query, number),
        "schema_version": documents.DOCUMENT_VERSION,
        "query": query,
        "batch": number,
        "generation": generation.number,
        "at": now,
        "rows_in": done.count("consumed"),
        **{name: done.count(name) for name in COUNTS},
        "rejected": sum(done.rejected.values()),
        "rejected_by_reason": done.rejected,
        "duration_s": seconds["total"],
        "durations_ms": {name: round(value * 1000, 1) for name, value in seconds.items()},
    }
    watermark_ms = generation.next_watermark_ms(done.max_event_ms)
    if watermark_ms is not None:
        doc["watermark"] = from_ms(max(0, watermark_ms))
    if doc["duration_s"] > 0:
        doc["input_rows_per_s"] = doc["rows_in"] / doc["duration_s"]
    return doc


def spark_figures(progress: Mapping[str, Any]) -> Doc:
    """Lag and durations from Spark's StreamingQueryProgress (as JSON object)."""
    lag_by_partition = []
    for source in progress.get("sources", ()):
        ends, latest = _offsets(source.get("endOffset")), _offsets(source.get("latestOffset"))
        for topic, partitions in latest.items():
            for partition, offset in partitions.items():
                behind = int(offset) - int(ends.get(topic, {}).get(partition, 0))
                lag_by_partition.append({"partition": int(partition), "lag": max(0, behind)})
    figures: Doc = {
        "lag": sum(entry["lag"] for entry in lag_by_partition),
        "lag_by_partition": lag_by_partition,
        "spark_durations_ms": dict(progress.get("durationMs", {})),
    }
    states = progress.get("stateOperators", ())
    if states:
        figures["state_rows"] = sum(int(s.get("numRowsTotal", 0)) for s in states)
        figures["dropped_by_watermark"] = sum(int(s.get("numRowsDroppedByWatermark", 0)) for s in states)
    return figures


def _offsets(value: Any) -> Mapping[str, Mapping[str, int]]:
    if isinstance(value, str):
        value = json.loads(value)
    return value if isinstance(value, dict) else {}


def add_spark_figures(db: Db, query: str, generation: Generation, progress: Mapping[str, Any]) -> Doc:
    """Add Spark's figures to the document of their batch; returns them."""
    figures = spark_figures(progress)
    number = generation.first_batch + int(progress["batchId"])
    progresses = db[documents.PROGRESS]
    if not progresses.update_one({"_id": progress_id(query, number)}, {"$set": figures}).matched_count:
        # Nothing came: the batch that is named has not been run, so the figures say where the last one left.
        lag = {name: figures[name] for name in LAG}
        progresses.update_one({"_id": progress_id(query, number - 1)}, {"$set": lag})
    return figures
