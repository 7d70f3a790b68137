"""The transforms on batch frames: many cases stacked into one frame each."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from math import fsum
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.parse import MAX_MESSAGE_BYTES, parse_node, parse_training
from schemas.times import to_ms
from spark_jobs import transforms
from spark_jobs.arrow import contributions_batch, output_schema
from spark_jobs.deadletters import KEPT_BYTES
from spark_jobs.sources import NODE, TRAINING, Source, window_start_ms
from spark_jobs.writer import touched_by
from tests.messages import AT, node, training

RECORDED_AT = datetime(2030, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(params=["UTC", "Australia/Lord_Howe", "America/St_Johns"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The driver's machine in another zone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def frame_of(spark: SparkSession, source: Source, docs: list[dict[str, Any]]) -> Any:
    """Contributions of documents as the verdict hands them on."""
    data = contributions_batch(source, docs)

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield data

    return spark.range(1, numPartitions=1).mapInArrow(rows, output_schema(source))


def training_docs(count: int) -> list[dict[str, Any]]:
    """Events around the hours at which zones change to summer time and back."""
    pick = random.Random(7)
    hours = [
        datetime(2024, month, day, tzinfo=timezone.utc) for month, day in ((3, 10), (4, 6), (10, 6), (11, 3))
    ]
    docs = []
    for _ in range(count):
        at = pick.choice(hours) + timedelta(seconds=pick.randrange(86_400), milliseconds=pick.randrange(1000))
        fields: dict[str, Any] = {"run_id": f"r{pick.randrange(9)}", "timestamp": at.isoformat()}
        if pick.random() < 0.7:
            fields["user_id"] = f"u{pick.randrange(3)}"
        if pick.random() < 0.7:
            fields["model_name"] = pick.choice(["a|b", "\0", "界", "=1+1"])
        if pick.random() < 0.8:
            fields["energy_kwh"] = pick.random() * 10 ** pick.randint(-12, 3)
        docs.append(parse_training(training(**fields), RECORDED_AT).doc)
    return docs


def test_windows_are_the_sums_of_their_events_in_any_zone(spark: SparkSession, zone: str) -> None:
    docs = training_docs(400)
    found = transforms.windows(
        transforms.by_dimension(frame_of(spark, TRAINING, docs), TRAINING), TRAINING, 60
    )
    touched = touched_by(TRAINING, [row.asDict() for row in found.collect()], ())
    expected: dict[tuple[str, str | None, int], list[dict[str, Any]]] = {}
    for doc in docs:
        start_ms = window_start_ms(doc["timestamp"], 60_000)
        for key in TRAINING.keys(doc):
            expected.setdefault((key.dimension, key.key, start_ms), []).append(doc)
    made = {(key.dimension, key.key, start): amounts for key, start, amounts in touched.live.values()}
    assert made.keys() == expected.keys()
    for place, events in expected.items():
        energies = [doc["energy_kwh"] for doc in events if "energy_kwh" in doc]
        assert made[place].sums["n_events"] == len(events)
        assert ("energy_kwh" in made[place].sums) == bool(energies)
        assert made[place].sums.get("energy_kwh", 0.0) == pytest.approx(fsum(energies), rel=1e-12)


def test_a_node_window_knows_what_each_run_used(spark: SparkSession) -> None:
    consumers = [{"run_id": "a", "cpu_time_share": 0.5}, {"run_id": "b", "cpu_time_share": 0.25}]
    docs = [
        parse_node(node(cpu_energy_j=3.6e6, cpu_utilization_pct=50, consumers=consumers[:n]), RECORDED_AT).doc
        for n in (0, 1, 2)
    ]
    found = transforms.windows(transforms.by_dimension(frame_of(spark, NODE, docs), NODE), NODE, 60)
    ((_, start_ms, amounts),) = touched_by(NODE, [row.asDict() for row in found.collect()], ()).live.values()
    assert start_ms == to_ms(AT)
    assert amounts.runs == {"a": pytest.approx(0.5), "b": pytest.approx(0.125)}
    assert amounts.sums["energy_kwh"] == pytest.approx(3.0)
    assert amounts.sums["attributed_kwh"] == pytest.approx(0.625)
    assert amounts.sums["n_samples"] == 3


def test_a_message_too_large_to_parse_is_cut_with_its_length_and_hash(spark: SparkSession) -> None:
    sizes = [0, 1, KEPT_BYTES + 1, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1]
    values: list[bytes | None] = [bytearray(b"x" * size) for size in sizes]  # type: ignore[misc]
    rows = [(0, i, AT, bytearray(b"k" * 2000), value) for i, value in enumerate([*values, None])]
    schema = "partition int, offset long, timestamp timestamp, key binary, value binary"
    found = transforms.bounded(spark.createDataFrame(rows, schema)).orderBy(F.col("offset")).collect()
    assert [row["length"] for row in found] == [*sizes, 0]
    kept = [None if row["value"] is None else len(row["value"]) for row in found]
    assert kept == [*sizes[:-1], KEPT_BYTES, None]
    whole = hashlib.sha256(b"x" * sizes[-1]).hexdigest()
    assert [row["sha256"] for row in found] == [None] * (len(sizes) - 1) + [whole, None]
    assert all(len(row["key"]) == transforms.MAX_KEY_BYTES for row in found)
