"""The collections: names, `_id` rules, indexes, validators and what makes them expire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.derive import validator
from schemas.events import NodeSample, TrainingEvent
from schemas.times import rfc3339

DOCUMENT_VERSION = 1

TRAINING_METRICS = "training_metrics"
NODE_METRICS = "node_metrics"
RUN_SUMMARY = "training_run_summary"
WINDOWS = "aggregated_metrics"
NODE_WINDOWS = "node_aggregates"
FORECASTS = "energy_forecasts"
FORECAST_STATES = "forecast_states"
MODEL_REGISTRY = "model_registry"
BUDGETS = "budgets"
ALERTS = "alerts"
REJECTED = "rejected_events"
ACCOUNTS = "stream_accounts"
GENERATIONS = "stream_generations"
RECEIPTS = "stream_receipts"
LEASES = "stream_leases"
PROGRESS = "stream_progress"
LATE = "late_events"
HOLDS = "stream_holds"
REPAIRS = "repair_requests"

DIMENSIONS = ("run", "user", "model", "region", "all")


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index: keys with 1 or -1. `sparse` leaves out documents without the first key."""

    keys: tuple[tuple[str, int], ...]
    sparse: bool = False

    @property
    def name(self) -> str:
        """The name that MongoDB would give."""
        return "_".join(f"{key}_{order}" for key, order in self.keys)


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection of the contract. `expires_on` is the date field that its retention setting counts from."""

    name: str
    id_rule: str
    content: str
    indexes: tuple[Index, ...] = ()
    validator: Mapping[str, Any] | None = None
    expires_on: str | None = None
    retention_setting: str | None = None
    # Made by earlier versions; each would cost a write of its own at every update.
    retired_indexes: tuple[Index, ...] = ()
    # Read by ranges of `_id`, which a server must not answer by looking at every document.
    is_read_by_ranges: bool = False


# Of servers that do not use the index of `_id` for ranges; the second key only makes it an index like any other.
RANGES = Index((("_id", 1), ("schema_version", 1)))

COLLECTIONS: tuple[Collection, ...] = (
    Collection(
        TRAINING_METRICS,
        "identity of the event",
        "ledger of training events, one document per event",
        # No secondary index but this: only events whose identity does not name their run carry run_ref.
        (Index((("run_ref", 1),), sparse=True),),
        validator(TrainingEvent),
        "ingest.recorded_at",
        "stream.ledger_retention_days",
        is_read_by_ranges=True,
    ),
    Collection(
        NODE_METRICS,
        "identity of the sample",
        "ledger of node samples",
        (Index((("node_ref", 1),), sparse=True),),
        validator(NodeSample),
        "ingest.recorded_at",
        "stream.ledger_retention_days",
        is_read_by_ranges=True,
    ),
    Collection(
        RUN_SUMMARY,
        "run_id",
        "one document per run",
        # One only: a summary changes with nearly every batch, and `last_event_at` with it.
        (Index((("last_event_at", -1),)),),
        retired_indexes=(
            Index((("user_id", 1), ("last_event_at", -1))),
            Index((("model_name", 1), ("last_event_at", -1))),
        ),
    ),
    Collection(
        WINDOWS,
        "{dimension}|{key}|{window_start}",
        "event-time windows per run, user, model, region and over all",
        (Index((("dimension", 1), ("key", 1), ("window_start", 1))),),
        None,
        "window_end",
        "stream.windows_retention_days",
    ),
    Collection(
        NODE_WINDOWS,
        "{node_id}|{window_start}",
        "event-time windows per node, with the energy of each run on it",
        (Index((("node_id", 1), ("window_start", 1))), Index((("window_start", 1),))),
        None,
        "window_end",
        "stream.windows_retention_days",
    ),
    Collection(
        FORECASTS,
        "{target}|{issued_at}|{horizon_s}|{model_version}",
        "forecasts and, once it is known, the actual of each",
        (Index((("target", 1), ("target_at", 1))),),
        None,
        "target_at",
        "forecast.retention_days",
    ),
    Collection(
        FORECAST_STATES,
        "target",
        "what the forecaster has learned of a series: weights, speed layer, intervals",
        # By which a run finds what the last one of its model has learned.
        (Index((("kind", 1), ("learned_until", -1))),),
        None,
        "last_window_end",
        "forecast.retention_days",
    ),
    Collection(
        MODEL_REGISTRY, "version", "manifest and scores of each model that was trained; which one serves"
    ),
    Collection(BUDGETS, "name", "limits in energy, CO2e or money, of whom and over which period"),
    Collection(
        ALERTS,
        "{rule}|{subject}|{stage}|{period}",
        "what was noticed once, with its evidence, and how it was delivered: the outbox",
        (
            Index((("raised_at", -1),)),
            Index((("state", 1), ("raised_at", -1))),
            Index((("deliveries.state", 1),)),
        ),
        None,
        "resolved_at",
        "alerts.retention_days",
    ),
    Collection(
        REJECTED,
        "{topic}/{partition}/{offset}",
        "rejected messages with their bytes and reason",
        (Index((("first_seen_at", -1),)), Index((("reason", 1), ("first_seen_at", -1)))),
        None,
        "first_seen_at",
        "stream.rejected_retention_days",
    ),
    Collection(ACCOUNTS, "{topic}/{partition}", "what each partition's messages became, and the fence"),
    Collection(GENERATIONS, "{query}|{number}", "one life of a checkpoint"),
    Collection(
        RECEIPTS, "{query}|{generation}|{batch}|{partition}", "what one task of a batch did; short-lived"
    ),
    Collection(LEASES, "query", "which process writes the documents of a query"),
    Collection(HOLDS, "query", "an audit asks the stream to pause between batches; short-lived"),
    Collection(REPAIRS, "key of the document", "documents to recompute from the ledger"),
    Collection(
        LATE,
        "identity of the event",
        "contributions of events later than the watermark",
        (Index((("keys", 1),)),),
        None,
    ),
    Collection(
        PROGRESS,
        "{query}|{batch}",
        "what each batch did",
        (Index((("query", 1), ("batch", -1))), Index((("at", -1),))),
        None,
        "at",
        "stream.progress_retention_days",
    ),
)


def window_id(dimension: str, key: str | None, window_start: datetime) -> str:
    """`_id` of a window. A key that is not known is the empty segment; the last `|` ends the key."""
    return f"{dimension}|{key or ''}|{rfc3339(window_start)}"


def node_window_id(node_id: str, window_start: datetime) -> str:
    """`_id` of a node's window."""
    return f"{node_id}|{rfc3339(window_start)}"


def coordinates_id(topic: str, partition: int, offset: int) -> str:
    """`_id` of a rejected message: where it stands in Kafka."""
    return f"{topic}/{partition}/{offset}"
