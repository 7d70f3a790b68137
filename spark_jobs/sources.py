"""The two sources: what of a message is parsed, counted and written, by topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from schemas import documents, topics
from schemas.parse import Parse, parse_node, parse_training
from schemas.times import from_ms, parse_time, to_ms
from spark_jobs.contributions import NODE_SUMS, TRAINING_SUMS, node_sums, training_sums
from spark_jobs.parts import Amounts


class Key(NamedTuple):
    """A window's dimension and key; `key` is None where not known."""

    dimension: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """One topic and the query that reads it. Its batches begin at least `least_trigger_s` apart."""

    query: str
    topic: str
    ledger: str
    parse: Parse
    sums: tuple[str, ...]
    amounts: Callable[[Mapping[str, Any]], Amounts]
    keys: Callable[[Mapping[str, Any]], tuple[Key, ...]]
    dimensions: tuple[str, ...]
    owner: str
    has_facets: bool
    least_trigger_s: float = 0.0


def _training_amounts(doc: Mapping[str, Any]) -> Amounts:
    return Amounts(training_sums(doc))


def _training_keys(doc: Mapping[str, Any]) -> tuple[Key, ...]:
    return (
        Key("run", doc["run_id"]),
        Key("user", doc.get("user_id")),
        Key("model", doc.get("model_name") or None),
        Key("region", doc.get("region_iso") or None),
        Key("all", "all"),
    )


def _node_amounts(doc: Mapping[str, Any]) -> Amounts:
    return Amounts(*node_sums(doc))


def _node_keys(doc: Mapping[str, Any]) -> tuple[Key, ...]:
    return (Key("node", doc["node_id"]),)


TRAINING = Source(
    "training",
    topics.TRAINING_EVENTS,
    documents.TRAINING_METRICS,
    parse_training,
    TRAINING_SUMS,
    _training_amounts,
    _training_keys,
    documents.DIMENSIONS,
    "run_id",
    True,
)
NODE = Source(
    "node",
    topics.NODE_METRICS,
    documents.NODE_METRICS,
    parse_node,
    NODE_SUMS,
    _node_amounts,
    _node_keys,
    ("node",),
    "node_id",
    False,
    # A node has one sample a second to say; a batch costs a third of a second of CPU time whatever is in it, which
    # the other query has better use for.
    least_trigger_s=2.0,
)
SOURCES: Mapping[str, Source] = {source.query: source for source in (TRAINING, NODE)}


def window_start_ms(at: datetime, window_ms: int) -> int:
    """Start (ms since the epoch) of the tumbling window that holds a time; windows align to the epoch."""
    ms = to_ms(at)
    return ms - ms % window_ms


def document_id(key: Key, start_ms: int) -> str:
    """`_id` of the window document of a key."""
    if key.dimension == "node":
        return documents.node_window_id(str(key.key), from_ms(start_ms))
    return documents.window_id(key.dimension, key.key, from_ms(start_ms))


def parse_document_id(source: Source, i: str) -> tuple[Key, int]:
    """Key and window start of a window document's `_id`: what `document_id` made it from."""
    head, _, start = i.rpartition("|")
    start_ms = to_ms(parse_time(start))
    if source is NODE:
        return Key("node", head), start_ms
    dimension, _, key = head.partition("|")
    return Key(dimension, key or None), start_ms
