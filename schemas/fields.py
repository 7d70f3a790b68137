"""What a field of an event is: kind, unit and limits, written once beside the field.

Checks, Spark schema, JSON Schema and store validators are all derived from these.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from schemas.units import Unit

ID_PATTERN = r"^[A-Za-z0-9._:@/+-]{1,200}$"
MAX_TEXT = 1_000
MAX_INT = 2**63 - 1
MIN_INT = -(2**63)


class Kind(Enum):
    """The sorts of values that events carry."""

    ID = "id"
    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    TIME = "time"
    CHOICE = "choice"
    REGION = "region"
    OBJECT = "object"
    TEXTS = "texts"
    ITEMS = "items"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Spec:
    """Kind, unit (if any) and limits (inclusive) of a field."""

    kind: Kind
    unit: Unit | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    max_items: int | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an event class. `item` is the class of the entries where kind is ITEMS."""

    name: str
    spec: Spec
    required: bool
    item: type[Any] | None = None


def _number(unit: Unit | None = None, minimum: float | None = 0.0, maximum: float | None = None) -> Spec:
    return Spec(Kind.NUMBER, unit, minimum, maximum)


Id: TypeAlias = Annotated[str, Spec(Kind.ID)]
Text: TypeAlias = Annotated[str, Spec(Kind.TEXT)]
Texts: TypeAlias = Annotated[tuple[str, ...], Spec(Kind.TEXTS, max_items=64)]
Region: TypeAlias = Annotated[str, Spec(Kind.REGION)]
Time: TypeAlias = Annotated[datetime, Spec(Kind.TIME)]
Count: TypeAlias = Annotated[int, Spec(Kind.INTEGER, minimum=0)]
AtLeastOne: TypeAlias = Annotated[int, Spec(Kind.INTEGER, minimum=1)]
Number: TypeAlias = Annotated[float, _number(minimum=None)]
Seconds: TypeAlias = Annotated[float, _number(Unit.SECOND)]
Joule: TypeAlias = Annotated[float, _number(Unit.JOULE)]
Watt: TypeAlias = Annotated[float, _number(Unit.WATT)]
Kwh: TypeAlias = Annotated[float, _number(Unit.KWH)]
Kg: TypeAlias = Annotated[float, _number(Unit.KG)]
GramPerKwh: TypeAlias = Annotated[float, _number(Unit.G_PER_KWH)]
Percent: TypeAlias = Annotated[float, _number(Unit.PERCENT, maximum=100.0)]
Share: TypeAlias = Annotated[float, _number(Unit.RATIO, maximum=1.0)]
Factor: TypeAlias = Annotated[float, _number(Unit.RATIO)]
Mib: TypeAlias = Annotated[float, _number(Unit.MIB)]
Celsius: TypeAlias = Annotated[float, _number(Unit.CELSIUS, minimum=None)]
Flag: TypeAlias = Annotated[bool, Spec(Kind.FLAG)]
Object: TypeAlias = Annotated[dict[str, Any], Spec(Kind.OBJECT, max_items=64)]


_FIELDS: dict[type[object], tuple[Field, ...]] = {}
_REQUIRED: dict[type[object], tuple[str, ...]] = {}


def fields_of(event_class: type[object]) -> tuple[Field, ...]:
    """The fields of a frozen event class, in order. Raises TypeError where a field has no Spec."""
    if event_class not in _FIELDS:
        _FIELDS[event_class] = _read_fields(event_class)
    return _FIELDS[event_class]


def required_of(event_class: type[object]) -> tuple[str, ...]:
    """Names of the fields that every message of an event class must have."""
    if event_class not in _REQUIRED:
        _REQUIRED[event_class] = tuple(field.name for field in fields_of(event_class) if field.required)
    return _REQUIRED[event_class]


def _read_fields(event_class: type[object]) -> tuple[Field, ...]:
    hints = get_type_hints(event_class, include_extras=True)
    return tuple(_field(f, hints[f.name]) for f in dataclasses.fields(event_class))  # type: ignore[arg-type]


def _field(declared: dataclasses.Field[Any], hint: Any) -> Field:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    spec = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Spec)), None)
    if spec is None:
        raise TypeError(f"field {declared.name} has no Spec: annotate it with a type of schemas.fields")
    item = get_args(get_args(hint)[0])[0] if spec.kind is Kind.ITEMS else None
    required = declared.default is dataclasses.MISSING and declared.default_factory is dataclasses.MISSING
    return Field(declared.name, spec, required, item)
