"""Bytes of a Kafka record to a typed document, or a ContractError with its reason.

Pure and total: the same bytes and record time give the same verdict, today and in a replay.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from schemas import carbon, reasons
from schemas.checks import check_fields, require, storable, wrong_type
from schemas.errors import ContractError, shown
from schemas.events import SCHEMA_VERSION, STATUSES, NodeSample, RunSummaryTotals, TrainingEvent
from schemas.identity import identity_of, is_hashed
from schemas.times import check_event_time
from schemas.units import emissions_kg

MAX_MESSAGE_BYTES = 1024**2
MAX_EXTRA_BYTES = 4 * 1024
MAX_DEPTH = 32
SHARE_TOLERANCE = 1e-9

# Words that clients of the `run_summary` dialect use for a status.
STATUS_WORDS: Mapping[str, str] = {
    **{word: word for word in STATUSES},
    **dict.fromkeys(("success", "succeeded", "finished", "done", "ok"), "completed"),
    **dict.fromkeys(("error", "failure", "crashed"), "failed"),
    **dict.fromkeys(("killed", "cancelled", "canceled", "aborted", "interrupted", "terminated"), "stopped"),
}

# `run_summary` wire name -> name under `reported_totals`.
_REPORTED: Mapping[str, str] = {
    "total_energy_kwh": "energy_kwh",
    "total_emissions_kg": "emissions_kg",
    "n_metric_events": "n_metric_events",
    "total_duration_s": "duration_s",
    "start_timestamp": "started_at",
    "end_timestamp": "ended_at",
}


@dataclass(frozen=True, slots=True)
class Parsed:
    """An accepted message: its identity and its document (typed, without `_id` and `ingest`)."""

    identity: str
    doc: dict[str, Any]


Parse: TypeAlias = Callable[[bytes | None, datetime], Parsed]


def parse_training(value: bytes | None, recorded_at: datetime) -> Parsed:
    """Check one message of `training.events`. Raises ContractError."""
    message = decode(value)
    event_type = message.get("event_type")
    reported: dict[str, Any] = {}
    if event_type == "run_summary":
        message["event_type"] = "run_finished"
        reported = _reported_totals(message)
    elif event_type is not None and event_type not in ("run_started", "metric", "run_finished"):
        raise ContractError(
            reasons.UNKNOWN_EVENT_TYPE,
            f"event_type is {shown(event_type)}; expected run_started, metric or run_finished",
            "event_type",
        )
    word = message.get("status")
    if isinstance(word, str):
        message["status"] = STATUS_WORDS.get(word.strip().lower(), word)
    doc, extra = check_fields(TrainingEvent, message)
    require(TrainingEvent, doc)
    check_event_time(doc["timestamp"], recorded_at)
    doc.setdefault("event_type", "metric")
    doc.setdefault("schema_version", SCHEMA_VERSION)
    if reported:
        doc["reported_totals"] = reported
    _keep_extra(doc, extra)
    _with_emissions(doc)
    return _identified(doc, doc["run_id"], "run_ref", value)


def parse_node(value: bytes | None, recorded_at: datetime) -> Parsed:
    """Check one message of `node.metrics`. Raises ContractError."""
    doc, extra = check_fields(NodeSample, decode(value))
    require(NodeSample, doc)
    check_event_time(doc["timestamp"], recorded_at)
    doc.setdefault("schema_version", SCHEMA_VERSION)
    _check_consumers(doc)
    _keep_extra(doc, extra, [*_extras(doc.get("gpus", ())), *_extras(doc.get("consumers", ()))])
    return _identified(doc, doc["node_id"], "node_ref", value)


def decode(value: bytes | None) -> dict[str, Any]:
    """The JSON object in a message. Raises ContractError."""
    if not value:
        raise ContractError(reasons.EMPTY_MESSAGE, "the message has no value; expected a JSON object")
    if len(value) > MAX_MESSAGE_BYTES:
        raise too_large(len(value))
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractError(reasons.NOT_UTF8, f"byte {error.start} is not UTF-8; send UTF-8 JSON") from None
    _check_depth(text)
    try:
        message = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ContractError(reasons.MALFORMED_JSON, f"not JSON: {error}") from None
    except ValueError:  # Python's own limit on the digits of an integer
        raise ContractError(
            reasons.OUT_OF_RANGE, "an integer has thousands of digits; at most 64 bits are read"
        ) from None
    if not isinstance(message, dict):
        found = type(message).__name__
        raise ContractError(reasons.NOT_AN_OBJECT, f"the JSON is a {found}; expected an object")
    if "\\u" in text:
        _check_surrogates(message)
    return message


def too_large(size: int) -> ContractError:
    """The error for a message above 1 MiB."""
    return ContractError(
        reasons.MESSAGE_TOO_LARGE, f"the message has {size} bytes; at most {MAX_MESSAGE_BYTES} are read"
    )


def _check_depth(text: str) -> None:
    """Hold objects and arrays to 32 levels by the text itself, before anything recurses into it.

    So the verdict does not depend on how deep the interpreter's stack happens to be.
    """
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    for mark in _MARKS.findall(text):
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ContractError(
                    reasons.TOO_DEEP, f"the JSON is nested too deep; at most {MAX_DEPTH} levels are read"
                )
        elif mark in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ContractError(reasons.DUPLICATE_KEY, f"key {twice[:60]!r} stands twice in one object")
    return made


def _constant(name: str) -> float:
    raise ContractError(
        reasons.NOT_FINITE, f"{name} is not a JSON number; leave the field out where not known"
    )


def _check_surrogates(message: dict[str, Any]) -> None:
    try:
        json.dumps(message, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ContractError(
            reasons.MALFORMED_JSON, "a \\u escape is half of a surrogate pair; send whole characters"
        ) from None


# Strings as a whole (brackets inside them do not nest), and brackets.
_MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)


def _reported_totals(message: dict[str, Any]) -> dict[str, Any]:
    """Take the summary's own totals out of the message; `timestamp` falls back to its end."""
    totals = {name: message.pop(name) for name in _REPORTED if name in message}
    if message.get("timestamp") is None and totals.get("end_timestamp") is not None:
        message["timestamp"] = totals["end_timestamp"]
    known, _ = check_fields(RunSummaryTotals, totals)
    return {_REPORTED[name]: value for name, value in known.items()}


def _extras(items: Iterable[dict[str, Any]]) -> Iterator[Any]:
    """What GPUs and consumers keep under their own `extra`."""
    for item in items:
        if "extra" in item:
            yield item["extra"]
        yield from _extras(item.get("gpus", ()))


def _keep_extra(doc: dict[str, Any], extra: dict[str, Any], nested: Iterable[Any] = ()) -> None:
    """Put the unknown fields under `extra`, and hold them, the entries' own included, to 4 KiB of JSON."""
    unknown = [*nested, extra] if extra else list(nested)
    if not unknown:
        return
    size = sum(len(json.dumps(e, ensure_ascii=False, separators=(",", ":")).encode()) for e in unknown)
    if size > MAX_EXTRA_BYTES:
        raise ContractError(
            reasons.EXTRA_TOO_LARGE,
            f"the unknown fields take {size} bytes; at most {MAX_EXTRA_BYTES} are kept",
            "extra",
        )
    if extra:
        doc["extra"] = storable(extra, "extra")


def _with_emissions(doc: dict[str, Any]) -> None:
    """Give emissions their source; fill them in where the client brought energy only.

    No emission stands without the intensity, its source, time and kind beside it.
    """
    energy = doc.get("energy_kwh")
    given = doc.get("carbon_intensity_g_per_kwh")
    if doc.get("emissions_kg") is not None:
        doc["emissions_source"] = "client"
        doc.setdefault("carbon_intensity_source", "client")
        return
    if energy is None:
        return
    doc["emissions_source"] = "stream"
    if given is not None:
        doc.setdefault("carbon_intensity_source", "client")
        doc["emissions_kg"] = _emissions(energy, given)
        return
    found = carbon.intensity(doc.get("region_iso"))
    doc["emissions_kg"] = _emissions(energy, found.g_per_kwh)
    doc["carbon_intensity_g_per_kwh"] = found.g_per_kwh
    doc["carbon_intensity_source"] = found.source
    doc["carbon_intensity_year"] = found.year
    doc["carbon_intensity_kind"] = found.kind
    doc["carbon_intensity_scope"] = found.scope


def _emissions(energy_kwh: float, g_per_kwh: float) -> float:
    made = emissions_kg(energy_kwh, g_per_kwh)
    if not math.isfinite(made):
        raise ContractError(
            reasons.OUT_OF_RANGE,
            f"energy_kwh {energy_kwh!r} at {g_per_kwh!r} g/kWh overflows; expected an energy that can be",
            "energy_kwh",
        )
    return made


def _check_consumers(doc: dict[str, Any]) -> None:
    """Hold each consumer to a name, and the shares of a device to 1."""
    consumers = doc.get("consumers", ())
    sums: dict[str, float] = {}
    for i, consumer in enumerate(consumers):
        if "run_id" not in consumer and not ("namespace" in consumer and "pod" in consumer):
            raise ContractError(
                reasons.MISSING_FIELD,
                f"consumers.{i} names neither a run (run_id) nor a pod (namespace and pod)",
                f"consumers.{i}.run_id",
            )
        sums["cpu"] = sums.get("cpu", 0.0) + consumer.get("cpu_time_share", 0.0)
        for gpu in consumer.get("gpus", ()):
            name = "gpu " + gpu["uuid"]
            sums[name] = sums.get(name, 0.0) + gpu["share"]
    for name, total in sums.items():
        if total > 1.0 + SHARE_TOLERANCE:
            raise ContractError(
                reasons.SHARES_EXCEED_ONE,
                f"the consumers' shares of {name} sum to {total!r}; at most 1",
                "consumers",
            )


def _identified(doc: dict[str, Any], owner: str, reference: str, value: bytes | None) -> Parsed:
    identity = identity_of(owner, doc, value or b"")
    if is_hashed(identity):
        doc[reference] = owner
    return Parsed(identity, doc)


__all__ = ["Parse", "Parsed", "decode", "parse_node", "parse_training", "too_large", "wrong_type"]
