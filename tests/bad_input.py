"""Messages that must be rejected, each with its reason: what was seen in the wild, and every limit once.

Unit tests hold the parser to this list; the end-to-end test sends the same bytes through a real broker. Two
need care there: a tombstone has the value None, and messages above 1 MiB pass a broker only compressed.
`ODD_BUT_GOOD` lists what looks as strange and must be accepted.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

from schemas import reasons as why
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from tests.messages import ABSENT, AT_EPOCH_S, AT_TEXT, Raw, nested, node, training
from tests.odd_input import ODD_BUT_GOOD

__all__ = ["BAD_INPUTS", "ODD_BUT_GOOD", "BadInput"]

TEN_MB = 10_000_000


@dataclass(frozen=True)
class BadInput:
    """A message that must be rejected with `reason`."""

    name: str
    topic: str
    value: bytes | None
    reason: str


def _bytes(name: str, value: bytes | None, reason: str) -> BadInput:
    return BadInput(name, TRAINING_EVENTS, value, reason)


def _event(name: str, reason: str, **fields: Any) -> BadInput:
    return BadInput(name, TRAINING_EVENTS, training(**fields), reason)


def _sample(name: str, reason: str, **fields: Any) -> BadInput:
    return BadInput(name, NODE_METRICS, node(**fields), reason)


def _at(name: str, timestamp: Any, reason: str = why.INVALID_TIMESTAMP) -> BadInput:
    return _event(f"time-{name}", reason, timestamp=timestamp)


_good = training(energy_kwh=0.1)

NOT_JSON = (
    _bytes("empty", b"", why.EMPTY_MESSAGE),
    _bytes("tombstone", None, why.EMPTY_MESSAGE),
    BadInput("node-tombstone", NODE_METRICS, None, why.EMPTY_MESSAGE),
    _bytes("plain-text", b"epoch 3 done", why.MALFORMED_JSON),
    _bytes("cut-in-half", _good[: len(_good) // 2], why.MALFORMED_JSON),
    _bytes("two-objects", _good + b"\n" + _good, why.MALFORMED_JSON),
    _bytes("byte-order-mark", b"\xef\xbb\xbf" + _good, why.MALFORMED_JSON),
    _bytes("single-quotes", b"{'run_id': 'r'}", why.MALFORMED_JSON),
    _bytes("trailing-comma", _good[:-1] + b",}", why.MALFORMED_JSON),
    _bytes("raw-line-feed-in-text", training(project=Raw('"a\nb"')), why.MALFORMED_JSON),
    _bytes("nul-bytes", b"\0" * 16, why.MALFORMED_JSON),
    _bytes("schema-registry-framing", b"\0\0\0\0\x07" + _good, why.MALFORMED_JSON),
    _bytes("hexadecimal", training(step=Raw("0x10")), why.MALFORMED_JSON),
    _event("lone-surrogate", why.MALFORMED_JSON, model_name=Raw(r'"\ud83d"')),
    _event("lone-surrogate-in-key", why.MALFORMED_JSON, hyperparameters=Raw(r'{"\udc00": 1}')),
    _bytes("latin-1", training(project="café").decode().encode("latin-1"), why.NOT_UTF8),
    _bytes("utf-16", _good.decode().encode("utf-16"), why.NOT_UTF8),
    _bytes("surrogate-in-utf-8", training(project=Raw('"@"')).replace(b"@", b"\xed\xa0\x80"), why.NOT_UTF8),
    _bytes("gzip", gzip.compress(_good, mtime=0), why.NOT_UTF8),
    _bytes("array", b"[" + _good + b"]", why.NOT_AN_OBJECT),
    _bytes("null", b"null", why.NOT_AN_OBJECT),
    _bytes("number", b"42", why.NOT_AN_OBJECT),
    _bytes("json-in-a-text", json.dumps(_good.decode()).encode(), why.NOT_AN_OBJECT),
    _bytes("duplicate-key", _good[:-1] + b', "energy_kwh": 0.2}', why.DUPLICATE_KEY),
    _event("duplicate-key-inside", why.DUPLICATE_KEY, hyperparameters=Raw('{"lr": 1, "lr": 2}')),
    _event("duplicate-surrogate-key", why.DUPLICATE_KEY, hyperparameters=Raw(r'{"\ud800": 1, "\ud800": 2}')),
    _bytes("100k-brackets", b"[" * 100_000, why.TOO_DEEP),
    _bytes("100k-nested-arrays", nested(100_000).encode(), why.TOO_DEEP),
    _bytes("100k-nested-objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, why.TOO_DEEP),
    _event("33-levels", why.TOO_DEEP, tree=nested(32)),
    _event("deep-hyperparameters", why.TOO_DEEP, hyperparameters=Raw(f'{{"tree": {nested(900)}}}')),
    _event("deep-run-id", why.TOO_DEEP, run_id=nested(900)),
    _bytes("one-byte-above-1-mib", _good + b" " * (1024**2 + 1 - len(_good)), why.MESSAGE_TOO_LARGE),
    _event("10-mb", why.MESSAGE_TOO_LARGE, project="x" * TEN_MB),
)

NUMBERS = (
    _event("nan", why.NOT_FINITE, energy_kwh=Raw("NaN")),
    _event("nan-as-id", why.NOT_FINITE, run_id=Raw("NaN")),
    _event("infinity", why.NOT_FINITE, loss=Raw("Infinity")),
    _event("minus-infinity", why.NOT_FINITE, loss=Raw("-Infinity")),
    _event("nan-in-hyperparameters", why.NOT_FINITE, hyperparameters=Raw('{"lr": NaN}')),
    _event("1e999", why.NOT_FINITE, energy_kwh=Raw("1e999")),
    _event("minus-1e999", why.NOT_FINITE, energy_kwh=Raw("-1e999")),
    _event("1e999-loss", why.NOT_FINITE, loss=Raw("1e999")),
    _event("1e999-count", why.NOT_FINITE, sequence=Raw("1e999")),
    _event("1e999-in-hyperparameters", why.NOT_FINITE, hyperparameters=Raw('{"a": [{"b": 1e999}]}')),
    _event("1e999-in-unknown-field", why.NOT_FINITE, note=Raw("1e999")),
    _event("1e999-total", why.NOT_FINITE, event_type="run_summary", total_energy_kwh=Raw("1e999")),
    _sample("1e999-gpu", why.NOT_FINITE, gpus=Raw('[{"uuid": "g", "energy_j": 1e999}]')),
    _event("2-to-the-63", why.OUT_OF_RANGE, sequence=2**63),
    _event("2-to-the-63-loss", why.OUT_OF_RANGE, loss=2**63),
    _event("2-to-the-63-in-hyperparameters", why.OUT_OF_RANGE, hyperparameters={"seed": 2**64 - 1}),
    _event("2-to-the-63-in-unknown-field", why.OUT_OF_RANGE, note=-(2**63) - 1),
    _event("count-of-1e300", why.OUT_OF_RANGE, sequence=1e300),
    _event("400-digits", why.OUT_OF_RANGE, epoch=10**400),
    _event("5000-digits", why.OUT_OF_RANGE, epoch=Raw("9" * 5000)),
    _event("negative-energy", why.OUT_OF_RANGE, energy_kwh=-1e-9),
    _event("negative-whole-energy", why.OUT_OF_RANGE, energy_kwh=-1),
    _event("negative-interval", why.OUT_OF_RANGE, interval_s=-1.0),
    _event("negative-emissions", why.OUT_OF_RANGE, emissions_kg=-0.1),
    _event("negative-sequence", why.OUT_OF_RANGE, sequence=-1),
    _event("world-of-nobody", why.OUT_OF_RANGE, world_size=0),
    _event("version-0", why.OUT_OF_RANGE, schema_version=0),
    _event("101-percent", why.OUT_OF_RANGE, gpu_utilization_pct=100.1),
    _event("below-0-percent", why.OUT_OF_RANGE, cpu_utilization_pct=-0.1),
    _event("emissions-that-overflow", why.OUT_OF_RANGE, energy_kwh=1e308),
    _event("negative-total", why.OUT_OF_RANGE, event_type="run_summary", total_energy_kwh=-1),
    _sample("negative-joules", why.OUT_OF_RANGE, cpu_energy_j=-0.5),
    _sample("gpu-101-percent", why.OUT_OF_RANGE, gpus=[{"uuid": "g", "utilization_pct": 101}]),
    _sample("share-above-1", why.OUT_OF_RANGE, consumers=[{"run_id": "r", "cpu_time_share": 1.5}]),
    _sample(
        "shares-of-cpu", why.SHARES_EXCEED_ONE, consumers=[{"run_id": r, "cpu_time_share": 0.6} for r in "ab"]
    ),
    _sample(
        "shares-of-one-gpu",
        why.SHARES_EXCEED_ONE,
        consumers=[{"run_id": r, "gpus": [{"uuid": "g", "share": 0.51}]} for r in "ab"],
    ),
)

FIELDS = (
    _bytes("no-fields", b"{}", why.MISSING_FIELD),
    BadInput("node-no-fields", NODE_METRICS, b"{}", why.MISSING_FIELD),
    _event("no-run-id", why.MISSING_FIELD, run_id=ABSENT),
    _event("null-run-id", why.MISSING_FIELD, run_id=None),
    _event("no-timestamp", why.MISSING_FIELD, timestamp=ABSENT),
    _event("null-timestamp", why.MISSING_FIELD, timestamp=None),
    _event("summary-without-times", why.MISSING_FIELD, event_type="run_summary", timestamp=ABSENT),
    _sample("no-node-id", why.MISSING_FIELD, node_id=ABSENT),
    _sample("gpu-without-uuid", why.MISSING_FIELD, gpus=[{"power_w": 10}]),
    _sample("share-of-nothing", why.MISSING_FIELD, consumers=[{"run_id": "r", "gpus": [{"uuid": "g"}]}]),
    _event("number-as-text", why.WRONG_TYPE, energy_kwh="0.5"),
    _event("number-with-unit", why.WRONG_TYPE, energy_kwh="0.5 kWh"),
    _event("true-as-number", why.WRONG_TYPE, energy_kwh=True),
    _event("true-as-count", why.WRONG_TYPE, rank=False),
    _event("fraction-as-count", why.WRONG_TYPE, sequence=1.5),
    _event("number-as-id", why.WRONG_TYPE, run_id=7),
    _event("operator-as-id", why.WRONG_TYPE, run_id={"$gt": ""}),
    _event("operator-as-user", why.WRONG_TYPE, user_id={"$ne": None}),
    _event("number-as-text-field", why.WRONG_TYPE, model_name=50),
    _event("number-as-region", why.WRONG_TYPE, region_iso=276),
    _event("number-as-status", why.WRONG_TYPE, status=0),
    _event("array-as-hyperparameters", why.WRONG_TYPE, hyperparameters=[["lr", 0.1]]),
    _event("text-as-hyperparameters", why.WRONG_TYPE, hyperparameters="lr=0.1"),
    _event("text-as-meters", why.WRONG_TYPE, meters="nvml"),
    _event("number-among-meters", why.WRONG_TYPE, meters=["nvml", 1]),
    _event("null-among-meters", why.WRONG_TYPE, meters=[None]),
    _sample("object-as-gpus", why.WRONG_TYPE, gpus={"0": {"uuid": "g"}}),
    _sample("null-among-gpus", why.WRONG_TYPE, gpus=[None]),
    _sample("consumer-without-a-name", why.MISSING_FIELD, consumers=[{"cpu_time_share": 0.5}]),
    _sample("pod-without-its-namespace", why.MISSING_FIELD, consumers=[{"pod": "p"}]),
    _sample("text-as-consumer", why.WRONG_TYPE, consumers=["r"]),
    _event("unknown-status", why.INVALID_VALUE, status="running"),
    _event("unknown-measurement", why.INVALID_VALUE, measurement="guessed"),
    _sample("node-unknown-measurement", why.INVALID_VALUE, measurement=""),
    _event("unknown-event-type", why.UNKNOWN_EVENT_TYPE, event_type="checkpoint"),
    _event("event-type-in-capitals", why.UNKNOWN_EVENT_TYPE, event_type="METRIC"),
    _event("event-type-empty", why.UNKNOWN_EVENT_TYPE, event_type=""),
    _event("event-type-number", why.UNKNOWN_EVENT_TYPE, event_type=1),
    _event("event-type-array", why.UNKNOWN_EVENT_TYPE, event_type=["metric"]),
    _event("id-empty", why.INVALID_ID, run_id=""),
    _event("id-with-separator", why.INVALID_ID, run_id="a|b"),
    _event("id-with-space", why.INVALID_ID, run_id="my run"),
    _event("id-with-line-feed", why.INVALID_ID, run_id="run\n"),
    _event("id-with-nul", why.INVALID_ID, run_id="run\0"),
    _event("id-with-umlaut", why.INVALID_ID, user_id="jürgen"),
    _event("id-of-201", why.INVALID_ID, run_id="r" * 201),
    _event("id-as-html", why.INVALID_ID, run_id="<img onerror=alert(1)>"),
    _event("id-as-formula", why.INVALID_ID, event_id='=HYPERLINK("http://x")'),
    _sample("node-id-with-separator", why.INVALID_ID, node_id="n|1"),
    _sample("consumer-id-with-separator", why.INVALID_ID, consumers=[{"run_id": "r|1"}]),
    _event("text-of-1001", why.TEXT_TOO_LONG, model_name="m" * 1001),
    _event("region-of-1001", why.TEXT_TOO_LONG, region_iso="x" * 1001),
    _event("meter-of-1001", why.TEXT_TOO_LONG, meters=["m" * 1001]),
    _event("65-hyperparameters", why.TOO_MANY_ITEMS, hyperparameters={str(i): i for i in range(65)}),
    _event("65-meters", why.TOO_MANY_ITEMS, meters=["m"] * 65),
    _sample("1025-gpus", why.TOO_MANY_ITEMS, gpus=[{"uuid": str(i)} for i in range(1025)]),
    _sample("1025-consumers", why.TOO_MANY_ITEMS, consumers=[{"run_id": str(i)} for i in range(1025)]),
    _event("unknown-field-above-4-kib", why.EXTRA_TOO_LARGE, note="x" * 4096),
    _event(
        "unknown-fields-above-4-kib", why.EXTRA_TOO_LARGE, **{f"unknown_{i}": "x" * 30 for i in range(100)}
    ),
    _event("unknown-field-of-wide-letters", why.EXTRA_TOO_LARGE, note="é" * 2100),
    _sample("gpu-unknown-field-above-4-kib", why.EXTRA_TOO_LARGE, gpus=[{"uuid": "g", "note": "x" * 4096}]),
    _sample(
        "unknown-fields-of-many-gpus",
        why.EXTRA_TOO_LARGE,
        gpus=[{"uuid": str(i), "note": "x" * 1000} for i in range(5)],
    ),
)

TIMES = (
    _at("words", "yesterday"),
    _at("empty", ""),
    _at("date-only", "2024-03-01"),
    _at("february-30", "2024-02-30T12:00:00Z"),
    _at("hour-24", "2024-03-01T24:00:00Z"),
    _at("second-61", "2024-03-01T12:00:61Z"),
    _at("offset-25-hours", "2024-03-01T12:00:00+25:00"),
    _at("zone-name", "2024-03-01T12:00:00 CET"),
    _at("week-date", "2024-W09-5T12:00:00Z"),
    _at("line-feed", AT_TEXT + "\n"),
    _at("other-digits", "٢٠٢٤-03-01T12:00:00Z"),
    _at("epoch-as-text", str(AT_EPOCH_S)),
    _at("epoch-us", AT_EPOCH_S * 1_000_000),
    _at("epoch-ns", AT_EPOCH_S * 1_000_000_000),
    _at("epoch-negative", -1),
    _at("400-digits", 10**400),
    _at("before-year-1", "0001-01-01T00:00:00+01:00"),
    _at("after-year-9999", "9999-12-31T23:59:59-01:00"),
    _at("true", True, why.WRONG_TYPE),
    _at("object", {"$date": AT_TEXT}, why.WRONG_TYPE),
    _at("1e999", Raw("1e999"), why.NOT_FINITE),
    _at("just-before-2015", "2014-12-31T23:59:59.999Z", why.TIMESTAMP_TOO_OLD),
    _at("epoch-0", 0, why.TIMESTAMP_TOO_OLD),
    _at("uptime-as-epoch", 123.4, why.TIMESTAMP_TOO_OLD),
    _at("year-1", "0001-01-01T00:00:00Z", why.TIMESTAMP_TOO_OLD),
    _at("year-2100", "2100-01-01T00:00:00Z", why.TIMESTAMP_IN_FUTURE),
    _at("year-9999", "9999-12-31T23:59:59.999Z", why.TIMESTAMP_IN_FUTURE),
    _at("epoch-ms-of-year-5000", 95_617_584_000_000, why.TIMESTAMP_IN_FUTURE),
    _sample("node-year-2100", why.TIMESTAMP_IN_FUTURE, timestamp="2100-01-01T00:00:00Z"),
    _sample("node-epoch-us", why.INVALID_TIMESTAMP, timestamp=AT_EPOCH_S * 1_000_000),
)

BAD_INPUTS: tuple[BadInput, ...] = NOT_JSON + NUMBERS + FIELDS + TIMES
