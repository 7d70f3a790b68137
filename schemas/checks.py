"""One check per kind of field: wire value in, typed value out, or a ContractError with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from schemas import reasons
from schemas.carbon import normal_region
from schemas.errors import ContractError
from schemas.fields import ID_PATTERN, MAX_INT, MAX_TEXT, MIN_INT, Field, Kind, Spec, fields_of
from schemas.times import parse_time

MAX_DEPTH = 32

Check: TypeAlias = Callable[[Any, str], Any]

_is_id = re.compile(ID_PATTERN.rstrip("$") + r"\Z", re.ASCII).match


def wrong_type(value: Any, field: str, expected: str) -> ContractError:
    """The error for a value of another type than the contract's."""
    found = f"{type(value).__name__} {str(value)[:60]!r}"
    return ContractError(reasons.WRONG_TYPE, f"{field} is {found}; expected {expected}", field)


def check_id(value: Any, field: str) -> str:
    """An identifier: `^[A-Za-z0-9._:@/+-]{1,200}$`."""
    if not isinstance(value, str):
        raise wrong_type(value, field, "text")
    if not _is_id(value):
        raise ContractError(
            reasons.INVALID_ID, f"{field} {value[:80]!r} is not an identifier; expected {ID_PATTERN}", field
        )
    return value


def check_text(value: Any, field: str) -> str:
    """A text of at most 1,000 characters."""
    if not isinstance(value, str):
        raise wrong_type(value, field, "text")
    if len(value) > MAX_TEXT:
        raise ContractError(
            reasons.TEXT_TOO_LONG,
            f"{field} has {len(value)} characters; at most {MAX_TEXT} are allowed",
            field,
        )
    return value


def _bounded(spec: Spec) -> Check:
    low, high = spec.minimum, spec.maximum

    def check(value: float, field: str) -> float:
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"{'-∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"
            raise ContractError(reasons.OUT_OF_RANGE, f"{field} is {value!r}; expected {bounds}", field)
        return value

    return check


def _number(spec: Spec) -> Check:
    bounded = _bounded(spec)

    def check(value: Any, field: str) -> float:
        if type(value) is not float:
            if type(value) is not int:
                raise wrong_type(value, field, "a number")
            value = check_storable_int(value, field)
        if not math.isfinite(value):
            raise ContractError(
                reasons.NOT_FINITE, f"{field} is {value}; only finite numbers are facts", field
            )
        return float(bounded(value, field))

    return check


def _integer(spec: Spec) -> Check:
    bounded = _bounded(spec)

    def check(value: Any, field: str) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            if type(value) is float and not math.isfinite(value):
                raise ContractError(reasons.NOT_FINITE, f"{field} is {value}; expected an integer", field)
            raise wrong_type(value, field, "an integer")
        return int(bounded(check_storable_int(value, field), field))

    return check


def check_storable_int(value: int, field: str) -> int:
    """An integer that 64 bits hold."""
    if not MIN_INT <= value <= MAX_INT:
        raise ContractError(
            reasons.OUT_OF_RANGE, f"{field} needs more than 64 bits; send a smaller number", field
        )
    return value


def _choice(spec: Spec) -> Check:
    def check(value: Any, field: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(value, field, "text")
        if value not in spec.choices:
            raise ContractError(
                reasons.INVALID_VALUE,
                f"{field} is {value[:60]!r}; expected one of {', '.join(spec.choices)}",
                field,
            )
        return value

    return check


def _flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(value, field, "true or false")
    return value


def _region(value: Any, field: str) -> str:
    return normal_region(check_text(value, field))


def _too_many(value: Any, spec: Spec, field: str) -> None:
    if spec.max_items is not None and len(value) > spec.max_items:
        raise ContractError(
            reasons.TOO_MANY_ITEMS,
            f"{field} has {len(value)} entries; at most {spec.max_items} are allowed",
            field,
        )


def _texts(spec: Spec) -> Check:
    def check(value: Any, field: str) -> list[str]:
        if not isinstance(value, list):
            raise wrong_type(value, field, "an array of texts")
        _too_many(value, spec, field)
        return [check_text(item, f"{field}.{i}") for i, item in enumerate(value)]

    return check


def _object(spec: Spec) -> Check:
    def check(value: Any, field: str) -> Any:
        if not isinstance(value, dict):
            raise wrong_type(value, field, "an object")
        _too_many(value, spec, field)
        return storable(value, field)

    return check


def _items(spec: Spec, item_class: type[Any]) -> Check:
    def check(value: Any, field: str) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            raise wrong_type(value, field, "an array of objects")
        _too_many(value, spec, field)
        return [_item(item_class, entry, f"{field}.{i}") for i, entry in enumerate(value)]

    return check


def _item(item_class: type[Any], value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, "an object")
    known, extra = check_fields(item_class, value, path + ".")
    require(item_class, known, path + ".")
    if extra:
        known["extra"] = storable(extra, path)
    return known


def storable(value: Any, field: str, depth: int = 1) -> Any:
    """A free JSON value as the store can keep it.

    An object with a key that cannot be a field name (`$`, `.`, NUL or empty) becomes an array of `{k, v}`.
    Raises ContractError on a number that is not finite or needs more than 64 bits, and beyond 32 levels.
    """
    if depth > MAX_DEPTH:
        raise ContractError(reasons.TOO_DEEP, f"{field} is nested deeper than {MAX_DEPTH} levels", field)
    if isinstance(value, dict):
        kept = {key: storable(entry, f"{field}.{key[:60]}", depth + 1) for key, entry in value.items()}
        if any(not key or key[0] == "$" or "." in key or "$" in key or "\0" in key for key in kept):
            return [{"k": key, "v": entry} for key, entry in kept.items()]
        return kept
    if isinstance(value, list):
        return [storable(entry, f"{field}.{i}", depth + 1) for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ContractError(reasons.NOT_FINITE, f"{field} is {value}; only finite numbers are facts", field)
    if type(value) is int:
        return check_storable_int(value, field)
    return value


def check_of(field: Field) -> Check:
    """The check of one field, from its Spec."""
    spec = field.spec
    if spec.kind is Kind.ITEMS:
        assert field.item is not None  # noqa: S101 - fields_of sets it for this kind
        return _items(spec, field.item)
    simple: dict[Kind, Check] = {
        Kind.ID: check_id,
        Kind.TEXT: check_text,
        Kind.TIME: parse_time,
        Kind.FLAG: _flag,
        Kind.REGION: _region,
    }
    built: dict[Kind, Callable[[Spec], Check]] = {
        Kind.NUMBER: _number,
        Kind.INTEGER: _integer,
        Kind.CHOICE: _choice,
        Kind.TEXTS: _texts,
        Kind.OBJECT: _object,
    }
    return simple[spec.kind] if spec.kind in simple else built[spec.kind](spec)


_CHECKS: dict[type[object], dict[str, Check]] = {}


def checks_of(event_class: type[object]) -> Mapping[str, Check]:
    """The checks of all fields of an event class, by field name."""
    if event_class not in _CHECKS:
        _CHECKS[event_class] = {field.name: check_of(field) for field in fields_of(event_class)}
    return _CHECKS[event_class]


def check_fields(
    event_class: type[object], message: Mapping[str, Any], prefix: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The known fields, checked, and the unknown ones, as they are. Null fields are left out.

    Raises ContractError at the first field that breaks its limits.
    """
    checks = checks_of(event_class)
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in message.items():
        check = checks.get(name)
        if check is None:
            extra[name] = value
        elif value is not None:
            known[name] = check(value, prefix + name)
    return known, extra


def require(event_class: type[object], known: Mapping[str, Any], prefix: str = "") -> None:
    """Raise ContractError where a required field is absent or null."""
    for field in fields_of(event_class):
        if field.required and field.name not in known:
            name = field.name
            raise ContractError(
                reasons.MISSING_FIELD, f"{prefix}{name} is absent or null; it is required", prefix + name
            )
