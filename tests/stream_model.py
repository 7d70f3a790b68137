"""The streaming job without Spark, Kafka and MongoDB: its own code on a model of each.

What is real: parse, verdict, Arrow rows, receipts, generations, recovery, runner, books, documents. What is
modelled: a topic with offsets and retention, the document store (tests/fake_store.py), and of Spark what the job
relies on: an offset log written before a batch, state and commit after it, a watermark that moves between
batches, and output of the groups that a batch changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest

from conf.settings import Kafka, Settings, Stream
from schemas import documents
from schemas.times import to_ms
from spark_jobs import deadletters, io, offsets, verdict
from spark_jobs.deadletters import DeadLetter
from spark_jobs.lease import Lease
from spark_jobs.runner import Runner
from spark_jobs.sources import Source
from spark_jobs.store import Address, Patience
from spark_jobs.verdict import INPUT_COLUMNS, Verdict
from tests.fake_store import FakeStore

BASE = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
Group = tuple[int, str, str, str | None]


class Killed(BaseException):
    """`kill -9`: nothing of the process runs on."""


@dataclass
class Topic:
    """Messages by partition; those below `first` have expired."""

    partitions: list[list[bytes]]
    first: list[int]

    @classmethod
    def of(cls, count: int) -> Topic:
        return cls([[] for _ in range(count)], [0] * count)

    def expire(self, partition: int, count: int) -> None:
        end = len(self.partitions[partition])
        self.first[partition] = min(self.first[partition] + count, end)


@dataclass
class Checkpoint:
    """What Spark keeps in a folder. `state[b]` and `watermark[b]` are as batch b leaves them."""

    plans: list[dict[int, tuple[int, int]]] = field(default_factory=list)
    states: list[dict[Group, dict[str, float]]] = field(default_factory=list)
    watermarks: list[int | None] = field(default_factory=list)


class Frame:
    """A batch's DataFrame: collecting it runs the tasks."""

    def __init__(self, run: Any) -> None:
        self.collect = run


class Row(dict[str, Any]):
    """A Spark row."""

    def asDict(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        return dict(self)


@dataclass
class World:
    """One topic, one store, and the processes that come and go."""

    source: Source
    monkeypatch: pytest.MonkeyPatch
    partitions: int = 2
    window_s: int = 60
    watermark_s: int = 60
    cache_size: int = 50_000

    def __post_init__(self) -> None:
        self.topic = Topic.of(self.partitions)
        self.store = FakeStore()
        self.checkpoints: dict[str, Checkpoint] = {}
        self.letters: list[DeadLetter] = []
        self.epoch = 0
        self.process: Process | None = None
        patch = self.monkeypatch.setattr
        patch(verdict, "_database", lambda address: self.store)
        patch(verdict, "Patience", lambda *_, **__: patient())
        patch(deadletters, "send", lambda kafka, letters: self.letters.extend(letters))
        patch(offsets, "earliest", lambda kafka, topic: dict(enumerate(self.topic.first)))
        patch(offsets, "latest", lambda kafka, topic: dict(enumerate(map(len, self.topic.partitions))))
        patch(io, "path_exists", lambda spark, path: path in self.checkpoints)
        patch(io, "write_batches", self._write_batches)
        patch(Runner, "_frame", lambda runner, generation: spec_of(runner, generation))

    def _write_batches(self, spec: Verdict, writer: Any, source: Source, path: str, trigger_s: float) -> Any:
        return Query(self, spec, writer, self.checkpoints.setdefault(path, Checkpoint()))

    def start(self) -> Process:
        """A new process takes the lease and opens the query."""
        self.epoch += 1
        self.process = Process(self, self.epoch)
        self.process.start()
        return self.process

    def docs(self, collection: str) -> dict[str, dict[str, Any]]:
        return {doc["_id"]: doc for doc in self.store[collection].find()}

    def lose_checkpoints(self) -> None:
        self.checkpoints.clear()


def spec_of(runner: Runner, generation: Any) -> Verdict:
    """What `Runner._frame` makes its DataFrame with."""
    address = Address.at("mongodb://unused", "unused", 1.0)
    return Verdict(runner.source.query, generation.number, address, Kafka(), generation.settings.window_ms)


def patient() -> Patience:
    return Patience(sleep=lambda seconds: None)


class Process:
    """A driver: the real Runner."""

    def __init__(self, world: World, epoch: int) -> None:
        settings = Settings(
            data_dir=Path("unused"),
            stream=Stream(window_s=world.window_s, watermark_s=world.watermark_s),
        )
        store: Any = world.store
        spark: Any = None
        lease = Lease(store, world.source.query, epoch, 20.0)
        self.runner = Runner(spark, settings, world.source, store, lease, Event(), patient())
        self.world = world

    def start(self, force_new: bool = False) -> None:
        self.runner.start(force_new)
        assert self.runner.writer is not None
        self.runner.writer.books._windows._size = self.world.cache_size
        self.runner.writer.books._runs._size = self.world.cache_size

    def batch(self, rows: int) -> bool:
        """One micro-batch of at most so many messages per partition; False where there is nothing to do."""
        query: Any = self.runner.query
        try:
            return bool(query.batch(rows))
        except Exception as error:  # noqa: BLE001 - as Spark does, whatever it is
            query.isActive, query.error = False, error
            self.runner._ended()
            return True


class Query:
    """Spark's micro-batch execution of one checkpoint."""

    def __init__(self, world: World, spec: Verdict, writer: Any, checkpoint: Checkpoint) -> None:
        self.world, self.spec, self.writer, self.checkpoint = world, spec, writer, checkpoint
        self.isActive = True
        self.error: Exception | None = None

    def exception(self) -> Exception | None:
        return self.error

    def batch(self, rows: int) -> bool:
        kept = self.checkpoint
        number = len(kept.states)
        if len(kept.plans) == number:
            plan = self._plan(rows)
            if not plan:
                return False
            kept.plans.append(plan)
        held = Held(
            dict(kept.states[-1]) if kept.states else {}, kept.watermarks[-1] if kept.watermarks else None
        )
        self.writer(Frame(lambda: self._collect(kept.plans[number], held)), number)
        watermark = held.watermark
        if held.max_ms is not None:
            reached = held.max_ms - self.world.watermark_s * 1000
            watermark = reached if watermark is None else max(watermark, reached)
        kept.states.append(held.state)
        kept.watermarks.append(watermark)
        return True

    def _plan(self, rows: int) -> dict[int, tuple[int, int]]:
        """Offsets of the next batch."""
        ends = {p: end for plan in self.checkpoint.plans for p, (_, end) in plan.items()}
        generation = self.writer.generation
        plan = {}
        for p, messages in enumerate(self.world.topic.partitions):
            begin = ends.get(p, generation.start.get(p, 0))
            if begin < self.world.topic.first[p]:
                raise RuntimeError("KAFKA_DATA_LOSS: offsets may have been lost")
            end = min(begin + rows, len(messages))
            if begin < end:
                plan[p] = (begin, end)
        return plan

    def _collect(self, plan: Mapping[int, tuple[int, int]], held: Held) -> list[Row]:
        changed: dict[Group, None] = {}
        source, window_ms = self.world.source, self.world.window_s * 1000
        for partition, (begin, end) in plan.items():
            if begin < self.world.topic.first[partition]:
                raise RuntimeError("KAFKA_DATA_LOSS: offsets may have been lost")
            for out in self.spec(self._arrow(partition, begin, end)):
                for row in out.to_pylist():
                    at = to_ms(row["event_time"])
                    start = at - at % window_ms
                    dropped = held.watermark is not None and start + window_ms <= held.watermark
                    assert not dropped, "Spark dropped a row that the verdict passed"
                    held.max_ms = at if held.max_ms is None else max(held.max_ms, at)
                    for dimension, key in zip(source.dimensions, row["keys"], strict=True):
                        group = (start, dimension, key, row["run_id"])
                        changed[group] = None
                        sums = held.state[group] = dict(held.state.get(group, {}))
                        for name in source.sums:
                            if row[name] is not None:
                                sums[name] = sums.get(name, 0.0) + row[name]
        found = [Row(_row(source, group, held.state[group])) for group in changed]
        if held.watermark is not None:
            for group in [g for g in held.state if g[0] + window_ms <= held.watermark]:
                del held.state[group]
        return found

    def _arrow(self, partition: int, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """The records in two Arrow batches, as Spark splits them."""
        for low, high in ((begin, (begin + end) // 2), ((begin + end) // 2, end)):
            if low == high:
                continue
            values = self.world.topic.partitions[partition][low:high]
            columns = {
                "partition": [partition] * len(values),
                "offset": list(range(low, high)),
                "timestamp": [BASE + timedelta(hours=1)] * len(values),
                "key": [b"k"] * len(values),
                "value": values,
                "length": [len(value) for value in values],
                "sha256": pa.nulls(len(values), pa.string()),
            }
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in INPUT_COLUMNS})


@dataclass
class Held:
    """Spark's state while a batch runs."""

    state: dict[Group, dict[str, float]]
    watermark: int | None
    max_ms: int | None = None


def _row(source: Source, group: Group, sums: Mapping[str, float]) -> dict[str, Any]:
    start, dimension, key, run_id = group
    values = {name: sums.get(name) for name in source.sums}
    return {"start_ms": start, "dimension": dimension, "key": key, "run_id": run_id, **values}


def ledger_of(world: World) -> dict[str, dict[str, Any]]:
    """The rows of the world's ledger."""
    return world.docs(world.source.ledger)


def accounts_of(world: World) -> dict[int, dict[str, Any]]:
    """The accounts by partition."""
    return {doc["partition"]: doc for doc in world.docs(documents.ACCOUNTS).values()}
