"""Times: any offset in, UTC to the millisecond inside, RFC 3339 out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import reasons
from schemas.errors import ContractError
from schemas.times import EARLIEST, UTC, check_event_time, from_ms, parse_time, rfc3339, to_ms
from tests.messages import AT, AT_EPOCH_S, RECORDED_AT

offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=offsets)  # noqa: DTZ001 - zones are drawn


def to_the_millisecond(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


@given(moments)
def test_what_is_written_is_read_back_to_the_millisecond(at: datetime) -> None:
    assert parse_time(rfc3339(at)) == to_the_millisecond(at.astimezone(UTC))


@given(moments)
def test_a_time_with_any_offset_is_the_same_moment_in_utc(at: datetime) -> None:
    parsed = parse_time(at.isoformat())
    assert parsed == to_the_millisecond(at)
    assert parsed.utcoffset() == timedelta(0)


@given(moments)
def test_what_is_written_sorts_like_the_time_and_ends_in_z(at: datetime) -> None:
    text, later = rfc3339(at), rfc3339(at + timedelta(seconds=1))
    assert text.endswith("Z")
    assert text[:19] < later[:19]


@given(st.integers(0, 99_999_999_999_999))
def test_milliseconds_go_there_and_back(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


# Up to the year 2242 a double tells milliseconds apart.
@given(st.integers(10**8, 2**33 - 1), st.integers(0, 999))
def test_epoch_seconds_and_milliseconds_are_the_same_moment(seconds: int, millis: int) -> None:
    ms = seconds * 1000 + millis
    assert parse_time(ms / 1000) == from_ms(ms)
    assert parse_time(ms) == parse_time(float(ms)) == from_ms(ms)


@pytest.mark.parametrize(
    "value",
    [AT_EPOCH_S * 10**6, AT_EPOCH_S * 10**9, 10**400, -1, -0.5, 1e300],
    ids=["us", "ns", "400 digits", "-1", "-0.5", "1e300"],
)
def test_an_epoch_in_another_unit_is_refused_and_never_guessed(value: float) -> None:
    with pytest.raises(ContractError) as caught:
        parse_time(value)
    assert caught.value.code == reasons.INVALID_TIMESTAMP
    assert len(caught.value.message) < 200


@given(
    st.one_of(
        st.text(max_size=40), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers())
    )
)
def test_parsing_a_time_gives_utc_or_a_contract_error(value: Any) -> None:
    try:
        parsed = parse_time(value)
    except ContractError:
        return
    assert parsed.tzinfo is UTC
    assert parsed.microsecond % 1000 == 0


def test_a_leap_second_is_the_first_instant_of_the_next_minute() -> None:
    assert parse_time("2016-12-31T23:59:60Z") == datetime(2017, 1, 1, tzinfo=UTC)
    assert parse_time("2017-01-01T00:59:60.500+01:00") == datetime(2017, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)


def test_a_time_without_zone_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="no zone"):
        rfc3339(AT.replace(tzinfo=None))


def test_years_before_1000_are_written_with_four_digits() -> None:
    assert rfc3339(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (EARLIEST, None),
        (EARLIEST - timedelta(milliseconds=1), reasons.TIMESTAMP_TOO_OLD),
        (RECORDED_AT + timedelta(minutes=5), None),
        (RECORDED_AT + timedelta(minutes=5, milliseconds=1), reasons.TIMESTAMP_IN_FUTURE),
    ],
    ids=["first of 2015", "just before it", "5 min ahead", "just above 5 min ahead"],
)
def test_event_time_is_held_to_its_limits_inclusively(at: datetime, code: str | None) -> None:
    if code is None:
        check_event_time(at, RECORDED_AT)
        return
    with pytest.raises(ContractError) as caught:
        check_event_time(at, RECORDED_AT)
    assert caught.value.code == code
