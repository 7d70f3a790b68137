"""The control of runs: what a message asks for, and the thread that reads for a run's own."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.sections import Kafka
from producers import control
from producers.control import (
    REASON_CHARS,
    ControlMessage,
    ControlReader,
    KafkaControl,
    StopRequest,
    stop_request,
)
from producers.exits import Shield
from schemas.errors import ContractError, RetryableError
from schemas.times import EPOCH
from tests.run_control import RUN, FakeLink, message
from tests.waiting import until

WAIT_S = 20.0


def reader_of(link: FakeLink, failures: list[BaseException]) -> ControlReader:
    return ControlReader(RUN, lambda: link, Shield(lambda _, error: failures.append(error)))


@contextmanager
def reading(link: FakeLink) -> Iterator[ControlReader]:
    failures: list[BaseException] = []
    reader = reader_of(link, failures)
    reader.start()
    yield reader
    assert reader.close(WAIT_S)
    assert failures == []


def test_a_request_says_why_and_when() -> None:
    asked = stop_request(RUN, message(reason="budget ann is broken"))
    assert asked is not None
    assert asked.reason == "budget ann is broken"
    assert asked.requested_at.isoformat() == "2026-01-01T00:00:00+00:00"


def test_another_runs_message_is_not_even_read() -> None:
    assert stop_request(RUN, ControlMessage(b"r11", b"{not json")) is None
    assert stop_request(RUN, ControlMessage(None, b"{not json")) is None


def test_a_deletion_is_no_request() -> None:
    assert stop_request(RUN, ControlMessage(RUN.encode(), None)) is None


@pytest.mark.parametrize(
    "bad",
    [
        ControlMessage(RUN.encode(), b"\xff{"),
        ControlMessage(RUN.encode(), b"[]"),
        ControlMessage(RUN.encode(), b"[" * 100_000),
        message(action="explode"),
        message(timestamp="soon"),
        message("r2", key=RUN),
        message(reason=7),
    ],
    ids=["bytes", "array", "nested", "action", "time", "another run's value", "reason"],
)
def test_a_message_that_breaks_the_contract_is_no_request(bad: ControlMessage) -> None:
    with pytest.raises(ContractError):
        stop_request(RUN, bad)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_break_the_contract(value: bytes) -> None:
    with suppress(ContractError):
        assert stop_request(RUN, ControlMessage(RUN.encode(), value)) is None


@given(st.text(max_size=1_000))
def test_any_reason_fits_the_event_that_repeats_it(reason: str) -> None:
    wire = json.dumps({"run_id": RUN, "timestamp": 1_700_000_000, "reason": reason}).encode()
    with suppress(ContractError):
        asked = stop_request(RUN, ControlMessage(RUN.encode(), wire))
        assert asked is not None
        said = (asked.reason or "").encode()
        assert len(said) <= 4 * REASON_CHARS
        assert b"\0" not in said


def test_the_reader_keeps_the_first_request_and_ends() -> None:
    link = FakeLink()
    link.coming = [message("r2"), message(reason="one"), message(reason="two")]
    with reading(link) as reader:
        until(lambda: reader.request)
        until(lambda: link.closed)
        assert reader.request == StopRequest("one", stop_request(RUN, message()).requested_at)  # type: ignore[union-attr]
    assert len(link.coming) == 1


def test_a_malformed_message_is_logged_once_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    link = FakeLink()
    link.coming = [message(action="a"), message(action="b"), message(reason="real")]
    with reading(link) as reader:
        until(lambda: reader.request)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "'a'" in caplog.text


def test_a_broker_that_goes_away_is_logged_once_and_asked_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "FIRST_BACKOFF_S", 0.01)
    link = FakeLink()
    link.coming = [
        RetryableError("gone"),
        RetryableError("gone"),
        RetryableError("gone"),
        message(reason="x"),
    ]
    with reading(link) as reader:
        until(lambda: reader.request)
        assert link.closed >= 3
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["gone"]


def test_an_unforeseen_error_ends_the_control_and_is_reported_once() -> None:
    link, failures = FakeLink(), list[BaseException]()
    link.coming = [ValueError("bug")]
    reader = reader_of(link, failures)
    reader.start()
    until(lambda: link.closed)
    assert reader.close(WAIT_S)
    assert [str(error) for error in failures] == ["bug"]


def test_closing_does_not_wait_for_the_back_off() -> None:
    def away() -> FakeLink:
        raise RetryableError("away")

    reader = ControlReader(RUN, away, Shield(lambda *_: None))
    reader._backoff_s = 60.0
    reader.start()
    began_s = time.monotonic()
    assert reader.close(WAIT_S)
    assert time.monotonic() - began_s < 10


def test_a_broker_that_does_not_listen_is_away() -> None:
    with pytest.raises(RetryableError, match="no Kafka broker listens at nowhere:1"):
        KafkaControl(Kafka(bootstrap="nowhere:1"), "c", EPOCH, probe=lambda _: False)
