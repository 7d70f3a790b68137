"""Services as processes: ready, restarted, ended with all that they started; nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from joulestream.local.leftovers import end_leftovers
from joulestream.local.managed import GIVE_UP_AFTER, LONGEST_PAUSE_S, Backoff, Managed
from joulestream.local.process import ROOT, Service, is_alive, running, start
from joulestream.local.state import ServiceState, StackState, read_state, write_state
from joulestream.local.watchdog import Watchdog
from schemas.errors import PipelineError
from tests.waiting import until

SLEEP = "import time; time.sleep(60)"
# A service with a child in the same group and a child in a session of its own.
PARENT = (
    "import subprocess, sys, time\n"
    f"a = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
    f"b = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)\n"
    "print(a.pid, b.pid, flush=True)\n"
    "time.sleep(60)"
)
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def service(
    folder: Path, code: str = SLEEP, *, name: str = "one", restart: bool = True, stop_s: float = 5
) -> Service:
    log = folder / f"{name}.log"
    return Service(
        name=name,
        command=[sys.executable, "-c", code],
        log=log,
        ready=lambda: None,
        stop_timeout_s=stop_s,
        restart=restart,
    )


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids_in(log: Path) -> list[int]:
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    return [int(pid) for pid in log.read_text().split()]


def test_stopping_a_service_ends_its_children_too(tmp_path: Path) -> None:
    with running(service(tmp_path, PARENT)) as (one,):
        children = pids_in(one.service.log)
        assert not any(gone(pid) for pid in children)
    assert all(gone(pid) for pid in (one.pid, *children))


def test_a_service_that_ignores_sigterm_is_killed_in_time(tmp_path: Path) -> None:
    one = start(service(tmp_path, DEAF, stop_s=0.5))
    until(lambda: "deaf" in one.service.log.read_text())
    assert one.stop() is False
    assert gone(one.pid)


def test_a_service_that_ends_before_it_is_ready_says_its_last_words(tmp_path: Path) -> None:
    one = start(service(tmp_path, "import sys; sys.exit('the disk is on fire')"))
    until(lambda: one.exit_code is not None)
    with pytest.raises(PipelineError, match=r"exit code 1 before it was ready[\s\S]*the disk is on fire"):
        one.wait_ready()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "terminated"])
def test_services_do_not_outlive_their_starter(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from joulestream.local.process import Service, start\nfrom joulestream.local.watchdog import Watchdog\n"
        f"s = Service('x', [sys.executable, '-c', {PARENT!r}], Path(sys.argv[1]), lambda: None, stop_timeout_s=1)\n"
        "w = Watchdog(); one = start(s, w); print(one.pid, w.pid, flush=True); time.sleep(60)"
    )
    log = tmp_path / "x.log"
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    with starter.stdout:
        ours = [int(pid) for pid in starter.stdout.readline().split()]
        ours += pids_in(log)
        starter.send_signal(number)
        starter.wait()
    until(lambda: all(gone(pid) for pid in ours), 20)


def test_the_watchdog_leaves_alone_what_was_stopped_and_another_process_of_its_pid(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as other:
        with Watchdog() as watchdog:
            watchdog.watch("stopped", other.pid, psutil.Process(other.pid).create_time(), 1)
            watchdog.forget("stopped")
            watchdog.watch("reused", other.pid, 12345.0, 1)
        assert other.poll() is None
        other.kill()


def test_a_watchdog_that_was_killed_is_replaced_at_the_next_word(tmp_path: Path) -> None:
    with Watchdog() as watchdog:
        first = watchdog.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: gone(first), 20)
        one = start(service(tmp_path), watchdog)
        assert watchdog.pid != first
    assert one.process.wait(60) != 0


def test_a_dead_service_is_started_again_after_a_pause(tmp_path: Path) -> None:
    said: list[str] = []
    with Watchdog() as watchdog:
        managed = Managed(service(tmp_path), watchdog, said.append)
        managed.start(0.0)
        assert managed.tick(0.1)
        assert managed.state == "running"
        assert managed.running is not None
        first = managed.running.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: managed.running is not None and managed.running.exit_code is not None)
        managed.tick(1.0)
        assert (managed.state, managed.snapshot().pid) == ("waiting", None)
        managed.tick(1.5)
        assert managed.state == "waiting"
        managed.tick(2.1)
        managed.tick(2.2)
        assert (managed.state, managed.restarts) == ("running", 1)
        assert managed.snapshot().pid != first
        managed.stop()
    assert "ended with exit code -9; starting it again in 1 s" in said[0]


def test_a_service_that_keeps_dying_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    said: list[str] = []
    with Watchdog() as watchdog:
        managed = Managed(service(tmp_path, "raise SystemExit('no luck')"), watchdog, said.append)
        managed.start(0.0)
        now_s = 0.0
        while managed.state != "failed":
            assert now_s < 250
            running_now = managed.running
            if running_now is not None and managed.state != "waiting":
                running_now.process.wait()
            now_s += 1.0
            managed.tick(now_s)
    assert managed.restarts == GIVE_UP_AFTER - 1
    assert "given up" in said[-1]
    assert "no luck" in said[-1]


def test_pauses_double_up_to_a_limit_and_old_deaths_are_forgotten() -> None:
    backoff = Backoff()
    assert [backoff.pause_s(float(at)) for at in range(5)] == [1, 2, 4, 8, 16]
    assert backoff.pause_s(5.0) is None
    assert Backoff().pause_s(0) == 1
    late = Backoff()
    for at in range(20):
        pause_s = late.pause_s(at * 200.0)
        assert pause_s is not None
        assert pause_s <= LONGEST_PAUSE_S


@pytest.mark.parametrize(("code", "state"), [("", "finished"), ("raise SystemExit(3)", "failed")])
def test_a_service_that_runs_to_its_end_is_not_started_again(tmp_path: Path, code: str, state: str) -> None:
    with Watchdog() as watchdog:
        managed = Managed(service(tmp_path, code, restart=False), watchdog, lambda text: None)
        managed.start(0.0)
        assert managed.running is not None
        managed.running.process.wait()
        managed.tick(0.1)
        managed.tick(100.0)
    assert (managed.state, managed.restarts) == (state, 0)


def stack_state(folder: Path, services: dict[str, ServiceState], create_time: float = 1.0) -> StackState:
    return StackState(
        data_dir=str(folder),
        phase="ready",
        supervisor_pid=os.getpid(),
        supervisor_create_time=create_time,
        kafka_bootstrap="127.0.0.1:1",
        mongodb_uri="mongodb://u:secret@h",
        own=("broker",),
        ports={"broker": 1},
        services=services,
    )


def test_state_comes_back_as_written_and_is_for_its_owner_only(tmp_path: Path) -> None:
    state = stack_state(
        tmp_path, {"stream": ServiceState("running", "a.log", 7, 1.5, None, "2026-01-01T00:00:00Z", 2)}
    )
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"services": {"a": {"b": 1}}}', '{"phase": "ready"}'])
def test_a_state_that_cannot_be_read_is_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert read_state(tmp_path) is None


def test_leftovers_of_a_killed_supervisor_are_ended_by_pid_and_creation_time(tmp_path: Path) -> None:
    one = start(service(tmp_path, PARENT, name="stream"))
    other = start(service(tmp_path, name="agent"))
    children = pids_in(one.service.log)
    reaper = threading.Thread(target=one.process.wait)
    reaper.start()
    services = {
        "stream": ServiceState("running", "", one.pid, one.create_time),
        "agent": ServiceState("running", "", other.pid, other.create_time - 500),
    }
    assert end_leftovers(stack_state(tmp_path, services), lambda text: None) == ["stream"]
    reaper.join()
    assert all(gone(pid) for pid in (one.pid, *children))
    assert is_alive(other.pid, other.create_time)
    other.stop()


def test_services_of_a_living_supervisor_are_no_leftovers(tmp_path: Path) -> None:
    mine = psutil.Process().create_time()
    services = {"stream": ServiceState("running", "", os.getpid(), mine)}
    assert end_leftovers(stack_state(tmp_path, services, mine), lambda text: None) == []
