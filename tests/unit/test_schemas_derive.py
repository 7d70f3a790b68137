"""One source for an event: everything derived from it is committed, valid, and says the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pyspark.sql.types import ArrayType, DoubleType, LongType, StringType, StructType, TimestampType

from schemas.checks import check_fields
from schemas.derive import EVENTS, json_schema, spark_schema, validator
from schemas.errors import ContractError
from schemas.events import NodeSample, RunControl, RunSummaryTotals, TrainingEvent
from schemas.fields import Field, fields_of
from schemas.generate import FOLDER, PAGE, derived
from schemas.meanings import meaning_of
from schemas.parse import parse_training
from schemas.reasons import REASONS
from schemas.topics import ALL, DLQ
from tests.messages import AT, RECORDED_AT
from tests.strategies import events

EACH_CLASS = pytest.mark.parametrize("event_class", EVENTS.values(), ids=EVENTS)


def with_parts(event_class: type[object]) -> list[tuple[type[object], Field]]:
    """All fields of a class and of the entries of its arrays."""
    found = []
    for field in fields_of(event_class):
        found.append((event_class, field))
        if field.item is not None:
            found += with_parts(field.item)
    return found


@pytest.mark.parametrize("path", derived(), ids=lambda path: path.name)
def test_the_committed_file_is_what_the_classes_say(path: Path) -> None:
    assert path.read_text("utf-8") == derived()[path], "run: python -m schemas.generate"


def test_no_derived_file_is_left_over() -> None:
    assert {path for path in FOLDER.iterdir() if path.is_file()} == set(derived()) - {PAGE}


def test_every_topic_but_the_dead_letters_has_an_event_class() -> None:
    assert set(EVENTS) == set(ALL) - {DLQ}


@EACH_CLASS
def test_json_schema_is_valid_json_schema(event_class: type[object]) -> None:
    Draft202012Validator.check_schema(json_schema(event_class))


@EACH_CLASS
@given(data=st.data())
def test_what_the_classes_send_conforms_to_the_json_schema(
    event_class: type[Any], data: st.DataObject
) -> None:
    wire = json.loads(data.draw(events(event_class)).to_json())
    Draft202012Validator(json_schema(event_class)).validate(wire)
    known, extra = check_fields(event_class, wire)
    assert not extra
    assert set(known) == set(wire)


@pytest.mark.parametrize(
    "wrong",
    [
        {"energy_kwh": -1},
        {"energy_kwh": "1"},
        {"gpu_utilization_pct": 101},
        {"run_id": "a b"},
        {"run_id": None},
        {"model_name": "m" * 1001},
        {"sequence": 1.5},
        {"status": "running"},
        {"meters": ["m"] * 65},
        {"hyperparameters": []},
        {"hyperparameters": {str(i): i for i in range(65)}},
    ],
    ids=str,
)
def test_json_schema_and_checks_refuse_the_same_values(wrong: dict[str, Any]) -> None:
    wire = {"run_id": "r", "timestamp": "2024-03-01T12:00:00Z", **wrong}
    assert not Draft202012Validator(json_schema(TrainingEvent)).is_valid(wire)
    with pytest.raises(ContractError):
        parse_training(json.dumps(wire).encode(), RECORDED_AT)


def test_null_is_allowed_for_every_field_that_is_not_required() -> None:
    optional = {field.name: None for field in fields_of(TrainingEvent) if not field.required}
    wire = {"run_id": "r", "timestamp": "2024-03-01T12:00:00Z", **optional}
    Draft202012Validator(json_schema(TrainingEvent)).validate(wire)


@EACH_CLASS
def test_spark_reads_the_struct_type_and_knows_units_and_what_is_required(event_class: type[object]) -> None:
    struct = StructType.fromJson(json.loads(json.dumps(spark_schema(event_class))))
    assert struct.fieldNames() == [field.name for field in fields_of(event_class)]
    for field in fields_of(event_class):
        assert struct[field.name].nullable is not field.required
        unit = field.spec.unit
        assert struct[field.name].metadata == ({} if unit is None else {"unit": unit.value})


def test_spark_types_are_those_of_the_values() -> None:
    struct = StructType.fromJson(spark_schema(NodeSample))
    assert struct["cpu_energy_j"].dataType == DoubleType()
    assert struct["sequence"].dataType == LongType()
    assert struct["timestamp"].dataType == TimestampType()
    assert struct["meters"].dataType == ArrayType(StringType(), containsNull=False)
    gpus = struct["gpus"].dataType
    assert isinstance(gpus, ArrayType)
    assert isinstance(gpus.elementType, StructType)
    assert gpus.elementType["uuid"].nullable is False


@EACH_CLASS
def test_the_stores_validator_asks_for_id_coordinates_and_required_fields(event_class: type[object]) -> None:
    schema = validator(event_class)["$jsonSchema"]
    required = {field.name for field in fields_of(event_class) if field.required}
    assert set(schema["required"]) == {"_id", "ingest"} | required
    assert set(schema["properties"]) == {field.name for field in fields_of(event_class)} | {"ingest"}
    assert all(entry["bsonType"] for entry in schema["properties"].values())


def test_a_key_rewritten_object_passes_the_validator_too() -> None:
    types = validator(TrainingEvent)["$jsonSchema"]["properties"]["hyperparameters"]["bsonType"]
    assert set(types) == {"object", "array"}


@pytest.mark.parametrize("event_class", [*EVENTS.values(), RunSummaryTotals], ids=lambda c: c.__name__)
def test_every_field_says_what_it_means(event_class: type[object]) -> None:
    for owner, field in with_parts(event_class):
        assert meaning_of(owner, field.name)


def test_the_reference_page_names_every_field_reason_and_topic() -> None:
    page = PAGE.read_text("utf-8")
    names = [field.name for event_class in EVENTS.values() for _, field in with_parts(event_class)]
    missing = [name for name in (*names, *REASONS, *ALL) if f"`{name}`" not in page]
    assert missing == []


def test_an_event_cannot_be_changed_and_sends_only_what_is_known() -> None:
    event = RunControl(run_id="r", timestamp=AT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.run_id = "other"  # type: ignore[misc]
    assert event.to_wire() == {
        "run_id": "r",
        "timestamp": "2024-03-01T12:00:00Z",
        "action": "stop_requested",
    }


def test_an_event_with_a_number_that_is_not_finite_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        TrainingEvent(run_id="r", timestamp=AT, energy_kwh=float("nan")).to_json()
