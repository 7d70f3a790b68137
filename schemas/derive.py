"""Schemas of other systems, derived from the event classes: JSON Schema, Spark, and the store's validator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.events import GridIntensity, NodeSample, RunControl, TrainingEvent
from schemas.fields import ID_PATTERN, MAX_TEXT, Field, Kind, fields_of
from schemas.meanings import meaning_of
from schemas.topics import GRID_INTENSITY, NODE_METRICS, RUN_CONTROL, TRAINING_EVENTS

EVENTS: dict[str, type[object]] = {
    TRAINING_EVENTS: TrainingEvent,
    NODE_METRICS: NodeSample,
    GRID_INTENSITY: GridIntensity,
    RUN_CONTROL: RunControl,
}

_JSON_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.ID: {"type": "string", "pattern": ID_PATTERN},
    Kind.TEXT: {"type": "string", "maxLength": MAX_TEXT},
    Kind.REGION: {"type": "string", "maxLength": MAX_TEXT},
    Kind.NUMBER: {"type": "number"},
    Kind.INTEGER: {"type": "integer"},
    Kind.TIME: {"type": ["string", "number"], "$comment": "RFC 3339, or epoch seconds or milliseconds"},
    Kind.CHOICE: {"type": "string"},
    Kind.FLAG: {"type": "boolean"},
    Kind.OBJECT: {"type": "object"},
    Kind.TEXTS: {"type": "array", "items": {"type": "string", "maxLength": MAX_TEXT}},
    Kind.ITEMS: {"type": "array"},
}

_SPARK_TYPES: dict[Kind, Any] = {
    **dict.fromkeys((Kind.ID, Kind.TEXT, Kind.REGION, Kind.CHOICE, Kind.OBJECT), "string"),
    Kind.NUMBER: "double",
    Kind.INTEGER: "long",
    Kind.TIME: "timestamp",
    Kind.FLAG: "boolean",
    Kind.TEXTS: {"type": "array", "elementType": "string", "containsNull": False},
}

_BSON_TYPES: dict[Kind, Any] = {
    **dict.fromkeys((Kind.ID, Kind.TEXT, Kind.REGION, Kind.CHOICE), "string"),
    Kind.NUMBER: ["double", "int", "long"],
    Kind.INTEGER: ["int", "long"],
    Kind.TIME: "date",
    Kind.FLAG: "bool",
    Kind.OBJECT: ["object", "array"],
    Kind.TEXTS: "array",
    Kind.ITEMS: "array",
}


def json_schema(event_class: type[object]) -> dict[str, Any]:
    """JSON Schema (2020-12) of an event class. Unknown fields are allowed: they are kept under `extra`."""
    fields = fields_of(event_class)
    return {
        "title": event_class.__name__,
        "description": (event_class.__doc__ or "").strip(),
        "type": "object",
        "properties": {field.name: _nullable(_json_field(event_class, field), field) for field in fields},
        "required": [field.name for field in fields if field.required],
    }


def _nullable(schema: dict[str, Any], field: Field) -> dict[str, Any]:
    """Null means not known, wherever a field may be absent."""
    if field.required:
        return schema
    if "enum" in schema:
        return {**schema, "type": ["string", "null"], "enum": [*schema["enum"], None]}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}


def _json_field(event_class: type[object], field: Field) -> dict[str, Any]:
    spec = field.spec
    schema = {**_JSON_TYPES[spec.kind], "description": meaning_of(event_class, field.name)}
    if spec.minimum is not None:
        schema["minimum"] = spec.minimum
    if spec.maximum is not None:
        schema["maximum"] = spec.maximum
    if spec.choices:
        schema["enum"] = list(spec.choices)
    if spec.max_items is not None:
        schema["maxProperties" if spec.kind is Kind.OBJECT else "maxItems"] = spec.max_items
    if field.item is not None:
        schema["items"] = json_schema(field.item)
    if spec.unit is not None:
        schema["x-unit"] = spec.unit.value
    return schema


def spark_schema(event_class: type[object]) -> dict[str, Any]:
    """Spark's JSON form of a StructType (`StructType.fromJson` reads it); units are in the metadata."""
    return _struct(event_class, _spark_field)


def _struct(event_class: type[object], convert: Callable[[Field], Any]) -> dict[str, Any]:
    fields = [
        {
            "name": field.name,
            "type": convert(field),
            "nullable": not field.required,
            "metadata": {"unit": field.spec.unit.value} if field.spec.unit else {},
        }
        for field in fields_of(event_class)
    ]
    return {"type": "struct", "fields": fields}


def _spark_field(field: Field) -> Any:
    if field.item is not None:
        return {"type": "array", "elementType": spark_schema(field.item), "containsNull": False}
    return _SPARK_TYPES[field.spec.kind]


def validator(event_class: type[object]) -> dict[str, Any]:
    """The store's validator for the ledger of an event class: types of the known fields, what is required."""
    properties = {field.name: {"bsonType": _BSON_TYPES[field.spec.kind]} for field in fields_of(event_class)}
    properties["ingest"] = {"bsonType": "object", "required": ["topic", "partition", "offset"]}
    required = ["_id", "ingest", *(field.name for field in fields_of(event_class) if field.required)]
    return {"$jsonSchema": {"bsonType": "object", "required": required, "properties": properties}}
