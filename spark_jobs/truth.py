"""What the ledger says that every document's parts are: a Spark batch job with the stream's own transforms.

The ledger is read by ranges of `_id` on the executors, so the driver holds no rows of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas import documents
from spark_jobs import transforms
from spark_jobs.arrow import contributions_batch, output_schema
from spark_jobs.cut import Cut
from spark_jobs.ledger import insert_new, late_row
from spark_jobs.sources import SOURCES, Source
from spark_jobs.store import Address, Db, Doc, connect

ROWS = 2000
# The embedded server answers each range with a scan of the whole ledger, so there are few of them.
HASH_STARTS = ("", "4", "8", "c")
PARTS = ("carried", "live", "late")


@dataclass(frozen=True, slots=True)
class LedgerReader:
    """The function that Spark runs on each `_id` range: rows below the cut become contributions, by part.

    It also puts late rows that `late_events` lacks where they belong.
    """

    query: str
    address: Address
    cut: Cut
    window_ms: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Ranges in, contributions with the name of their part out."""
        db, source = connect(self.address), SOURCES[self.query]
        for batch in batches:
            for low, high in zip(*(batch.column(name).to_pylist() for name in ("low", "high")), strict=True):
                rows = db[source.ledger].find({"_id": {"$gte": low, "$lt": high}}).sort("_id", 1)
                settled = (row for row in rows if _below(self.cut, row))
                while chunk := list(islice(settled, ROWS)):
                    yield self._contributions(db, source, chunk)

    def _contributions(self, db: Db, source: Source, rows: list[Doc]) -> pa.RecordBatch:
        late = [late_row(source, row["_id"], row, self.window_ms) for row in rows if row.get("late")]
        insert_new(db, documents.LATE, late)
        parts = [self._part(row) for row in rows]
        return contributions_batch(source, rows, {"part": parts}, self.window_ms)

    def _part(self, row: Mapping[str, Any]) -> str:
        if row.get("late"):
            return "late"
        place = row["ingest"]
        return "live" if place["offset"] >= self.cut.start.get(place["partition"], 0) else "carried"


def _below(cut: Cut, row: Mapping[str, Any]) -> bool:
    return cut.holds(row["ingest"]["partition"], row["ingest"]["offset"])


def id_ranges() -> list[tuple[str, str]]:
    """Half-open `_id` ranges that hold every identity: `e|…`, `s|…`, and `h|…` in quarters."""
    starts = ["e|", *(f"h|{start}" for start in HASH_STARTS), "s|"]
    return list(zip(starts, [*starts[1:], "t"], strict=True))


def true_windows(spark: SparkSession, source: Source, address: Address, cut: Cut, window_s: int) -> DataFrame:
    """One row per window, key and part: `start_ms, dimension, key, run_id, part` and the sums."""
    ranges = spark.createDataFrame(id_ranges(), "low string, high string").repartition(len(id_ranges()))
    reader = LedgerReader(source.query, address, cut, window_s * 1000)
    rows = ranges.mapInArrow(reader, output_schema(source, "part string"))
    by_part = transforms.by_dimension(rows, source, "part")
    return transforms.windows(by_part, source, window_s, "part")


def ordered(frame: DataFrame) -> Iterator[Row]:
    """The rows, all of a document side by side, without holding them all."""
    order = [F.col(name) for name in ("dimension", "key", "start_ms", "part", "run_id")]
    yield from frame.orderBy(*order).toLocalIterator()
