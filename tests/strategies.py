"""Hypothesis strategies of valid events, built from the fields' own specs, and of JSON that is anything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas.events import Consumer
from schemas.fields import MAX_INT, MIN_INT, Field, Kind, fields_of
from schemas.times import EARLIEST
from tests.messages import RECORDED_AT

ids = st.text("abcXYZ019._:@/+-", min_size=1, max_size=12)
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
times = st.datetimes(
    EARLIEST.replace(tzinfo=None), RECORDED_AT.replace(tzinfo=None), timezones=st.just(RECORDED_AT.tzinfo)
)
times_ms = times.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [2**63, -(2**63) - 1, 10**400, "2024-03-01T12:00:00Z", "metric", "", "\0", "$where", "a.b"]
    ),
)
keys = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["run_id", "timestamp", "energy_kwh", "gpus", "uuid", "extra", "_id", "$where", "a.b", "\0", ""]
    ),
)
any_json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)

_storable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(MIN_INT, MAX_INT),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)


def events(event_class: type[Any]) -> st.SearchStrategy[Any]:
    """Valid events of a class, with any of the optional fields not known."""
    made = {
        field.name: value_of(field)
        if field.required or not _is_optional(event_class, field.name)
        else st.none() | value_of(field)
        for field in fields_of(event_class)
    }
    return st.builds(event_class, **made).filter(_names_its_consumer)


def _names_its_consumer(event: Any) -> bool:
    return (
        not isinstance(event, Consumer)
        or event.run_id is not None
        or None not in (event.namespace, event.pod)
    )


def _is_optional(event_class: type[Any], name: str) -> bool:
    return event_class.__dataclass_fields__[name].default is None


def value_of(field: Field) -> st.SearchStrategy[Any]:
    """Values that a field's limits allow. Sizes are small enough for products and sums to stay finite."""
    spec = field.spec
    if field.item is not None:
        return st.lists(events(field.item), max_size=1).map(tuple)
    low = -1e12 if spec.minimum is None else spec.minimum
    high = 1e12 if spec.maximum is None else spec.maximum
    simple: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.ID: ids,
        Kind.TEXT: texts,
        Kind.REGION: st.sampled_from(["DEU", "FRA", "Atlantis"]),
        Kind.TIME: times_ms,
        Kind.FLAG: st.booleans(),
        Kind.NUMBER: st.floats(low, high, allow_nan=False),
        Kind.INTEGER: st.integers(int(low), MAX_INT),
        Kind.CHOICE: st.sampled_from(spec.choices or [""]),
        Kind.TEXTS: st.lists(texts, max_size=3).map(tuple),
        Kind.OBJECT: st.dictionaries(st.text("abc_", min_size=1, max_size=5), _storable, max_size=3),
    }
    return simple[spec.kind]
