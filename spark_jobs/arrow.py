"""Contributions as Arrow: what the verdict hands to Spark, and what a reconciliation reads from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from schemas.times import to_ms
from spark_jobs.sources import Source


def output_schema(source: Source, *more: str) -> str:
    """DDL of a contribution: time, keys in the order of the source's dimensions, run on a node, values."""
    values = ", ".join((*(f"{name} double" for name in source.sums), *more))
    return f"event_time timestamp, keys array<string>, run_id string, {values}"


def contributions_batch(
    source: Source, docs: Sequence[Mapping[str, Any]], more: Mapping[str, Sequence[str]] | None = None
) -> pa.RecordBatch:
    """One row per document; nodes add one row per run on the node. `more`: further text columns by document."""
    times: list[int] = []
    keys: list[list[str]] = []
    runs: list[str | None] = []
    values: list[Mapping[str, float]] = []
    origin: list[int] = []
    for i, doc in enumerate(docs):
        amounts = source.amounts(doc)
        at, names = to_ms(doc["timestamp"]), [key.key or "" for key in source.keys(doc)]
        for run, sums in (
            (None, amounts.sums),
            *((r, {"attributed_kwh": e}) for r, e in amounts.runs.items()),
        ):
            times.append(at)
            keys.append(names)
            runs.append(run)
            values.append(sums)
            origin.append(i)
    extra = {name: [column[i] for i in origin] for name, column in (more or {}).items()}
    arrays = [
        pa.array(times, pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC")),
        pa.array(keys, pa.list_(pa.string())),
        pa.array(runs, pa.string()),
        *(pa.array([sums.get(name) for sums in values], pa.float64()) for name in source.sums),
        *(pa.array(column, pa.string()) for column in extra.values()),
    ]
    names = ["event_time", "keys", "run_id", *source.sums, *extra]
    return pa.RecordBatch.from_arrays(arrays, names=names)
