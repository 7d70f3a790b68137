"""Who an event is."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import identity_of, identity_ranges, is_hashed
from schemas.parse import parse_training
from tests.messages import RECORDED_AT, training
from tests.strategies import ids

names = st.fixed_dictionaries(
    {}, optional={"event_id": ids, "producer_id": ids, "sequence": st.integers(0, 2**63 - 1)}
)


def key(owner: str, fields: dict[str, Any], message: bytes) -> tuple[Any, ...]:
    """What makes an event itself, said in another way than by a string."""
    if "event_id" in fields:
        return ("e", owner, fields["event_id"])
    if "producer_id" in fields and "sequence" in fields:
        return ("s", owner, fields["producer_id"], fields["sequence"])
    return ("h", message)


def test_event_id_comes_first_then_producer_and_sequence_then_the_bytes() -> None:
    everything = {"event_id": "a", "producer_id": "p", "sequence": 0}
    assert identity_of("r", everything, b"x") == "e|r|a"
    assert identity_of("r", {**everything, "event_id": None}, b"x") == "s|r|p|0"
    assert identity_of("r", {"producer_id": "p"}, b"x") == "h|" + hashlib.sha256(b"x").hexdigest()
    assert identity_of("r", {"sequence": 3}, b"x") == identity_of("other", {}, b"x")


@given(ids, names, st.binary(max_size=3), ids, names, st.binary(max_size=3))
def test_two_events_have_one_identity_only_where_they_are_one_event(
    owner: str,
    fields: dict[str, Any],
    message: bytes,
    owner_2: str,
    fields_2: dict[str, Any],
    message_2: bytes,
) -> None:
    same_event = key(owner, fields, message) == key(owner_2, fields_2, message_2)
    same_identity = identity_of(owner, fields, message) == identity_of(owner_2, fields_2, message_2)
    assert same_event == same_identity


@given(ids, names, ids)
def test_ranges_of_an_owner_hold_its_named_identities_and_nobody_elses(
    owner: str, fields: dict[str, Any], asked: str
) -> None:
    identity = identity_of(owner, fields, b"")
    held = any(low <= identity < high for low, high in identity_ranges(asked))
    assert held == (asked == owner and not is_hashed(identity))


def test_an_owner_whose_name_begins_with_anothers_is_outside_its_ranges() -> None:
    low, high = identity_ranges("run")[0]
    assert low <= "e|run|1" < high
    assert not low <= "e|run-2|1" < high
    assert not low <= "e|ru|1" < high


def test_a_resent_event_is_one_event_whatever_its_bytes() -> None:
    first = parse_training(training(event_id="a", loss=1), RECORDED_AT)
    again = parse_training(training(event_id="a", loss=2), RECORDED_AT)
    assert first.identity == again.identity
    without = [parse_training(training(loss=loss), RECORDED_AT).identity for loss in (1, 1, 2)]
    assert without[0] == without[1] != without[2]
