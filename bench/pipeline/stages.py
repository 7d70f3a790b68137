"""The throughput steps, one after the other in one warm Spark session; a process of its own.

`python -m bench.pipeline.stages SIZES` (JSON): one line of JSON on stdout as each step ends. Settings come
from the environment, as the streaming job takes them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from bench.pipeline.events import Mix, topic_of
from bench.pipeline.report import Batch, steady_rate
from bench.pipeline.sizes import Sizes
from bench.pipeline.standin import PARSED_SCHEMA, StorelessVerdict, parse_only
from conf.settings import Settings, load_settings
from spark_jobs import io, offsets, transforms
from spark_jobs.lease import acquire
from spark_jobs.runner import Runner
from spark_jobs.session import spark_session
from spark_jobs.sources import TRAINING
from spark_jobs.store import Address, Patience, connect, ensure_collections
from spark_jobs.verdict import Verdict

CHUNK = 10_000
SCHEMA = pa.schema([("key", pa.string()), ("value", pa.binary())])


def main(argv: Sequence[str]) -> int:
    """Fill the topic, then run each step over all of it."""
    sizes, settings = Sizes(**json.loads(argv[0])), load_settings()
    spark = spark_session("bench", settings)
    _fill(spark, settings, sizes)
    for name, measure in STEPS.items():
        batches = measure(spark, settings, sizes)
        _say(name, steady_rate(batches), batches)
    return 0


def _say(name: str, rate: float | None, batches: Sequence[Batch]) -> None:
    rows = sum(batch.rows for batch in batches)
    shown = {"step": name, "rows_per_s": rate, "batches": len(batches), "rows": rows}
    print(json.dumps({**shown, "batch_s": [round(batch.took_s, 3) for batch in batches]}), flush=True)


def _fill(spark: SparkSession, settings: Settings, sizes: Sizes) -> None:
    """Send the messages through Spark's own sink, which is faster than any sender in Python."""
    file = Path(settings.checkpoint_root) / "bench-messages.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    mix = Mix(sizes.seed, sizes.runs, sizes.users, sizes.models)
    messages = topic_of(mix, sizes.rows, datetime.now(timezone.utc) - timedelta(seconds=30))
    with pq.ParquetWriter(file, SCHEMA) as writer:
        while chunk := list(islice(messages, CHUNK)):
            keys, values = zip(*chunk, strict=True)
            writer.write_table(pa.table([pa.array(keys), pa.array(values, pa.binary())], schema=SCHEMA))
    # One task keeps their order.
    rows = spark.read.parquet(str(file)).coalesce(1)
    target = rows.write.format("kafka").option("kafka.bootstrap.servers", settings.kafka.bootstrap)
    target.option("topic", TRAINING.topic).option("kafka.linger.ms", "20").save()
    file.unlink()


def _records(spark: SparkSession, settings: Settings) -> DataFrame:
    start = offsets.earliest(settings.kafka.bootstrap, TRAINING.topic)
    return io.read_topic(spark, settings, TRAINING.topic, start)


def _read(spark: SparkSession, settings: Settings, sizes: Sizes) -> list[Batch]:
    return _to_nothing(_records(spark, settings), settings, sizes, "read", "append")


def _parse(spark: SparkSession, settings: Settings, sizes: Sizes) -> list[Batch]:
    bounded = transforms.bounded(_records(spark, settings))
    parsed = bounded.mapInArrow(parse_only, PARSED_SCHEMA)
    return _to_nothing(parsed, settings, sizes, "parse", "append")


def _windows(spark: SparkSession, settings: Settings, sizes: Sizes) -> list[Batch]:
    stream = settings.stream
    spec = Verdict("training", 0, Address.of(settings), settings.kafka.bootstrap, stream.window_s * 1000)
    new = transforms.judged(transforms.bounded(_records(spark, settings)), TRAINING, StorelessVerdict(spec))
    timely = transforms.watermarked(new, stream.watermark_s)
    summed = transforms.windows(transforms.by_dimension(timely, TRAINING), TRAINING, stream.window_s)
    return _to_nothing(summed, settings, sizes, "windows", "update")


def _to_nothing(frame: DataFrame, settings: Settings, sizes: Sizes, name: str, mode: str) -> list[Batch]:
    checkpoint = f"{settings.checkpoint_root}/bench/{name}"
    writer = frame.writeStream.format("noop").outputMode(mode).queryName(f"bench-{name}")
    trigger = f"{settings.stream.trigger_s * 1000:.0f} milliseconds"
    query = writer.option("checkpointLocation", checkpoint).trigger(processingTime=trigger).start()
    try:
        return _watch(query, sizes, lambda: None)
    finally:
        query.stop()


def _everything(spark: SparkSession, settings: Settings, sizes: Sizes) -> list[Batch]:
    """The job's own query, with all that it writes."""
    stop, address = Event(), Address.of(settings)
    db, patience = connect(address), Patience(stop)
    ensure_collections(db, settings)
    lease = acquire(db, TRAINING.query, settings.stream.lease_s, stop)
    runner = Runner(spark, settings, TRAINING, db, lease, stop, patience)
    runner.start()
    try:
        assert runner.query is not None  # noqa: S101 - start() made it
        return _watch(runner.query, sizes, runner.watch)
    finally:
        stop.set()
        runner.close()


def _watch(query: StreamingQuery, sizes: Sizes, meanwhile: Callable[[], None]) -> list[Batch]:
    """The query's batches until it has read all, or for as long as a step may take."""
    deadline = time.monotonic() + sizes.longest_s
    while time.monotonic() < deadline:
        batches = _batches(query)
        if sum(batch.rows for batch in batches) >= sizes.rows:
            return batches
        error = query.exception()
        if error is not None:
            raise error
        meanwhile()
        time.sleep(0.25)
    return _batches(query)


def _batches(query: StreamingQuery) -> list[Batch]:
    return [_batch(json.loads(progress.json)) for progress in query.recentProgress]


def _batch(progress: dict[str, Any]) -> Batch:
    began = datetime.fromisoformat(progress["timestamp"].replace("Z", "+00:00")).timestamp()
    return Batch(int(progress["numInputRows"]), began, progress["durationMs"]["triggerExecution"] / 1000)


STEPS = {"read": _read, "parse": _parse, "windows": _windows, "end_to_end": _everything}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
