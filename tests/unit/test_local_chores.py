"""What the supervisor does from time to time: again and again, and never twice at once."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from conf.settings import load_settings
from joulestream.local.plan import Chore, Plan
from joulestream.local.process import Service
from joulestream.local.supervisor import Supervisor
from tests.waiting import until

TURN = """
import sys, time
with open(sys.argv[1], "a") as file:
    file.write(f"begin {time.monotonic()}\\n")
    file.flush()
    time.sleep(0.4)
    file.write(f"end {time.monotonic()}\\n")
"""


def stack(tmp_path: Path, every_s: float) -> tuple[Supervisor, threading.Event, list[str]]:
    command = [sys.executable, "-c", TURN, str(tmp_path / "turns")]
    turn = Service("retrain", command, tmp_path / "log", ready=lambda: None, restart=False)
    chore = Chore(turn, first_s=0.1, every_s=every_s)
    settings = load_settings({"data_dir": tmp_path})
    plan = Plan(settings, {}, None, (), (), None, (chore,), None)
    stop, said = threading.Event(), list[str]()
    return Supervisor(plan, stop, said.append), stop, said


@pytest.mark.parametrize("every_s", [0.2, 1.0])
def test_chore_comes_round_again_and_never_beside_itself(tmp_path: Path, every_s: float) -> None:
    supervisor, stop, said = stack(tmp_path, every_s)
    thread = threading.Thread(target=supervisor._stay)
    thread.start()
    turns = tmp_path / "turns"
    until(lambda: turns.exists() and turns.read_text().count("end") >= 3)
    stop.set()
    thread.join()
    supervisor._end()
    words = [line.split()[0] for line in turns.read_text().splitlines()]
    assert words[:6] == ["begin", "end"] * 3
    assert said.count("retrain    finished") >= 2
