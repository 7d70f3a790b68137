"""Contributions as Arrow: what the verdict hands to Spark, and what a reconciliation reads from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.times import to_ms
from spark_jobs.sources import Source


def output_schema(source: Source, *more: str) -> str:
    """DDL of a contribution: time, keys in the order of the source's dimensions, run on a node, values."""
    values = ", ".join((*(f"{name} double" for name in source.sums), *more))
    return f"event_time timestamp, keys array<string>, run_id string, {values}"


@dataclass(slots=True)
class _Row:
    """One contribution: its time (ms), its keys, the run on a node, what it adds, and further texts."""

    at_ms: int
    keys: tuple[str, ...]
    run: str | None
    sums: dict[str, float]
    more: tuple[str, ...]


def contributions_batch(
    source: Source,
    docs: Sequence[Mapping[str, Any]],
    more: Mapping[str, Sequence[str]] | None = None,
    window_ms: int | None = None,
) -> pa.RecordBatch:
    """One row per document; nodes add one row per run on the node. `more`: further text columns by document.

    With `window_ms`, rows that go into the same sums of the same window are summed up here already, at the
    latest of their times, so that Spark has fewer to move.
    """
    columns = list((more or {}).values())
    rows: Iterable[_Row] = _rows(source, docs, columns)
    if window_ms is not None:
        rows = _combined(rows, window_ms)
    kept = list(rows)
    arrays = [
        pa.array([row.at_ms for row in kept], pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC")),
        pa.array([row.keys for row in kept], pa.list_(pa.string())),
        pa.array([row.run for row in kept], pa.string()),
        *(pa.array([row.sums.get(name) for row in kept], pa.float64()) for name in source.sums),
        *(pa.array([row.more[i] for row in kept], pa.string()) for i in range(len(columns))),
    ]
    names = ["event_time", "keys", "run_id", *source.sums, *(more or {})]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _rows(
    source: Source, docs: Sequence[Mapping[str, Any]], columns: Sequence[Sequence[str]]
) -> Iterator[_Row]:
    for i, doc in enumerate(docs):
        amounts, at_ms = source.amounts(doc), to_ms(doc["timestamp"])
        keys = tuple([key.key or "" for key in source.keys(doc)])
        texts = tuple([column[i] for column in columns])
        yield _Row(at_ms, keys, None, amounts.sums, texts)
        for run, energy_kwh in amounts.runs.items():
            yield _Row(at_ms, keys, run, {"attributed_kwh": energy_kwh}, texts)


def _combined(rows: Iterable[_Row], window_ms: int) -> Iterable[_Row]:
    """What goes into the same sums of a window as one row; a value that none of them knows stays absent."""
    groups: dict[tuple[Any, ...], _Row] = {}
    for row in rows:
        group = (row.at_ms - row.at_ms % window_ms, row.keys, row.run, row.more)
        held = groups.setdefault(group, row)
        if held is not row:
            held.at_ms = max(held.at_ms, row.at_ms)
            sums = held.sums
            for name, value in row.sums.items():
                sums[name] = sums.get(name, 0.0) + value
    return groups.values()
