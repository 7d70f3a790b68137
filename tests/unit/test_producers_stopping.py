"""A run that was asked to stop: it obeys at its next log, and nothing of the control can harm a training."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import joulestream
from producers.exits import RunStopped
from producers.tracker import Tracker
from tests.run_control import RUN, FakeLink, message
from tests.trackers import RunSink, finish, run_script, sent
from tests.waiting import until


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeLink:
    made = FakeLink()
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("producers.session.KafkaControl", lambda *_: made)
    return made


@pytest.fixture
def sink() -> RunSink:
    return RunSink()


def tracker(sink: RunSink, **given: Any) -> Tracker:
    return Tracker(**{"run_id": RUN, "sink": sink, "meters": "simulated:1:1", "on_budget": "stop", **given})


def test_the_block_ends_at_the_next_log_and_the_script_goes_on(link: FakeLink, sink: RunSink) -> None:
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


def test_a_request_without_a_reason_stops_too(link: FakeLink, sink: RunSink) -> None:
    with tracker(sink) as run:
        link.coming.append(message())
        until(lambda: run.stop_requested)
        run.log(step=1)
        pytest.fail("the run did not stop")
    assert sink.events[-1]["status"] == "stopped"
    assert "stop_reason" not in sink.events[-1]


def test_a_loop_that_swallows_exceptions_stops_too(link: FakeLink, sink: RunSink) -> None:
    link.coming.append(message())
    with tracker(sink) as run:
        until(lambda: run.stop_requested)
        try:
            run.log(step=1)
        except Exception:  # noqa: BLE001 - what careless loops do
            pytest.fail("it was swallowed")
        pytest.fail("the run did not stop")
    assert sink.events[-1]["status"] == "stopped"


def test_every_log_after_the_request_raises_and_none_after_the_end(link: FakeLink, sink: RunSink) -> None:
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


def test_a_run_that_ends_before_its_next_log_keeps_its_own_status(link: FakeLink, sink: RunSink) -> None:
    with tracker(sink) as run:
        link.coming.append(message(reason="too late"))
        until(lambda: run.stop_requested)
    assert sink.events[-1]["status"] == "completed"
    assert "stop_reason" not in sink.events[-1]


def test_the_block_swallows_no_other_runs_stop(link: FakeLink, sink: RunSink) -> None:
    with pytest.raises(RunStopped), tracker(sink):
        raise RunStopped("outer", None)
    assert sink.events[-1]["status"] == "stopped"


def test_a_decorated_function_that_stops_returns_none(link: FakeLink, sink: RunSink) -> None:
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


def test_a_decorated_coroutine_that_stops_returns_none(link: FakeLink, sink: RunSink) -> None:
    @tracker(sink)
    async def train() -> str:
        raise RunStopped(RUN, None)

    assert asyncio.run(train()) is None  # type: ignore[func-returns-value]
    assert sink.events[-1]["status"] == "stopped"


def test_without_the_option_nothing_is_read(link: FakeLink, sink: RunSink) -> None:
    link.coming.append(message())
    with tracker(sink, on_budget="ignore") as run:
        for step in range(5):
            run.log(step=step)
            time.sleep(0.02)
        assert "joulestream-control" not in {thread.name for thread in threading.enumerate()}
        assert run.stop_requested is None
    assert len(link.coming) == 1
    assert sink.events[-1]["status"] == "completed"


def test_the_default_is_to_ignore(link: FakeLink, sink: RunSink) -> None:
    with Tracker(RUN, sink=sink, meters="simulated"):
        assert "joulestream-control" not in {thread.name for thread in threading.enumerate()}


def test_a_word_that_is_no_choice_is_said_and_ignored(
    link: FakeLink, sink: RunSink, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker(sink, on_budget="halt") as run:
        assert run.stop_requested is None
    assert "on_budget='halt' is none of ('stop', 'ignore')" in caplog.text
    assert sink.events[-1]["status"] == "completed"


def test_no_thread_is_left_after_the_run(link: FakeLink, sink: RunSink) -> None:
    with tracker(sink):
        assert "joulestream-control" in {thread.name for thread in threading.enumerate()}
    assert "joulestream-control" not in {thread.name for thread in threading.enumerate()}
    assert link.closed == 1


def test_without_a_broker_the_training_runs_as_ever(
    sink: RunSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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
