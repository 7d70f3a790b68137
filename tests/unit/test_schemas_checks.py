"""The checks of single values: limits inclusive, nothing coerced, free values made storable."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Annotated, Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import reasons
from schemas.checks import check_fields, check_id, check_of, check_text, require, storable
from schemas.errors import ContractError, PipelineError, RetryableError, SourceGone, shown
from schemas.events import Consumer, GpuShare, TrainingEvent
from schemas.fields import ID_PATTERN, MAX_INT, MIN_INT, Field, Kind, Spec, fields_of
from schemas.reasons import REASONS
from tests.strategies import any_json, ids


def checked(spec: Spec, value: Any) -> Any:
    return check_of(Field("f", spec, required=False))(value, "f")


def code_of(spec: Spec, value: Any) -> str:
    with pytest.raises(ContractError) as caught:
        checked(spec, value)
    assert caught.value.field == "f"
    return caught.value.code


PERCENT = Spec(Kind.NUMBER, minimum=0.0, maximum=100.0)
FREE = Spec(Kind.NUMBER)
COUNT = Spec(Kind.INTEGER, minimum=0)


@pytest.mark.parametrize("value", [0, 0.0, 100, 100.0, 5e-324])
def test_limits_of_a_number_are_inclusive_and_a_number_becomes_a_float(value: float) -> None:
    found = checked(PERCENT, value)
    assert (found, type(found)) == (value, float)


@given(st.floats() | st.integers())
def test_a_number_is_kept_to_the_bit_or_refused_with_the_right_reason(value: float) -> None:
    if 0 <= value <= 100:
        assert checked(PERCENT, value) == value
    else:
        finite = value - value == 0
        assert code_of(PERCENT, value) == (reasons.OUT_OF_RANGE if finite else reasons.NOT_FINITE)


@pytest.mark.parametrize("value", [1.7976931348623157e308, -1.7976931348623157e308, MAX_INT, MIN_INT])
def test_a_number_without_limits_may_be_any_finite_one(value: float) -> None:
    assert checked(FREE, value) == float(value)


@pytest.mark.parametrize("value", [True, False, "1", "", b"1", [], {}], ids=repr)
@pytest.mark.parametrize("spec", [FREE, COUNT], ids=["number", "integer"])
def test_what_is_not_a_number_is_never_taken_for_one(spec: Spec, value: Any) -> None:
    assert code_of(spec, value) == reasons.WRONG_TYPE


def test_an_integer_may_be_written_as_a_float_without_fraction() -> None:
    assert (checked(COUNT, 3.0), type(checked(COUNT, 3.0))) == (3, int)
    assert code_of(COUNT, 3.5) == reasons.WRONG_TYPE
    assert code_of(COUNT, float("inf")) == code_of(COUNT, float("nan")) == reasons.NOT_FINITE
    assert code_of(COUNT, 1e19) == code_of(COUNT, MAX_INT + 1) == code_of(COUNT, -1) == reasons.OUT_OF_RANGE


@given(ids)
def test_an_id_of_the_alphabet_is_kept(value: str) -> None:
    assert check_id(value, "f") == value


@given(st.text(min_size=1).filter(lambda text: not text.isascii() or bool(set(text) & set(" |\n\t\"'$<>\0"))))
def test_an_id_with_another_character_is_refused(value: str) -> None:
    with pytest.raises(ContractError, match="identifier"):
        check_id(value, "f")


def test_an_empty_text_is_not_known_and_a_long_one_is_refused() -> None:
    assert check_text("", "f") is None
    assert check_text("m" * 1000, "f") == "m" * 1000
    with pytest.raises(ContractError) as caught:
        check_text("m" * 1001, "f")
    assert caught.value.code == reasons.TEXT_TOO_LONG


def test_a_flag_is_true_or_false_only() -> None:
    flag = Spec(Kind.FLAG)
    assert checked(flag, False) is False
    assert code_of(flag, 0) == code_of(flag, "false") == reasons.WRONG_TYPE


def test_known_fields_are_checked_unknown_ones_set_apart_and_nulls_left_out() -> None:
    known, extra = check_fields(TrainingEvent, {"run_id": "r", "loss": None, "rank": 0, "git": {"a.b": None}})
    assert known == {"run_id": "r", "rank": 0}
    assert extra == {"git": {"a.b": None}}


def test_a_required_field_is_named_with_its_path() -> None:
    with pytest.raises(ContractError) as caught:
        check_fields(Consumer, {"run_id": "r", "gpus": [{"uuid": "a", "share": 1}, {"uuid": "b"}]})
    assert (caught.value.code, caught.value.field) == (reasons.MISSING_FIELD, "gpus.1.share")
    with pytest.raises(ContractError, match="uuid"):
        require(GpuShare, {})


@given(any_json)
def test_a_free_value_is_storable_or_refused(value: Any) -> None:
    try:
        kept = storable(value, "f")
    except ContractError as error:
        refused = error.code
    else:
        bson.encode({"f": kept})
        return
    assert refused in (reasons.NOT_FINITE, reasons.OUT_OF_RANGE)


def plain(value: Any) -> Any:
    """The value before its keys were rewritten."""
    if isinstance(value, list):
        pairs = [v for v in value if isinstance(v, dict) and set(v) == {"k", "v"}]
        if value and len(pairs) == len(value):
            return {pair["k"]: plain(pair["v"]) for pair in pairs}
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def test_rewriting_keys_loses_nothing() -> None:
    value = {"a": [{"$in": [1, {"x.y": None}]}, 2, "t"], "": {"\0": True}, "plain": {"b": {}}}
    assert plain(storable(value, "f")) == value


def test_a_field_without_a_spec_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="has no Spec"):
        fields_of(make_dataclass("Wrong", [("energy", Annotated[float, "joule"])]))


def test_errors_form_the_ladder_that_says_what_to_do() -> None:
    assert issubclass(SourceGone, RetryableError)
    assert issubclass(RetryableError, PipelineError)
    assert issubclass(ContractError, PipelineError)
    assert not issubclass(ContractError, RetryableError)


def test_reason_codes_are_stable_words_with_an_explanation() -> None:
    constants = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(REASONS)
    assert all(REASONS.values())
    assert ID_PATTERN in REASONS[reasons.INVALID_ID]


@given(any_json)
def test_a_value_is_shown_briefly_and_without_raising(value: Any) -> None:
    assert len(shown(value)) < 700
    shown(value).encode("utf-8")
