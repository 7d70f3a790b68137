"""What users hand over, made fit for the contract.

A bad value costs that value and a warning, never the event.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from schemas.checks import check_of
from schemas.errors import ContractError
from schemas.events import TrainingEvent
from schemas.fields import Field, Kind, fields_of

log = logging.getLogger(__name__)

PROGRESS = ("epoch", "total_epochs", "step", "total_steps", "loss", "accuracy")
# What float(), int() and str() of a user's object raise: a tensor of many elements, a number without end.
UNUSABLE = (TypeError, ValueError, ArithmeticError, RuntimeError)
MAX_EXTRA_BYTES = 3_500  # the contract's limit is 4 KiB
MAX_OBJECT_BYTES = 64 * 1024
_FIELDS: dict[str, Field] = {field.name: field for field in fields_of(TrainingEvent)}
_CHECKS = {name: check_of(field) for name, field in _FIELDS.items()}
_OTHER_THAN_ID = re.compile(r"[^A-Za-z0-9._:@/+-]")
_EVENT_FIELDS = frozenset(f.name for f in fields(TrainingEvent))


class Cleaner:
    """Checks values, and warns once per name."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def field(self, name: str, value: Any) -> Any:
        """The value as the event's field takes it, or None where it cannot."""
        if value is None:
            return None
        try:
            coerced = _coerced(_FIELDS[name].spec.kind, value)
            checked = _CHECKS[name](coerced, name)
            return coerced if _FIELDS[name].spec.kind is Kind.OBJECT else checked  # keys stay as they are
        except ContractError as error:
            self.warn(name, f"{error.message}; left out")
        except UNUSABLE as error:
            self.warn(name, f"{name} {type(value).__name__} cannot be sent ({error}); left out")
        return None

    def static(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What is said once of a run: who, what and where; only known values."""
        cleaned = {name: self.field(name, value) for name, value in values.items()}
        hyper = cleaned.get("hyperparameters")
        if hyper is not None and len(json.dumps(hyper)) > MAX_OBJECT_BYTES:
            self.warn(
                "hyperparameters", f"hyperparameters exceed {MAX_OBJECT_BYTES // 1024} KiB of JSON; left out"
            )
            del cleaned["hyperparameters"]
        return {name: value for name, value in cleaned.items() if value is not None}

    def progress(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `log` was given: the contract's progress fields, and the rest as extra fields."""
        known = {name: self.field(name, value) for name, value in values.items() if name in PROGRESS}
        extra: dict[str, Any] = {}
        for name, value in values.items():
            if name in PROGRESS or value is None:
                continue
            if name in _EVENT_FIELDS:
                self.warn(name, f"log({name}=…) is a field that the tracker fills itself; left out")
                continue
            plain = _plain(value)
            if plain is None:
                self.warn(name, f"log({name}=…) is neither a finite number nor text; left out")
                continue
            extra[_text(name)] = plain
        if extra and len(json.dumps(extra, ensure_ascii=False).encode()) > MAX_EXTRA_BYTES:
            self.warn("extra", f"log() was given more than {MAX_EXTRA_BYTES} bytes of own values; left out")
            extra = {}
        return {name: value for name, value in known.items() if value is not None}, extra

    def identifier(self, name: str, value: Any) -> str:
        """A valid identifier that resembles what was given."""
        text = _OTHER_THAN_ID.sub("-", str(value))[:200] or "-"
        if text != value:
            self.warn(name, f"{name} {str(value)[:60]!r} is not an identifier; sent as {text!r}")
        return text

    def warn(self, name: str, message: str) -> None:
        """Say it once per name."""
        if name not in self._told:
            self._told.add(name)
            log.warning("joulestream: %s (said once)", message)


def _coerced(kind: Kind, value: Any) -> Any:
    """Scalars of numpy, torch and the like, and paths, as plain values."""
    if kind is Kind.NUMBER:
        return float(value)
    if kind is Kind.INTEGER:
        return int(value)
    if kind in (Kind.TEXT, Kind.REGION):
        return _text(str(value))
    if kind is Kind.ID:
        return _OTHER_THAN_ID.sub("-", str(value))[:200]
    if kind is Kind.OBJECT:
        return _plain_object(value)
    return value


def _plain_object(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {_text(str(key)): _plain_deep(entry) for key, entry in dict(value).items()}


def _plain_deep(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Mapping) and depth < 8:
        return {_text(str(key)): _plain_deep(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and depth < 8:
        return [_plain_deep(entry, depth + 1) for entry in value]
    plain = _plain(value)
    return _text(str(value)) if plain is None and value is not None else plain


def _plain(value: Any) -> bool | int | float | str | None:
    """A finite number, text or truth value; None where it is none of these."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    try:
        number = float(value)
    except UNUSABLE:
        return None
    return number if math.isfinite(number) else None


def _text(value: str) -> str:
    """Text that UTF-8 and the store can hold: no lone surrogates, no NUL."""
    return value.encode("utf-8", "replace").decode().replace("\0", "�")
