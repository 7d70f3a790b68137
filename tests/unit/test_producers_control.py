"""A run that was asked to stop: it obeys at its next log, and nothing of the control can harm a training."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import joulestream
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
from producers.exits import RunStopped, Shield
from producers.tracker import Tracker
from schemas.errors import ContractError, RetryableError
from schemas.times import EPOCH
from tests.unit.test_producers_tracker import ListSink, finish, run_script, sent
from tests.waiting import until

RUN = "r1"
WAIT_S = 20.0


def message(run_id: str = RUN, key: str | None = None, **fields: Any) -> ControlMessage:
    value = {"run_id": run_id, "timestamp": "2026-01-01T00:00:00Z", "action": "stop_requested", **fields}
    return ControlMessage((key or run_id).encode(), json.dumps(value).encode())


class FakeLink:
    """Gives what is put into `coming`; an error in it is raised."""

    def __init__(self) -> None:
        self.coming: list[ControlMessage | Exception] = []
        self.closed = 0

    def poll(self, timeout_s: float) -> Sequence[ControlMessage]:
        time.sleep(0.005)
        if not self.coming:
            return ()
        first = self.coming.pop(0)
        if isinstance(first, Exception):
            raise first
        return [first]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeLink:
    made = FakeLink()
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("producers.session.KafkaControl", lambda *_: made)
    return made


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


def tracker(sink: ListSink, **given: Any) -> Tracker:
    return Tracker(**{"run_id": RUN, "sink": sink, "meters": "simulated:1:1", "on_budget": "stop", **given})


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


# the message


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


# the reader


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


# the run


def test_the_block_ends_at_the_next_log_and_the_script_goes_on(link: FakeLink, sink: ListSink) -> None:
    steps = 0
    with tracker(sink) as run:
        while steps < 10_000:
            run.log(step=steps)
            steps += 1
            if steps == 3:
                link.coming.append(message(reason="budget ann is broken"))
                until(lambda: run.stop_requested)
        pytest.fail("the run did not stop")
    assert steps == 3
    assert [event.get("step") for event in sink.events] == [None, 0.0, 1.0, 2.0, 3.0, None]
    last = sink.events[-1]
    assert (last["event_type"], last["status"]) == ("run_finished", "stopped")
    assert last["stop_reason"] == "budget ann is broken"


def test_a_request_without_a_reason_stops_too(link: FakeLink, sink: ListSink) -> None:
    with tracker(sink) as run:
        link.coming.append(message())
        until(lambda: run.stop_requested)
        run.log(step=1)
        pytest.fail("the run did not stop")
    assert sink.events[-1]["status"] == "stopped"
    assert "stop_reason" not in sink.events[-1]


def test_a_loop_that_swallows_exceptions_stops_too(link: FakeLink, sink: ListSink) -> None:
    link.coming.append(message())
    with tracker(sink) as run:
        until(lambda: run.stop_requested)
        try:
            run.log(step=1)
        except Exception:  # noqa: BLE001 - what careless loops do
            pytest.fail("it was swallowed")
        pytest.fail("the run did not stop")
    assert sink.events[-1]["status"] == "stopped"


def test_every_log_after_the_request_raises_and_none_after_the_end(link: FakeLink, sink: ListSink) -> None:
    link.coming.append(message(reason="why"))
    run = tracker(sink).start()
    until(lambda: run.stop_requested)
    for step in range(2):
        with pytest.raises(RunStopped, match="run r1 was asked to stop: why"):
            run.log(step=step)
    run.stop("stopped")
    run.log(step=3)
    assert [event.get("step") for event in sink.events] == [None, 0.0, 1.0, None]
    assert sink.events[-1]["stop_reason"] == "why"


def test_a_run_that_ends_before_its_next_log_keeps_its_own_status(link: FakeLink, sink: ListSink) -> None:
    with tracker(sink) as run:
        link.coming.append(message(reason="too late"))
        until(lambda: run.stop_requested)
    assert sink.events[-1]["status"] == "completed"
    assert "stop_reason" not in sink.events[-1]


def test_the_block_swallows_no_other_runs_stop(link: FakeLink, sink: ListSink) -> None:
    with pytest.raises(RunStopped), tracker(sink):
        raise RunStopped("outer", None)
    assert sink.events[-1]["status"] == "stopped"


def test_a_decorated_function_that_stops_returns_none(link: FakeLink, sink: ListSink) -> None:
    runs: list[Tracker] = []
    monitored = tracker(sink)

    @monitored
    def train() -> str:
        link.coming.append(message())
        runs.append(current[0])
        until(lambda: runs[0].stop_requested)
        runs[0].log(step=1)
        return "done"

    current: list[Tracker] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "__enter__", lambda self: current.append(self) or self.start())
        assert train() is None
    assert sink.events[-1]["status"] == "stopped"


def test_a_decorated_coroutine_that_stops_returns_none(link: FakeLink, sink: ListSink) -> None:
    @tracker(sink)
    async def train() -> str:
        raise RunStopped(RUN, None)

    assert asyncio.run(train()) is None  # type: ignore[func-returns-value]
    assert sink.events[-1]["status"] == "stopped"


def test_without_the_option_nothing_is_read(link: FakeLink, sink: ListSink) -> None:
    link.coming.append(message())
    with tracker(sink, on_budget="ignore") as run:
        for step in range(5):
            run.log(step=step)
            time.sleep(0.02)
        assert "joulestream-control" not in {thread.name for thread in threading.enumerate()}
        assert run.stop_requested is None
    assert len(link.coming) == 1
    assert sink.events[-1]["status"] == "completed"


def test_the_default_is_to_ignore(link: FakeLink, sink: ListSink) -> None:
    with Tracker(RUN, sink=sink, meters="simulated"):
        assert "joulestream-control" not in {thread.name for thread in threading.enumerate()}


def test_a_word_that_is_no_choice_is_said_and_ignored(
    link: FakeLink, sink: ListSink, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker(sink, on_budget="halt") as run:
        assert run.stop_requested is None
    assert "on_budget='halt' is none of ('stop', 'ignore')" in caplog.text
    assert sink.events[-1]["status"] == "completed"


def test_no_thread_is_left_after_the_run(link: FakeLink, sink: ListSink) -> None:
    with tracker(sink):
        assert "joulestream-control" in {thread.name for thread in threading.enumerate()}
    assert "joulestream-control" not in {thread.name for thread in threading.enumerate()}
    assert link.closed == 1


def test_without_a_broker_the_training_runs_as_ever(
    sink: ListSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    with tracker(sink) as run:
        for step in range(20):
            run.log(step=step)
            time.sleep(0.01)
        until(lambda: caplog.records)
    assert [event["status"] for event in sink.events if "status" in event] == ["completed"]
    assert [record.name for record in caplog.records] == ["producers.control"]
    assert "the run goes on" in caplog.text


def test_a_script_without_a_block_ends_stopped(tmp_path: Path) -> None:
    body = "from producers.exits import RunStopped\nrun = tracker().start()\nraise RunStopped('r', 'why')\n"
    code, errors = finish(run_script(body, tmp_path))
    assert code == 1
    assert "run r was asked to stop: why" in errors
    assert sent(tmp_path)[-1]["status"] == "stopped"


def test_the_front_door_gives_the_exception_too() -> None:
    assert joulestream.RunStopped is RunStopped
    assert not issubclass(RunStopped, Exception)
