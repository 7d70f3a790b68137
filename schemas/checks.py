"""One check per kind of field: wire value in, typed value out, or a ContractError with its reason."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from schemas import reasons
from schemas.carbon import normal_region
from schemas.errors import ContractError, shown
from schemas.fields import (
    ID_PATTERN,
    MAX_INT,
    MAX_TEXT,
    MIN_INT,
    Field,
    Kind,
    Spec,
    fields_of,
    required_of,
)
from schemas.times import parse_time

Check: TypeAlias = Callable[[Any, str], Any]

_is_id = re.compile(ID_PATTERN.rstrip("$") + r"\Z", re.ASCII).match


def wrong_type(value: Any, field: str, expected: str) -> ContractError:
    """The error for a value of another type than the contract's."""
    return ContractError(reasons.WRONG_TYPE, f"{field} is {shown(value)}; expected {expected}", field)


def check_id(value: Any, field: str) -> str:
    """An identifier: `^[A-Za-z0-9._:@/+-]{1,200}$`."""
    if not isinstance(value, str):
        raise wrong_type(value, field, "text")
    if _is_id(value):
        return value
    raise ContractError(
        reasons.INVALID_ID, f"{field} {value[:80]!r} is not an identifier; expected {ID_PATTERN}", field
    )


def check_text(value: Any, field: str) -> str | None:
    """A text of at most 1,000 characters; the empty one says nothing, so it is None (not known)."""
    return _text(value, field) or None


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(value, field, "text")
    if len(value) > MAX_TEXT:
        raise ContractError(
            reasons.TEXT_TOO_LONG,
            f"{field} has {len(value)} characters; at most {MAX_TEXT} are allowed",
            field,
        )
    return value


def _number(spec: Spec) -> Check:
    # Within these limits means finite too: no comparison holds for NaN.
    low = -sys.float_info.max if spec.minimum is None else spec.minimum
    high = sys.float_info.max if spec.maximum is None else spec.maximum

    def check(value: Any, field: str) -> float:
        if type(value) is float:
            if low <= value <= high:
                return value
        elif type(value) is int:
            if low <= value <= high and MIN_INT <= value <= MAX_INT:
                return float(value)
            check_storable_int(value, field)
        else:
            raise wrong_type(value, field, "a number")
        raise _not_finite(value, field) if not math.isfinite(value) else _out_of_range(value, field, spec)

    return check


def _integer(spec: Spec) -> Check:
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum

    def check(value: Any, field: str) -> int:
        if type(value) is float:
            if not math.isfinite(value):
                raise _not_finite(value, field)
            if value.is_integer():
                value = int(value)
        if type(value) is not int:
            raise wrong_type(value, field, "an integer")
        if low <= value <= high and MIN_INT <= value <= MAX_INT:
            return value
        raise _out_of_range(check_storable_int(value, field), field, spec)

    return check


def _not_finite(value: float, field: str) -> ContractError:
    return ContractError(reasons.NOT_FINITE, f"{field} is {value}; only finite numbers are facts", field)


def _out_of_range(value: float, field: str, spec: Spec) -> ContractError:
    low = "-∞" if spec.minimum is None else f"{spec.minimum:g}"
    high = "∞" if spec.maximum is None else f"{spec.maximum:g}"
    return ContractError(reasons.OUT_OF_RANGE, f"{field} is {value!r}; expected {low} to {high}", field)


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


def _region(value: Any, field: str) -> str | None:
    return normal_region(_text(value, field)) or None


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
        return [_text(item, f"{field}.{i}") for i, item in enumerate(value)]

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


_PLAIN = frozenset((str, bool, type(None)))  # what every store keeps as it is


def storable(value: Any, field: str) -> Any:
    """A free JSON value as the store can keep it.

    An object with a key that cannot be a field name (`$`, `.`, NUL or empty) becomes an array of `{k, v}`.
    Raises ContractError on a number that is not finite or needs more than 64 bits. Decoding has held the
    message to 32 levels, so the recursion ends.
    """
    if isinstance(value, dict):
        kept = {
            key: entry if type(entry) in _PLAIN else storable(entry, f"{field}.{key[:60]}")
            for key, entry in value.items()
        }
        if any(not key or "." in key or "$" in key or "\0" in key for key in kept):
            return [{"k": key, "v": entry} for key, entry in kept.items()]
        return kept
    if isinstance(value, list):
        return [storable(entry, f"{field}.{i}") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _not_finite(value, field)
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
            checked = check(value, prefix + name)
            if checked is not None:
                known[name] = checked
    return known, extra


def require(event_class: type[object], known: Mapping[str, Any], prefix: str = "") -> None:
    """Raise ContractError where a required field is absent or null."""
    for name in required_of(event_class):
        if name not in known:
            raise ContractError(
                reasons.MISSING_FIELD, f"{prefix}{name} is absent or null; it is required", prefix + name
            )
