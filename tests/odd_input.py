"""Messages that look strange and must be accepted, each with what its document keeps.

`keeps` names fields of the document and their values; ABSENT says that the document must not have the field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from tests.messages import ABSENT, AT, AT_EPOCH_S, AT_TEXT, Raw, nested, node, training


@dataclass(frozen=True)
class OddInput:
    """A message that must be accepted."""

    name: str
    topic: str
    value: bytes
    keeps: Mapping[str, Any]


def _event(name: str, keeps: Mapping[str, Any], **fields: Any) -> OddInput:
    """Each has a run of its own, so that no two are one event."""
    return OddInput(name, TRAINING_EVENTS, training(**{"run_id": f"odd-{name}", **fields}), keeps)


def _sample(name: str, keeps: Mapping[str, Any], **fields: Any) -> OddInput:
    return OddInput(name, NODE_METRICS, node(**{"node_id": f"odd-{name}", **fields}), keeps)


def _at(name: str, timestamp: Any, expected: datetime = AT) -> OddInput:
    return _event(f"time-{name}", {"timestamp": expected}, timestamp=timestamp)


def _region(name: str, region: str, kept: Any, zone: str) -> OddInput:
    keeps = {"region_iso": kept, "carbon_intensity_source": zone}
    return _event(f"region-{name}", keeps, region_iso=region, energy_kwh=0.5)


def _padded(value: bytes, size: int) -> bytes:
    return value + b" " * (size - len(value))


TABLE = "Our World in Data/Ember (CC-BY-4.0), via codecarbon 3.3.2, country "
WORLD = "IEA Global Energy & CO2 Status Report 2019, world average "

TIMES = (
    _at("zulu", AT_TEXT),
    _at("plus-zero", "2024-03-01T12:00:00+00:00"),
    _at("minus-zero", "2024-03-01T12:00:00-00:00"),
    _at("naive", "2024-03-01T12:00:00"),
    _at("space", "2024-03-01 12:00:00"),
    _at("lower-case", "2024-03-01t12:00:00z"),
    _at("offset-0530", "2024-03-01T17:30:00+05:30"),
    _at("offset-west", "2024-02-29T23:00:00-13:00"),
    _at("offset-without-colon", "2024-03-01T13:00:00+0100"),
    _at("no-seconds", "2024-03-01T12:00Z"),
    _at("microseconds", "2024-03-01T12:00:00.250999+00:00", AT + timedelta(milliseconds=250)),
    _at("nanoseconds", "2024-03-01T12:00:00.000000001Z"),
    _at("one-digit", "2024-03-01T12:00:00.5Z", AT + timedelta(milliseconds=500)),
    _at("leap-second", "2024-03-01T11:59:60Z"),
    _at("epoch-s", AT_EPOCH_S),
    _at("epoch-float-s", AT_EPOCH_S + 0.25, AT + timedelta(milliseconds=250)),
    _at("epoch-ms", AT_EPOCH_S * 1000),
    _at("epoch-float-ms", AT_EPOCH_S * 1000 + 250.5, AT + timedelta(milliseconds=250)),
    _at("first-of-2015", "2015-01-01T00:00:00Z", datetime(2015, 1, 1, tzinfo=AT.tzinfo)),
)

TEXTS = (
    _event("html", {"model_name": "<img src=x onerror=alert(1)>"}, model_name="<img src=x onerror=alert(1)>"),
    _event("formula", {"model_name": '=HYPERLINK("http://x","y")'}, model_name='=HYPERLINK("http://x","y")'),
    _event("path-as-id", {"run_id": "../../etc/passwd"}, run_id="../../etc/passwd"),
    _event("id-of-200", {"run_id": "r" * 200}, run_id="r" * 200),
    _event("id-with-all-signs", {"user_id": "A.z_0:@/+-"}, user_id="A.z_0:@/+-"),
    _event("text-of-1000", {"model_name": "m" * 1000}, model_name="m" * 1000),
    _event("text-of-1000-wide-letters", {"model_name": "界" * 1000}, model_name="界" * 1000),
    _event("escaped-emoji", {"model_name": "🦙"}, model_name=Raw(r'"\ud83e\udd99"')),
    _event("nul-in-text", {"model_name": "a\0b"}, model_name="a\0b"),
    _event("right-to-left", {"project": "\u202egpj.exe"}, project="\u202egpj.exe"),
    _event("separator-in-text", {"model_name": "a|b"}, model_name="a|b"),
    _event("empty-texts", {"model_name": ABSENT, "region_iso": ABSENT}, model_name="", region_iso=""),
)

KEYS = (
    _event("where-key", {"hyperparameters": [{"k": "$where", "v": "1"}]}, hyperparameters={"$where": "1"}),
    _event("dotted-key", {"hyperparameters": [{"k": "a.b", "v": 1}]}, hyperparameters={"a.b": 1}),
    _event("nul-key", {"hyperparameters": [{"k": "a\0b", "v": 1}]}, hyperparameters={"a\0b": 1}),
    _event("empty-key", {"hyperparameters": [{"k": "", "v": 1}]}, hyperparameters={"": 1}),
    _event(
        "dotted-key-inside",
        {"hyperparameters": {"opt": [{"betas": [{"k": "b.1", "v": 0.9}, {"k": "b2", "v": None}]}]}},
        hyperparameters={"opt": [{"betas": {"b.1": 0.9, "b2": None}}]},
    ),
    _event(
        "script-keys",
        {"hyperparameters": {"__proto__": 1, "_id": 2}},
        hyperparameters={"__proto__": 1, "_id": 2},
    ),
    _event(
        "k8s-label", {"extra": [{"k": "app.kubernetes.io/name", "v": "x"}]}, **{"app.kubernetes.io/name": "x"}
    ),
    _event("unknown-field", {"extra": {"git_sha": "abc", "tags": ["a"]}}, git_sha="abc", tags=["a"]),
    _event("own-extra", {"extra": {"extra": {"a": 1}}}, extra={"a": 1}),
    _event(
        "forged-fields",
        {
            "extra": {"_id": "x", "ingest": {"offset": 0}, "late": True},
            "_id": ABSENT,
            "ingest": ABSENT,
            "late": ABSENT,
        },
        _id="x",
        ingest={"offset": 0},
        late=True,
    ),
    _event("forged-source", {"emissions_source": "stream"}, emissions_source="client", energy_kwh=1),
    _event("32-levels", {"extra": {"tree": json.loads(nested(31))}}, tree=nested(31)),
    _event("brackets-in-text", {"project": "[" * 500 + "{"}, project="[" * 500 + "{"),
    _event("64-hyperparameters", {}, hyperparameters={str(i): i for i in range(64)}),
    _event("unknown-field-of-4-kib", {"extra": {"note": "x" * 4085}}, note="x" * 4085),
    OddInput(
        "message-of-1-mib",
        TRAINING_EVENTS,
        _padded(training(run_id="odd-1-mib"), 1024**2),
        {"run_id": "odd-1-mib"},
    ),
)

NUMBERS = (
    _event("whole-energy", {"energy_kwh": 1.0}, energy_kwh=1),
    _event("zero-energy", {"energy_kwh": 0.0, "emissions_kg": 0.0}, energy_kwh=0),
    _event("float-sequence", {"sequence": 3}, sequence=Raw("3.0")),
    _event("exponent-sequence", {"sequence": 1000}, sequence=Raw("1e3")),
    _event("largest-sequence", {"sequence": 2**63 - 1}, sequence=2**63 - 1),
    _event("smallest-seed", {"hyperparameters": {"seed": -(2**63)}}, hyperparameters={"seed": -(2**63)}),
    _event("tiny-energy", {"energy_kwh": 5e-324}, energy_kwh=5e-324),
    _event("accuracy-in-percent", {"accuracy": 92.5}, accuracy=92.5),
    _event("negative-loss", {"loss": -1e308}, loss=-1e308),
    _event("100-percent", {"gpu_utilization_pct": 100.0}, gpu_utilization_pct=100),
    _event(
        "nulls",
        {
            "energy_kwh": ABSENT,
            "loss": ABSENT,
            "emissions_kg": ABSENT,
            "sequence": ABSENT,
            "event_type": "metric",
        },
        energy_kwh=None,
        loss=None,
        emissions_kg=None,
        sequence=None,
        event_type=None,
    ),
    _event("null-hyperparameter", {"hyperparameters": {"seed": None}}, hyperparameters={"seed": None}),
)

CARBON = (
    _region("alpha-2-lower", "de", "DEU", TABLE + "DEU, 2023"),
    _region("alpha-3-lower", "deu", "DEU", TABLE + "DEU, 2023"),
    _region("spaces", " FR ", "FRA", TABLE + "FRA, 2023"),
    _region("subdivision", "US-CA", "US-CA", TABLE + "USA, 2023"),
    _region("unknown", "Atlantis", "Atlantis", WORLD + "(region 'Atlantis' not in the country table)"),
    _region("empty", "", ABSENT, WORLD + "(region not given)"),
    _region("as-operator", "$where", "$where", WORLD + "(region '$where' not in the country table)"),
    _event(
        "own-emissions",
        {"emissions_kg": 9.0, "emissions_source": "client", "carbon_intensity_g_per_kwh": ABSENT},
        energy_kwh=1,
        emissions_kg=9,
        region_iso="de",
    ),
    _event(
        "own-intensity",
        {"emissions_kg": 0.1, "emissions_source": "stream", "carbon_intensity_source": "my contract"},
        energy_kwh=1,
        carbon_intensity_g_per_kwh=100,
        carbon_intensity_source="my contract",
    ),
    _event("pue-is-kept-apart", {"energy_kwh": 1.0, "pue": 1.5}, energy_kwh=1, pue=1.5),
)

SUMMARIES = (
    _event(
        "run-summary",
        {
            "event_type": "run_finished",
            "timestamp": AT,
            "status": "completed",
            "energy_kwh": ABSENT,
            "reported_totals": {
                "started_at": AT - timedelta(hours=1),
                "ended_at": AT,
                "energy_kwh": 1.5,
                "emissions_kg": 0.6,
                "n_metric_events": 720,
                "duration_s": 3600.0,
            },
        },
        event_type="run_summary",
        timestamp=ABSENT,
        start_timestamp="2024-03-01T12:00:00+01:00",
        end_timestamp=AT_EPOCH_S,
        total_energy_kwh=1.5,
        total_emissions_kg=0.6,
        n_metric_events=720.0,
        total_duration_s=3600,
        status="Success",
    ),
    _event(
        "run-summary-bare",
        {"event_type": "run_finished", "reported_totals": ABSENT},
        event_type="run_summary",
    ),
    _event("status-killed", {"status": "stopped"}, event_type="run_finished", status=" KILLED "),
    _event(
        "totals-on-a-metric", {"extra": {"total_energy_kwh": 1.5}, "energy_kwh": ABSENT}, total_energy_kwh=1.5
    ),
)

NODES = (
    _sample("node-at-epoch-ms", {"timestamp": AT, "schema_version": 1}, timestamp=AT_EPOCH_S * 1000),
    _sample(
        "ninths-that-add-up-to-a-little-above-1",
        {},
        consumers=[{"run_id": f"r{i}", "cpu_time_share": 1 / 9} for i in range(9)],
    ),
    _sample(
        "share-not-known",
        {"consumers": [{"run_id": "r"}]},
        consumers=[{"run_id": "r", "cpu_time_share": None}],
    ),
    _sample(
        "gpu-unknown-fields",
        {"gpus": [{"uuid": "g", "energy_j": 0.0, "extra": [{"k": "fan.pct", "v": 40}]}]},
        gpus=[{"uuid": "g", "energy_j": 0, "power_w": None, "fan.pct": 40}],
    ),
    _sample(
        "cold-gpu",
        {"gpus": [{"uuid": "g", "temperature_c": -3.0}]},
        gpus=[{"uuid": "g", "temperature_c": -3}],
    ),
    _sample("no-gpus", {"gpus": [], "consumers": []}, gpus=[], consumers=[]),
    _sample("node-region", {"region_iso": "CHE"}, region_iso="ch"),
    _sample("node-path-as-id", {"node_id": "../../etc/passwd"}, node_id="../../etc/passwd"),
)

ODD_BUT_GOOD: tuple[OddInput, ...] = TIMES + TEXTS + KEYS + NUMBERS + CARBON + SUMMARIES + NODES
