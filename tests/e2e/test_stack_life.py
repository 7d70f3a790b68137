"""The life of the real stack: up, up again, killed, up after that, down; nothing is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from joulestream.local.ports import any_free
from joulestream.local.process import ROOT, end_group
from joulestream.local.state import read_state
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.timeout(600)]


def joule(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOULE_")}
    command = [sys.executable, "-m", "joulestream", *arguments, "--data-dir", str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300, check=False
    )


def up(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return joule(folder, "up", "--detach", "--no-demo", "--headless", *arguments)


def status(folder: Path) -> dict[str, Any]:
    done = joule(folder, "status", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that was told of the data folder, in its arguments or its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("JOULE_DATA_DIR", "")]
        except psutil.Error:
            continue
        if any(str(folder) in text for text in told):
            found.append(process)
    return found


def stream_came_back(folder: Path) -> bool:
    """Whether the supervisor has started the stream again, and it runs."""
    state = read_state(folder)
    stream = state.services["stream"] if state else None
    return stream is not None and stream.restarts > 0 and stream.state == "running"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder; whatever a failed test leaves running from it is ended."""
    yield tmp_path
    for process in processes_of(tmp_path):
        end_group(process.pid, 10)


def test_the_stack_lives_through_kill_9_and_leaves_nothing_behind(folder: Path) -> None:
    first = up(folder, "--port-base", str(any_free()))
    assert first.returncode == 0, first.stderr
    running = status(folder)
    assert running["dashboard_url"] is None
    assert all(psutil.pid_exists(running[f"{name}_pid"]) for name in ("broker", "store", "stream", "agent"))

    again = up(folder)
    assert again.returncode == 0
    assert running["kafka_bootstrap"] in again.stderr
    assert status(folder)["supervisor_pid"] == running["supervisor_pid"]

    os.kill(running["stream_pid"], signal.SIGKILL)
    until(lambda: stream_came_back(folder), 120, 0.5, lambda: "the stream was not started again")

    os.kill(running["supervisor_pid"], signal.SIGKILL)
    until(lambda: not processes_of(folder), 120, 0.5, lambda: f"left over: {processes_of(folder)}")
    assert joule(folder, "status").returncode == 3

    third = up(folder)
    assert third.returncode == 0, third.stderr
    assert status(folder)["kafka_bootstrap"] == running["kafka_bootstrap"]
    refused = joule(folder, "reset", "--yes")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr

    assert joule(folder, "down").returncode == 0
    assert processes_of(folder) == []
