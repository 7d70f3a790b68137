"""Generations: one life of a query's checkpoint, where it starts, and how far it is settled.

A generation's checkpoint lies in a folder of its own. If the folder of the newest generation is gone (lost or
another store's), a new generation starts at the fence: `start[p] = max(next_offset, Kafka's earliest)`.
Messages below `start` never contribute to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.write_concern import WriteConcern

from schemas import documents
from schemas.errors import PipelineError
from spark_jobs import accounts, receipts
from spark_jobs.lease import LeaseLostError
from spark_jobs.parts import Moment
from spark_jobs.store import Db, Doc


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """What the sums of a generation depend on (s)."""

    window_s: int
    watermark_s: int

    @property
    def window_ms(self) -> int:
        """Length of a window in ms."""
        return self.window_s * 1000

    @property
    def delay_ms(self) -> int:
        """Delay of the watermark in ms."""
        return self.watermark_s * 1000


@dataclass(slots=True)
class Generation:
    """The generation that a query is in. `done` is the last settled Spark batch, -1 before the first."""

    db: Db
    query: str
    number: int
    start: Mapping[int, int]
    settings: WindowSettings
    watermark_ms: int | None
    done: int = -1
    first_batch: int = 0
    settled: dict[int, int] = field(default_factory=dict)
    epoch: int = 0

    @property
    def id(self) -> str:
        """`_id` of its document."""
        return f"{self.query}|{self.number}"

    def now(self, batch: int) -> Moment:
        """A batch of this generation."""
        return Moment(self.number, batch)

    def done_by_generation(self) -> Mapping[int, int]:
        """The last settled batch of every generation of this query."""
        return {**self.settled, self.number: self.done}

    def latch(self, batch: int) -> None:
        """Fix the watermark that the batch's tasks judge by.

        Raises CheckpointMismatchError where Spark's batch is neither the settled one nor the next: the
        checkpoint was restored from another time than the store.
        """
        if batch not in (self.done, self.done + 1):
            raise CheckpointMismatchError(self.query, batch, self.done)
        doc = self.db[documents.GENERATIONS].find_one({"_id": self.id})
        if doc is None:
            raise PipelineError(f"generation {self.id} is not in the store any more; start the stream again")
        held = doc.get("current")
        if held is not None and held["batch"] > batch:
            raise CheckpointMismatchError(self.query, batch, held["batch"])
        if held is None or held["batch"] != batch:
            held = {"batch": batch, "watermark_ms": self.watermark_ms}
            self._set({"current": held})
        self.watermark_ms = held["watermark_ms"]

    def begin_writing(self, batch: int) -> None:
        """From here to `settle`, documents may hold more than is settled. It is journaled with them (`flush`)."""
        self._change({"$set": {"writing": batch}}, journaled=False)

    def flush(self) -> None:
        """A journaled write, which changes something, so that on a lone server all before it is journaled too."""
        self._change({"$inc": {"flushes": 1}})

    def end_writing(self, batch: int) -> None:
        """All documents of the batch are written: from here on it is finished, never undone."""
        self._set({"written": batch})

    def next_watermark_ms(self, max_event_ms: int | None) -> int | None:
        """The watermark after a batch whose latest new event is of this time."""
        if max_event_ms is None:
            return self.watermark_ms
        reached = max_event_ms - self.settings.delay_ms
        return reached if self.watermark_ms is None else max(self.watermark_ms, reached)

    def settle(self, batch: int, max_event_ms: int | None) -> None:
        """The batch is wholly in documents and accounts; raise the watermark for the next one."""
        next_ms = self.next_watermark_ms(max_event_ms)
        self._set({"done": batch, "writing": batch, "watermark_ms": next_ms})
        self.done, self.watermark_ms = batch, next_ms

    def _set(self, values: Mapping[str, Any]) -> None:
        self._change({"$set": dict(values)})

    def _change(self, change: Doc, journaled: bool = True) -> None:
        """Change the document. Raises LeaseLostError where a later holder of the lease has been."""
        change["$set"] = {**change.get("$set", {}), "writer": self.epoch}
        ours = {"_id": self.id, "writer": {"$not": {"$gt": self.epoch}}}
        concern = WriteConcern(w="majority", j=True) if journaled else WriteConcern(w="majority")
        generations = self.db.get_collection(documents.GENERATIONS, write_concern=concern)
        changed = generations.update_one(ours, change)
        if not changed.matched_count:
            raise LeaseLostError(f"another process took over query {self.query}; this one stops")


class CheckpointMismatchError(PipelineError):
    """Checkpoint and store are of different times; a new generation starts at the fence, and stays exact."""

    def __init__(self, query: str, batch: int, done: int) -> None:
        super().__init__(
            f"query {query}: the checkpoint is at batch {batch} and the store has settled {done}; one of "
            "them was restored from another time, so a new generation starts at the fence"
        )


def open_generation(
    db: Db,
    query: str,
    topic: str,
    settings: WindowSettings,
    checkpoint_exists: Callable[[int], bool],
    begin: Callable[[], Mapping[int, int]],
    epoch: int = 0,
    force_new: bool = False,
) -> Generation:
    """Continue the newest generation where its checkpoint and settings still stand, else begin a new one.

    `begin` says where a new generation starts, by partition (it also settles what Kafka has lost).
    Raises PipelineError where windows of another length are stored: their ids would overlap.
    """
    accounts.claim(db, query, epoch)
    newest, settled = _newest(db, query)
    if newest is not None:
        _finish(db, newest, settings, epoch)
        newest, settled = _newest(db, query)
    if newest is not None:
        _refuse_other_windows(query, newest, settings)
        same = newest["settings"]["watermark_s"] == settings.watermark_s
        if same and not force_new and checkpoint_exists(newest["number"]):
            return _read(db, newest, settings, settled, epoch)
    number = newest["number"] + 1 if newest else 0
    while checkpoint_exists(number):  # left over from another store: its offsets are not this one's
        number += 1
    identity = {"_id": f"{query}|{number}", "query": query, "topic": topic, "number": number}
    doc = identity | _first_state(settings, begin(), newest) | {"writer": epoch}
    db[documents.GENERATIONS].insert_one(doc)
    return _read(db, doc, settings, settled, epoch)


def _first_state(settings: WindowSettings, start: Mapping[int, int], before: Doc | None) -> Doc:
    """A generation that has settled nothing, and follows the one `before`."""
    return {
        "schema_version": documents.DOCUMENT_VERSION,
        "start": {str(partition): offset for partition, offset in start.items()},
        "settings": {"window_s": settings.window_s, "watermark_s": settings.watermark_s},
        "watermark_ms": before["watermark_ms"] if before else None,
        "done": -1,
        "writing": -1,
        "written": -1,
        # Progress documents number their batches on over all generations.
        "first_batch": before["first_batch"] + before["done"] + 2 if before else 0,
    }


def _newest(db: Db, query: str) -> tuple[Doc | None, dict[int, int]]:
    """The newest generation's document, and the last settled batch of each."""
    docs = sorted(db[documents.GENERATIONS].find({"query": query}), key=lambda doc: int(doc["number"]))
    return (docs[-1] if docs else None), {doc["number"]: doc["done"] for doc in docs}


def _finish(db: Db, newest: Doc, settings: WindowSettings, epoch: int) -> None:
    """Settle a batch whose documents were all written when its process ended: post what its receipts say.

    Some of its accounts may have moved already. A new generation would start at those fences and at the old
    ones of the others, so the batch must be settled as a whole before.
    """
    batch = newest["written"]
    if batch <= newest["done"]:
        return
    generation = _read(db, newest, settings, {}, epoch)
    generation.watermark_ms = newest["current"]["watermark_ms"]
    done = receipts.read(db, receipts.prefix_of(generation.query, generation.number, batch))
    accounts.post(db, generation.query, newest["topic"], done.heads, epoch)
    generation.settle(batch, done.max_event_ms)


def newest_generation(db: Db, query: str, settings: WindowSettings) -> Generation | None:
    """The newest generation as it stands, to repair with while no stream runs; None before the first start."""
    newest, settled = _newest(db, query)
    return None if newest is None else _read(db, newest, settings, settled, 0)


def _read(
    db: Db, doc: Mapping[str, Any], settings: WindowSettings, settled: dict[int, int], epoch: int
) -> Generation:
    start = {int(p): offset for p, offset in doc["start"].items()}
    return Generation(
        db,
        doc["query"],
        doc["number"],
        start,
        settings,
        doc["watermark_ms"],
        doc["done"],
        doc["first_batch"],
        settled,
        epoch,
    )


def _refuse_other_windows(query: str, newest: Mapping[str, Any], settings: WindowSettings) -> None:
    stored = newest["settings"]["window_s"]
    if stored != settings.window_s:
        raise PipelineError(
            f"query {query}: the store holds windows of {stored} s, the settings ask for "
            f"{settings.window_s} s; set JOULE_STREAM_WINDOW_S={stored}, or use another database "
            "(JOULE_MONGODB_DATABASE) and replay"
        )
