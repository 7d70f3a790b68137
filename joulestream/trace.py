"""Recorded messages, one a line (NDJSON): read as bytes, keyed, paced, and moved in time if asked.

A line is one message, byte for byte, whatever it holds; only b"\\n" ends one. Moving in time replaces the
event's own times and touches no other byte; a line that cannot be read stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.errors import ContractError, PipelineError
from schemas.times import parse_time, rfc3339, to_ms
from schemas.topics import GRID_INTENSITY, NODE_METRICS
from schemas.units import MS_PER_S

TIMES = ("timestamp", "start_timestamp", "end_timestamp")
_EPOCH_MS_FROM = 1e11  # numbers from here on are milliseconds: `schemas.times`
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Line:
    """One message. `key` and `at` (its event time) are None where the line does not say."""

    number: int
    value: bytes
    key: bytes | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of the line's object, and where its value stands in the text."""

    name: str
    value: Any
    start: int
    end: int


def read_lines(file: Path, topic: str, shift_s: int = 0) -> Iterator[Line]:
    """The messages of a file for a topic, moved by so many seconds. Raises PipelineError."""
    try:
        with file.open("rb") as opened:
            yield from lines_of(opened, topic, shift_s)
    except OSError as error:
        raise PipelineError(f"{file} cannot be read ({error.strerror}); name a file of messages") from None


def lines_of(raw: Iterable[bytes], topic: str, shift_s: int = 0) -> Iterator[Line]:
    """Lines with their newline to messages."""
    for number, ended in enumerate(raw, start=1):
        value = ended[:-1] if ended.endswith(b"\n") else ended
        if shift_s:
            value = shifted(value, shift_s)
        members = {member.name: member.value for member in _members(value)[1]}
        yield Line(number, value, _key(members, topic), _event_time(members))


def shift_to(newest: datetime | None, now: datetime) -> int:
    """The constant (whole seconds) that puts the newest event at most a second before now."""
    if newest is None:
        return 0
    return (to_ms(now) - to_ms(newest)) // MS_PER_S


def newest_time(lines: Iterable[Line], now: datetime) -> datetime | None:
    """The newest event time; one beyond tomorrow is no event's time and does not count."""
    limit = now + timedelta(days=1)
    return max((line.at for line in lines if line.at is not None and line.at <= limit), default=None)


def shifted(value: bytes, shift_s: int) -> bytes:
    """The message with its event times moved by so many seconds; as it is where they cannot be read."""
    text, members = _members(value)
    for member in reversed(members):
        moved = _moved(member.value, shift_s) if member.name in TIMES else None
        if moved is not None:
            text = text[: member.start] + moved + text[member.end :]
    return text.encode() if members else value


def _moved(value: Any, shift_s: int) -> str | None:
    try:
        at = parse_time(value)
        if isinstance(value, str):
            return json.dumps(rfc3339(at + timedelta(seconds=shift_s)))
    except (ContractError, OverflowError):
        return None
    return json.dumps(value + (shift_s * MS_PER_S if value >= _EPOCH_MS_FROM else shift_s))


def _members(value: bytes) -> tuple[str, list[_Member]]:
    """The text and the members of the object in it; no members where it is no JSON object in UTF-8."""
    try:
        text = value.decode()
        return text, list(_walk(text))
    except (ValueError, RecursionError):
        return "", []


def _walk(text: str) -> Iterator[_Member]:
    """Members of a JSON object, one by one. Raises ValueError where the text is not one JSON object."""
    at = _expect(text, 0, "{")
    more = not text.startswith("}", at)
    while more:
        if not text.startswith('"', at):
            raise ValueError("expected a key")
        name, at = _DECODER.raw_decode(text, at)
        start = _expect(text, at, ":")
        value, end = _DECODER.raw_decode(text, start)
        yield _Member(name, value, start, end)
        at = _skip(text, end)
        more = text.startswith(",", at)
        at = _skip(text, at + 1) if more else at
    if _skip(text, _expect(text, at, "}")) != len(text):
        raise ValueError("text after the object")


def _expect(text: str, at: int, mark: str) -> int:
    found = _skip(text, at)
    if not text.startswith(mark, found):
        raise ValueError(f"expected {mark}")
    return _skip(text, found + 1)


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _key(members: dict[str, Any], topic: str) -> bytes | None:
    name = {NODE_METRICS: "node_id", GRID_INTENSITY: "zone"}.get(topic, "run_id")
    owner = members.get(name)
    try:
        return owner.encode() if isinstance(owner, str) and owner else None
    except UnicodeEncodeError:  # half of a surrogate pair
        return None


def _event_time(members: dict[str, Any]) -> datetime | None:
    for name in ("timestamp", "end_timestamp"):
        try:
            return parse_time(members[name])
        except (KeyError, ContractError):
            continue
    return None
