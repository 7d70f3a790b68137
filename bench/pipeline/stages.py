"""The throughput steps, one after the other in one warm Spark session; a process of its own.

`python -m bench.pipeline.stages SIZES PIDS` (JSON; pids of the servers): one line of JSON on stdout as each step
ends. Settings come from the environment, as the streaming job takes them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from bench.pipeline.cpu import read_cpu
from bench.pipeline.events import Mix, topic_of
from bench.pipeline.report import Batch, steady_rate
from bench.pipeline.sizes import Sizes
from bench.pipeline.standin import StorelessVerdict, parse_only, parsed_columns
from conf.clients import spark_kafka_options
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
LOOK_S = 0.2


def main(argv: Sequence[str]) -> int:
    """Fill the topic, then run each step over all of it."""
    sizes, settings = Sizes(**json.loads(argv[0])), load_settings()
    steps = Steps(spark_session("bench", settings), settings, sizes, json.loads(argv[1]))
    steps.fill()
    for name, measure in {
        "read": steps.read,
        "parse": steps.parse,
        "windows": steps.windows,
        "end_to_end": steps.everything,
    }.items():
        print(json.dumps({"step": name, **measure()}), flush=True)
    return 0


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps over one topic. Each returns its rate, its batches and its CPU time."""

    spark: SparkSession
    settings: Settings
    sizes: Sizes
    servers: Mapping[str, int]

    def fill(self) -> None:
        """Send the messages through Spark's own sink, which is faster than any sender in Python."""
        file = Path(self.settings.checkpoint_root) / "bench-messages.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        mix = Mix(self.sizes.seed, self.sizes.runs, self.sizes.users, self.sizes.models)
        messages = topic_of(mix, self.sizes.rows, datetime.now(timezone.utc) - timedelta(seconds=30))
        with pq.ParquetWriter(file, SCHEMA) as writer:
            while chunk := list(islice(messages, CHUNK)):
                keys, values = zip(*chunk, strict=True)
                writer.write_table(pa.table([pa.array(keys), pa.array(values, pa.binary())], schema=SCHEMA))
        # One task keeps their order.
        rows = self.spark.read.parquet(str(file)).coalesce(1)
        target = rows.write.format("kafka").options(**spark_kafka_options(self.settings.kafka))
        target.option("topic", TRAINING.topic).option("kafka.linger.ms", "20").save()
        file.unlink()

    def read(self) -> dict[str, Any]:
        """Messages from Kafka to nothing."""
        return self._to_nothing(self._records(), "read", "append")

    def parse(self) -> dict[str, Any]:
        """Each message parsed and validated."""
        bounded = transforms.bounded(self._records())
        schema = ", ".join(f"`{name}` {kind}" for name, kind in parsed_columns().items())
        return self._to_nothing(bounded.mapInArrow(parse_only, schema), "parse", "append")

    def windows(self) -> dict[str, Any]:
        """The job's own frame, with a verdict that needs no store."""
        stream = self.settings.stream
        address = Address.of(self.settings)
        spec = Verdict("training", 0, address, self.settings.kafka, stream.window_s * 1000)
        new = transforms.judged(transforms.bounded(self._records()), TRAINING, StorelessVerdict(spec))
        timely = transforms.watermarked(new, stream.watermark_s)
        summed = transforms.windows(transforms.by_dimension(timely, TRAINING), TRAINING, stream.window_s)
        return self._to_nothing(summed, "windows", "update")

    def everything(self) -> dict[str, Any]:
        """The job's own query, with all that it writes."""
        stop, address = Event(), Address.of(self.settings)
        db, patience = connect(address), Patience(stop)
        ensure_collections(db, self.settings)
        lease = acquire(db, TRAINING.query, self.settings.stream.lease_s, stop)
        runner = Runner(self.spark, self.settings, TRAINING, db, lease, stop, patience)
        runner.start()
        try:
            assert runner.query is not None  # noqa: S101 - start() made it
            return self._watch(runner.query, runner.watch)
        finally:
            stop.set()
            runner.close()

    def _records(self) -> DataFrame:
        start = offsets.earliest(self.settings.kafka, TRAINING.topic)
        return io.read_topic(self.spark, self.settings, TRAINING.topic, start)

    def _to_nothing(self, frame: DataFrame, name: str, mode: str) -> dict[str, Any]:
        writer = frame.writeStream.format("noop").outputMode(mode).queryName(f"bench-{name}")
        writer = writer.option("checkpointLocation", f"{self.settings.checkpoint_root}/bench/{name}")
        trigger = f"{self.settings.stream.trigger_s * 1000:.0f} milliseconds"
        query = writer.trigger(processingTime=trigger).start()
        try:
            return self._watch(query, lambda: None)
        finally:
            query.stop()

    def _watch(self, query: StreamingQuery, meanwhile: Callable[[], None]) -> dict[str, Any]:
        """Wait until the query has read all, or for as long as a step may take; the first batch does not count."""
        deadline = time.monotonic() + self.sizes.longest_s
        first: list[Batch] = []
        cpu = read_cpu(self.servers)
        while True:
            batches = _batches(query)
            if batches and not first:
                first, cpu = batches, read_cpu(self.servers)
            rows = sum(batch.rows for batch in batches)
            if rows >= self.sizes.rows or time.monotonic() >= deadline:
                break
            error = query.exception()
            if error is not None:
                raise error
            meanwhile()
            time.sleep(LOOK_S)
        counted = rows - sum(batch.rows for batch in first)
        return {
            "rows_per_s": steady_rate(batches),
            "rows": rows,
            "cpu": read_cpu(self.servers).spent(cpu, counted),
            "batch_s": [round(batch.took_s, 3) for batch in batches],
        }


def _batches(query: StreamingQuery) -> list[Batch]:
    return [_batch(json.loads(progress.json)) for progress in query.recentProgress]


def _batch(progress: dict[str, Any]) -> Batch:
    began = datetime.fromisoformat(progress["timestamp"].replace("Z", "+00:00")).timestamp()
    return Batch(int(progress["numInputRows"]), began, progress["durationMs"]["triggerExecution"] / 1000)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
