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

ROOT = Path(__file__).resolve().parents[1]


class ListSink:
    """Keeps what is sent, which must be events of training runs under their own keys."""

    dropped = 0

    def __init__(self) -> None:
        self.raw: list[bytes] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(value) for value in self.raw]

    def send(self, topic: str, key: str, value: bytes) -> None:
        assert topic == "training.events"
        assert key == json.loads(value)["run_id"]
        self.raw.append(value)

    def flush(self, timeout_s: float) -> bool:
        return True

    def close(self, timeout_s: float) -> bool:
        return True


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
        "class FileSink:\n"
        "    dropped = 0\n"
        f"    def send(self, topic, key, value): open({str(tmp_path / 'events')!r}, 'ab').write(value + b'\\n')\n"
        "    def flush(self, timeout_s): return True\n"
        "    def close(self, timeout_s): return True\n"
        "def tracker(): return Tracker('r', sink=FileSink(), meters='simulated')\n"
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
