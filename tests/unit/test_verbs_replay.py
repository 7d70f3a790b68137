"""Recorded messages: bytes stay bytes, and moving in time touches nothing but times."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulestream.trace import Line, lines_of, newest_time, read_lines, shift_to, shifted
from joulestream.verbs.replay import paced
from schemas.errors import PipelineError
from schemas.times import parse_time
from schemas.topics import NODE_METRICS, TRAINING_EVENTS

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line), min_size=1))
def test_every_line_is_sent_byte_for_byte(values):
    raw = [value + b"\n" for value in values[:-1]] + [values[-1]]
    assert [line.value for line in lines_of(raw, TRAINING_EVENTS)] == values


@pytest.mark.parametrize(
    ("line", "topic", "key"),
    [
        (b'{"run_id":"r1","node_id":"n1"}', TRAINING_EVENTS, b"r1"),
        (b'{"run_id":"r1","node_id":"n1"}', NODE_METRICS, b"n1"),
        (b' { "run_id" : "r1" } \r', TRAINING_EVENTS, b"r1"),
        (b'{"run_id":"r1"', TRAINING_EVENTS, None),
        (b'{"run_id":"r1"} x', TRAINING_EVENTS, None),
        (b'{"run_id":7}', TRAINING_EVENTS, None),
        (b'{"run_id":"\\ud800"}', TRAINING_EVENTS, None),
        (b"\xff\xfe", TRAINING_EVENTS, None),
        (b"", TRAINING_EVENTS, None),
        (b"[" * 100_000, TRAINING_EVENTS, None),
        (b'{"a":' + b"[" * 100_000, TRAINING_EVENTS, None),
    ],
)
def test_key_is_the_owner_where_the_line_says_one(line, topic, key):
    (read,) = lines_of([line], topic)
    assert (read.key, read.value) == (key, line)


@given(st.dictionaries(st.text().filter(lambda k: not k.endswith("timestamp")), JSON_VALUES, max_size=5))
def test_moving_touches_nothing_but_the_times(others):
    event = {**others, "timestamp": "2025-01-01T00:00:00Z", "x": 1}
    moved = json.loads(shifted(json.dumps(event).encode(), 3600))
    assert moved == {**event, "timestamp": "2025-01-01T01:00:00Z"}


@pytest.mark.parametrize(
    "stamp",
    ["2025-01-01T00:00:00.250Z", "2025-01-01T02:00:00+02:00", 1735689600, 1735689600.5, 1735689600250],
    ids=str,
)
def test_all_forms_of_time_move_by_the_same_constant(stamp):
    value = json.dumps({"timestamp": stamp, "end_timestamp": stamp}).encode()
    moved = json.loads(shifted(value, 86_400))
    for name in ("timestamp", "end_timestamp"):
        assert parse_time(moved[name]) - parse_time(stamp) == timedelta(days=1)
        assert type(moved[name]) is type(stamp)


@pytest.mark.parametrize(
    "line",
    [
        b'{"timestamp": "yesterday"}',
        b'{"timestamp": true}',
        b'{"timestamp": NaN}',
        b'{"timestamp": 1e999}',
        b'{"other":{"timestamp":"2025-01-01T00:00:00Z"}}',
        b'{"timestamp":"2025-01-01T00:00:00Z"',
        b'["timestamp","2025-01-01T00:00:00Z"]',
        b"\xff",
        b"",
    ],
)
def test_what_has_no_time_of_its_own_stays_as_it_is(line):
    assert shifted(line, 60) == line


def test_spaces_and_unicode_around_the_time_stay():
    line = '{ "a" : "é\\u00e9" ,\t"timestamp" : "2025-01-01T00:00:00Z" }'.encode()
    assert shifted(line, 1) == line.replace(b"00:00:00Z", b"00:00:01Z")


def test_shift_to_now_puts_the_newest_event_just_before_now():
    raw = [
        b'{"timestamp":"2025-01-01T00:00:00.700Z"}\n',
        b'{"timestamp":"2024-12-31T23:00:00Z"}\n',
        b"junk\n",
    ]
    shift_s = shift_to(newest_time(lines_of(raw, TRAINING_EVENTS), NOW), NOW)
    times = [line.at for line in lines_of(raw, TRAINING_EVENTS, shift_s) if line.at]
    assert timedelta(0) <= NOW - max(times) < timedelta(seconds=1)
    assert times[0] - times[1] == timedelta(hours=1, milliseconds=700)


def test_a_message_from_the_year_2100_does_not_move_the_others_into_the_past():
    raw = [b'{"timestamp":"2025-01-01T00:00:00Z"}', b'{"timestamp":"2100-01-01T00:00:00Z"}']
    assert newest_time(lines_of(raw, TRAINING_EVENTS), NOW) == datetime(2025, 1, 1, tzinfo=timezone.utc)


def test_a_file_without_times_is_not_moved():
    assert shift_to(None, NOW) == 0


def test_speed_paces_by_event_time_and_never_waits_for_the_past():
    now, at = [0.0], datetime(2025, 1, 1, tzinfo=timezone.utc)

    def sleep(seconds):
        now[0] += seconds

    offsets = [0, 10, 5, None, 20]
    lines = [
        Line(i, b"", None, None if s is None else at + timedelta(seconds=s)) for i, s in enumerate(offsets)
    ]
    sent = [now[0] for _ in paced(iter(lines), 10.0, lambda: now[0], sleep)]
    assert sent == pytest.approx([0, 1, 1, 1, 2])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PipelineError, match="cannot be read"):
        list(read_lines(tmp_path / "no.ndjson", TRAINING_EVENTS))
