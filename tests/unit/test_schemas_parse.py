"""The parser: total, the same verdict every time, and nothing invented."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from datetime import timedelta
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import reasons
from schemas.errors import ContractError
from schemas.events import NodeSample, TrainingEvent
from schemas.fields import ID_PATTERN
from schemas.parse import MAX_MESSAGE_BYTES, Parsed, parse_node, parse_training
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from tests.bad_input import BAD_INPUTS, ODD_BUT_GOOD, BadInput
from tests.messages import ABSENT, AT, PARSERS, RECORDED_AT, node, training
from tests.odd_input import OddInput
from tests.strategies import any_json, events, keys

# The one reason that the store gives, not the parser.
GIVEN_BY_THE_STORE = {reasons.NOT_STORABLE}


def verdict(topic: str, value: bytes | None) -> Parsed | tuple[str, str, str | None]:
    """The document, or code, message and field of the rejection."""
    try:
        return PARSERS[topic](value, RECORDED_AT)
    except ContractError as error:
        return error.code, error.message, error.field


def rejection(topic: str, value: bytes) -> ContractError:
    with pytest.raises(ContractError) as caught:
        PARSERS[topic](value, RECORDED_AT)
    return caught.value


def doc(**fields: Any) -> dict[str, Any]:
    return parse_training(training(**fields), RECORDED_AT).doc


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_input_is_rejected_with_its_reason_and_a_storable_message(bad: BadInput) -> None:
    with pytest.raises(ContractError) as caught:
        PARSERS[bad.topic](bad.value, RECORDED_AT)
    assert caught.value.code == bad.reason
    assert len(caught.value.message) < 400
    bson.encode({"message": caught.value.message, "field": caught.value.field})


@pytest.mark.parametrize("odd", ODD_BUT_GOOD, ids=lambda odd: odd.name)
def test_odd_input_is_accepted_and_kept_as_it_should_be(odd: OddInput) -> None:
    parsed = PARSERS[odd.topic](odd.value, RECORDED_AT)
    found = {name: parsed.doc.get(name, ABSENT) for name in odd.keeps}
    assert found == dict(odd.keeps)
    bson.encode({"_id": parsed.identity, **parsed.doc})


def test_catalogue_names_are_unique_and_every_reason_code_is_in_it() -> None:
    names = [entry.name for entry in (*BAD_INPUTS, *ODD_BUT_GOOD)]
    assert len(set(names)) == len(names)
    assert {bad.reason for bad in BAD_INPUTS} | GIVEN_BY_THE_STORE == set(reasons.REASONS)


def test_no_two_of_the_odd_inputs_are_one_event() -> None:
    identities = [PARSERS[odd.topic](odd.value, RECORDED_AT).identity for odd in ODD_BUT_GOOD]
    assert len(set(identities)) == len(ODD_BUT_GOOD)


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=200))
def test_any_bytes_get_a_verdict_and_the_same_one_twice(topic: str, value: bytes) -> None:
    assert verdict(topic, value) == verdict(topic, value)


@given(st.sampled_from(sorted(PARSERS)), st.dictionaries(keys, any_json, max_size=5))
def test_any_json_object_gets_a_verdict_and_what_is_accepted_can_be_stored(
    topic: str, fields: dict[str, Any]
) -> None:
    owner = {TRAINING_EVENTS: "run_id", NODE_METRICS: "node_id"}[topic]
    value = json.dumps({owner: "x", "timestamp": 1_709_294_400, **fields}).encode()
    found = verdict(topic, value)
    assert repr(found) == repr(verdict(topic, value))
    if isinstance(found, Parsed):
        bson.encode({"_id": found.identity, **found.doc})


VALID_NODE = NodeSample(
    node_id="n",
    timestamp=AT,
    gpus=(),
    cpu_energy_j=1.0,
    meters=("rapl",),
).to_json()


@given(st.sampled_from(sorted(PARSERS)), st.data())
def test_a_valid_message_with_a_few_bytes_changed_gets_a_verdict(topic: str, data: st.DataObject) -> None:
    value = bytearray(
        {TRAINING_EVENTS: training(energy_kwh=0.5, hyperparameters={"a": [1]}), NODE_METRICS: VALID_NODE}[
            topic
        ]
    )
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    found = verdict(topic, bytes(value))
    assert isinstance(found, Parsed) or found[0] in reasons.REASONS


@pytest.mark.parametrize("name", ["100k-nested-arrays", "deep-run-id", "deep-hyperparameters"])
def test_the_verdict_does_not_depend_on_how_deep_the_stack_is(name: str) -> None:
    bad = next(entry for entry in BAD_INPUTS if entry.name == name)

    def at_depth(frames: int) -> Any:
        return at_depth(frames - 1) if frames else verdict(bad.topic, bad.value)

    assert at_depth(sys.getrecursionlimit() // 2) == at_depth(0)


@given(events(TrainingEvent))
def test_a_training_event_comes_back_as_it_was_sent(event: TrainingEvent) -> None:
    parsed = parse_training(event.to_json(), RECORDED_AT).doc
    from_the_table = "carbon_intensity_year" in parsed
    for field in dataclasses.fields(event):
        sent = getattr(event, field.name)
        if sent is None:
            # Not known stays not known; only what the stream says itself may be there.
            assert field.name not in parsed or field.name in FILLED_BY_THE_STREAM
        elif field.name == "hyperparameters":
            continue  # its keys may be rewritten
        elif field.name == "carbon_intensity_source" and from_the_table:
            assert event.carbon_intensity_g_per_kwh is None  # a source without its value says nothing
        else:
            assert parsed[field.name] == (list(sent) if isinstance(sent, tuple) else sent)


FILLED_BY_THE_STREAM = {
    "schema_version",
    "emissions_kg",
    "carbon_intensity_g_per_kwh",
    "carbon_intensity_source",
}


@given(events(NodeSample))
def test_a_node_sample_comes_back_as_it_was_sent(sample: NodeSample) -> None:
    parsed = parse_node(sample.to_json(), RECORDED_AT).doc
    for field in dataclasses.fields(sample):
        sent = getattr(sample, field.name)
        if sent is None:
            assert field.name not in parsed or field.name == "schema_version"
        elif field.name not in ("gpus", "consumers"):
            assert parsed[field.name] == (list(sent) if isinstance(sent, tuple) else sent)
    sent_gpus = [gpu.to_wire() for gpu in sample.gpus or ()]
    assert parsed.get("gpus", []) == sent_gpus


@given(st.sets(st.sampled_from([f.name for f in dataclasses.fields(TrainingEvent) if f.default is None])))
def test_null_and_absent_are_the_same_and_never_zero(names: set[str]) -> None:
    with_nulls = doc(**dict.fromkeys(names))
    without = doc()
    assert with_nulls == without
    assert not {value for value in without.values() if value == 0}


def test_the_future_is_judged_by_the_records_own_time_and_not_by_the_wall_clock() -> None:
    value = training(timestamp="2031-01-01T00:05:00Z")
    recorded_at = AT.replace(year=2031, month=1, day=1, hour=0)
    assert parse_training(value, recorded_at).doc["timestamp"].year == 2031
    with pytest.raises(ContractError, match="5 min"):
        parse_training(value, recorded_at - timedelta(milliseconds=1))


def test_a_message_of_exactly_1_mib_is_read_and_one_byte_more_is_not() -> None:
    padded = training().ljust(MAX_MESSAGE_BYTES)
    assert parse_training(padded, RECORDED_AT).doc["run_id"] == "r"
    assert rejection(TRAINING_EVENTS, padded + b" ").code == reasons.MESSAGE_TOO_LARGE


def test_stream_emissions_name_intensity_source_year_kind_and_scope() -> None:
    made = doc(energy_kwh=2.0, region_iso="de")
    assert made["emissions_kg"] == pytest.approx(2.0 * made["carbon_intensity_g_per_kwh"] / 1000)
    assert made["emissions_source"] == "stream"
    assert made["carbon_intensity_year"] > 2015
    assert (made["carbon_intensity_kind"], made["carbon_intensity_scope"]) == ("average", "lifecycle")
    assert "DEU" in made["carbon_intensity_source"]


def test_energy_is_never_multiplied_by_pue() -> None:
    assert doc(energy_kwh=2.0, pue=1.5)["energy_kwh"] == 2.0
    assert doc(energy_kwh=2.0, pue=1.5)["emissions_kg"] == doc(energy_kwh=2.0)["emissions_kg"]


def test_without_energy_there_are_no_emissions_and_no_intensity() -> None:
    made = doc(region_iso="de", loss=0.5)
    assert not {name for name in made if name.startswith(("emissions", "carbon"))}


def test_totals_of_a_summary_never_become_energy_of_the_event() -> None:
    made = doc(event_type="run_summary", total_energy_kwh=5, total_emissions_kg=1)
    assert made["reported_totals"] == {"energy_kwh": 5.0, "emissions_kg": 1.0}
    assert "energy_kwh" not in made
    assert "emissions_kg" not in made


def test_only_an_identity_that_does_not_name_its_owner_brings_a_reference_to_it() -> None:
    assert "run_ref" not in doc(event_id="e1")
    assert "run_ref" not in doc(producer_id="p", sequence=0)
    assert doc(producer_id="p")["run_ref"] == "r"
    assert parse_node(node(), RECORDED_AT).doc["node_ref"] == "n"


def test_a_rejection_says_what_was_found_what_was_expected_and_where() -> None:
    error = rejection(NODE_METRICS, node(gpus=[{"uuid": "g", "utilization_pct": 130}]))
    assert (error.code, error.field) == (reasons.OUT_OF_RANGE, "gpus.0.utilization_pct")
    assert "130" in error.message
    assert "0 to 100" in error.message
    assert ID_PATTERN in rejection(TRAINING_EVENTS, training(run_id="a b")).message


@given(st.floats(0, allow_nan=False), st.floats(0, allow_nan=False))
@settings(max_examples=50)
def test_stored_emissions_are_finite_whatever_the_energy(energy: float, intensity: float) -> None:
    found = verdict(
        TRAINING_EVENTS,
        json.dumps(
            {
                "run_id": "r",
                "timestamp": 1_709_294_400,
                "energy_kwh": energy,
                "carbon_intensity_g_per_kwh": intensity,
            }
        ).encode(),
    )
    if isinstance(found, Parsed):
        assert math.isfinite(found.doc["emissions_kg"])
