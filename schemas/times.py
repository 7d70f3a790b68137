"""Times: UTC inside, RFC 3339 outside, to the millisecond (what the store keeps)."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

from schemas import reasons
from schemas.errors import ContractError, shown
from schemas.units import MS_PER_S

UTC = timezone.utc
EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(minutes=5)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_SECONDS_BELOW = 1e11  # as seconds the year 5138, as milliseconds 1973: neither is a time of ours
_MILLISECONDS_BELOW = 1e14


def rfc3339(at: datetime) -> str:
    """`2026-01-31T12:00:00.250Z`. Raises ValueError on a time without zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no zone; use UTC")
    utc = at.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond >= MS_PER_S else "seconds") + "Z"


def to_ms(at: datetime) -> int:
    """Milliseconds since the epoch, rounded down."""
    return (at - EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """The UTC time of so many milliseconds since the epoch."""
    return EPOCH + timedelta(milliseconds=ms)


def parse_time(value: Any, field: str = "timestamp") -> datetime:
    """A wire time as UTC to the millisecond.

    Accepts RFC 3339 with any offset or `Z`, the same without zone (taken as UTC), and epoch seconds or
    milliseconds as a number. Raises ContractError.
    """
    if isinstance(value, str):
        return _parse_text(value, field)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _parse_epoch(value, field)
    raise ContractError(
        reasons.WRONG_TYPE, f"{field} is {shown(value)}; send RFC 3339 text or epoch seconds", field
    )


def _parse_epoch(value: float, field: str) -> datetime:
    if isinstance(value, float) and not math.isfinite(value):
        raise ContractError(reasons.NOT_FINITE, f"{field} is {value}; expected RFC 3339 text", field)
    if 0 <= value < _SECONDS_BELOW:
        return from_ms(int(round(value * MS_PER_S, 3)))
    if _SECONDS_BELOW <= value < _MILLISECONDS_BELOW:
        return from_ms(int(value))
    raise ContractError(
        reasons.INVALID_TIMESTAMP,
        f"{field} is {shown(value)}, neither epoch seconds nor milliseconds (finer units are not accepted)",
        field,
    )


def _parse_text(value: str, field: str) -> datetime:
    match = _RFC3339.fullmatch(value) if len(value) <= 40 else None
    if match is None:
        raise _invalid(value, field)
    year, month, day, hour, minute, second, fraction, _, sign, off_h, off_m = match.groups()
    seconds = int(second or 0)
    leap = seconds == 60  # RFC 3339 allows a leap second; it is the first instant of the next minute
    millis = int((fraction or "0").ljust(3, "0")[:3])
    try:
        at = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            59 if leap else seconds,
            millis * 1000,
            UTC,
        )
        if leap:
            at += timedelta(seconds=1)
        if sign:
            if int(off_h) > 23 or int(off_m) > 59:
                raise _invalid(value, field)
            offset = timedelta(hours=int(off_h), minutes=int(off_m))
            at = at - offset if sign == "+" else at + offset
    except (ValueError, OverflowError):
        raise _invalid(value, field) from None
    return at


def _invalid(value: str, field: str) -> ContractError:
    return ContractError(
        reasons.INVALID_TIMESTAMP,
        f"{field} {value[:60]!r} is not RFC 3339; send for example 2026-01-31T12:00:00Z",
        field,
    )


def check_event_time(at: datetime, recorded_at: datetime, field: str = "timestamp") -> None:
    """Hold an event time to its limits: from 2015 on, at most 5 min after the record's own time.

    The record's time and not the wall clock, so that a replay gives the same verdict.
    Raises ContractError.
    """
    if at < EARLIEST:
        raise ContractError(
            reasons.TIMESTAMP_TOO_OLD, f"{field} {rfc3339(at)} is before {rfc3339(EARLIEST)}", field
        )
    if at > recorded_at + MAX_AHEAD:
        raise ContractError(
            reasons.TIMESTAMP_IN_FUTURE,
            f"{field} {rfc3339(at)} is more than 5 min after the record's time {rfc3339(recorded_at)}; "
            "check the sender's clock",
            field,
        )
