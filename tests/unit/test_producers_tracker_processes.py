"""The tracker in processes of their own: however they end, the run is finished with its status."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trackers import ROOT, finish, run_script, sent


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        ("run = tracker().start()\n", 0, "completed"),
        ("run = tracker().start()\nraise ValueError('x')\n", 1, "failed"),
        ("run = tracker().start()\nraise KeyboardInterrupt\n", -signal.SIGINT, "stopped"),
        (
            "with tracker(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)\n",
            -signal.SIGTERM,
            "stopped",
        ),
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
            "with tracker(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)\n",
            5,
            "stopped",
        ),
    ],
    ids=["exit", "uncaught exception", "ctrl-c", "SIGTERM", "SIGTERM that the program handles"],
)
def test_run_that_nobody_closes_is_finished_with_its_status(
    tmp_path: Path, body: str, code: int, status: str
) -> None:
    assert finish(run_script(body, tmp_path))[0] == code
    events = sent(tmp_path)
    assert [event["event_type"] for event in events] == ["run_started", "run_finished"]
    assert events[-1]["status"] == status


def test_forked_children_neither_send_nor_end_the_run(tmp_path: Path) -> None:
    body = (
        "with tracker() as run:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        run.log(epoch=99); sys.exit(0)\n"
        "    os.waitpid(child, 0); run.log(epoch=1)\n"
    )
    assert finish(run_script(body, tmp_path))[0] == 0
    events = sent(tmp_path)
    assert [event.get("epoch") for event in events] == [None, 1.0, None]
    assert events[-1]["status"] == "completed"


def test_package_for_training_scripts_needs_none_of_the_heavy_ones(tmp_path: Path) -> None:
    blocked = (
        "pyspark",
        "pymongo",
        "bson",
        "streamlit",
        "typer",
        "rich",
        "plotly",
        "pandas",
        "sklearn",
        "pyarrow",
    )
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {blocked!r}: raise ImportError('blocked ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from joulestream import Tracker\n"
        "import producers.node_agent\n"
        "print(Tracker.__name__, 'codecarbon' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["Tracker", "False"], done.stderr
