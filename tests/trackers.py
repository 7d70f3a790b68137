"""What the tests of the tracker share: a sink that keeps, work that costs CPU time, training scripts as processes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from schemas.topics import TRAINING_EVENTS
from tests.sinks import ListSink

ROOT = Path(__file__).resolve().parents[1]


class RunSink(ListSink):
    """Takes events of training runs only, each under its run's key."""

    def send(self, topic: str, key: str, value: bytes) -> None:
        assert topic == TRAINING_EVENTS
        assert key == json.loads(value)["run_id"]
        super().send(topic, key, value)


def work(seconds: float = 0.15) -> None:
    """Be busy for so much CPU time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        math.sqrt(2.0)


def run_script(body: str, tmp_path: Path, **popen: Any) -> subprocess.Popen[str]:
    """A training script whose sink writes lines to a file as they come."""
    head = (
        "import os, signal, sys, time\n"
        "from producers.tracker import Tracker\n"
        "from tests.sinks import FileSink\n"
        f"def tracker(): return Tracker('r', sink=FileSink({str(tmp_path / 'events')!r}), meters='simulated')\n"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + body],
        cwd=ROOT,
        env={**os.environ, "JOULE_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


def sent(tmp_path: Path) -> list[dict[str, Any]]:
    """The events that such a script has sent."""
    return [json.loads(line) for line in (tmp_path / "events").read_bytes().splitlines()]


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code of a script and what it said on stderr."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors
