"""The tracker: the events' energy is the run's, whatever the loop does; nothing it does breaks the loop."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.attribution import Charge
from producers.exits import status_of
from producers.machine import Machine, Provenance
from producers.run_meter import Interval, State
from producers.timeline import Timeline
from producers.tracker import Tracker
from schemas.parse import parse_training

ROOT = Path(__file__).resolve().parents[2]


class ListSink:
    """Keeps what is sent."""

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


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "data"))


def tracker(sink: ListSink, **given: Any) -> Tracker:
    return Tracker(sink=sink, meters="simulated:1:1", **given)


def work(seconds: float = 0.15) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        math.sqrt(2.0)


def test_events_add_up_to_the_run_and_are_numbered_from_zero(sink: ListSink) -> None:
    with tracker(sink, run_id="r1", user_id="ann", region_iso="fr") as run:
        for epoch in range(3):
            work()
            run.log(epoch=epoch, loss=1 / (epoch + 1))
        work()
    kinds = [event["event_type"] for event in sink.events]
    assert kinds == ["run_started", "metric", "metric", "metric", "run_finished"]
    assert [event["sequence"] for event in sink.events] == list(range(5))
    assert len({event["producer_id"] for event in sink.events}) == 1
    total = sum(event.get("energy_kwh", 0.0) for event in sink.events)
    assert total == pytest.approx(run.energy_kwh)
    assert sink.events[-1]["cumulative_energy_kwh"] == pytest.approx(total)
    assert all(event["energy_kwh"] > 0 for event in sink.events[1:])
    parts = ("cpu_energy_kwh", "gpu_energy_kwh", "ram_energy_kwh")
    assert all(
        sum(event[part] for part in parts) == pytest.approx(event["energy_kwh"]) for event in sink.events[1:]
    )
    covered = sum(event["interval_s"] for event in sink.events[1:])
    begun, ended = (
        datetime.fromisoformat(sink.events[n]["timestamp"].replace("Z", "+00:00")) for n in (0, -1)
    )
    assert covered == pytest.approx((ended - begun).total_seconds(), abs=0.05)


def test_the_gpu_of_a_lone_run_is_charged_whole(sink: ListSink) -> None:
    with tracker(sink) as run:
        time.sleep(0.3)
        run.log(step=1)
    gpu_kwh = sum(event.get("gpu_energy_kwh", 0.0) for event in sink.events)
    seconds = sum(event.get("interval_s", 0.0) for event in sink.events)
    assert 100 < gpu_kwh * 3.6e6 / seconds < 400


def test_every_event_is_accepted_by_the_contract(sink: ListSink) -> None:
    with tracker(
        sink,
        run_id="../etc/pass wd",
        user_id="Ann Smith",
        project="x" * 5000,
        model_name="<img onerror>\ud800",
        hyperparameters={"a.b": math.inf, "$where": {"deep": [1, Path("/x")]}},
        rank=0,
        world_size=2,
    ) as run:
        run.log(epoch=float("nan"), loss=math.inf, accuracy="high", note="\0", own=2**70)
        run.log(step=10**400, lr=1e-3, flag=True)
    later = datetime.now(timezone.utc) + timedelta(seconds=1)
    parsed = [parse_training(value, later) for value in sink.raw]
    assert len({one.identity for one in parsed}) == len(sink.raw) == 4
    assert sink.events[2]["lr"] == 1e-3
    assert "loss" not in sink.events[1]
    assert "project" not in sink.events[0]


def test_carbon_names_its_source(sink: ListSink) -> None:
    with tracker(sink, region_iso="fr"):
        time.sleep(0.12)
    last = sink.events[-1]
    assert last["region_iso"] == "FRA"
    assert "FRA" in last["carbon_intensity_source"]
    per_kwh = last["emissions_kg"] / last["energy_kwh"] * 1000
    assert per_kwh == pytest.approx(last["carbon_intensity_g_per_kwh"])


def test_unknown_region_falls_back_and_says_so(sink: ListSink) -> None:
    with tracker(sink):
        time.sleep(0.12)
    assert "region not given" in sink.events[-1]["carbon_intensity_source"]


@pytest.mark.parametrize(("region", "warnings"), [("XX", 1), ("de", 0), ("US-CA", 0), (None, 0)])
def test_region_that_no_table_knows_is_said_when_the_run_starts(
    sink: ListSink, caplog: pytest.LogCaptureFixture, region: str | None, warnings: int
) -> None:
    with tracker(sink, region_iso=region):
        pass
    assert caplog.text.count(f"region {region!r} is no ISO 3166 country") == warnings


def test_without_log_a_heartbeat_comes_each_interval(sink: ListSink) -> None:
    began = time.monotonic()
    with tracker(sink, interval_s=0.2, sample_s=0.1):
        while len(sink.events) < 4 and time.monotonic() < began + 60:
            time.sleep(0.05)
    metrics = [event for event in sink.events if event["event_type"] == "metric"]
    assert 3 <= len(metrics) <= (time.monotonic() - began) / 0.2
    assert all("epoch" not in event for event in metrics)


def test_loop_that_logs_faster_than_the_meters_are_read_loses_nothing(sink: ListSink) -> None:
    with tracker(sink) as run:
        for step in range(500):
            run.log(step=step)
            if step % 50 == 0:
                time.sleep(0.02)
    steps = [event["step"] for event in sink.events if "step" in event]
    assert steps == list(range(500))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "completed"),
        (ValueError("x"), "failed"),
        (KeyboardInterrupt(), "stopped"),
        (SystemExit(0), "completed"),
        (SystemExit(3), "failed"),
        (SystemExit("no"), "failed"),
    ],
    ids=["normal", "exception", "ctrl-c", "exit 0", "exit 3", "exit text"],
)
def test_status_follows_how_the_block_ended(sink: ListSink, error: BaseException | None, status: str) -> None:
    try:
        with tracker(sink):
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt, SystemExit) as raised:
        assert raised is error  # noqa: PT017 - that the very error comes through is what is tested
    assert sink.events[-1]["status"] == status
    assert status_of(error, asked_to_stop=True) == "stopped"


def test_decorator_measures_every_call_as_a_run_of_its_own(sink: ListSink) -> None:
    @tracker(sink, model_name="net")
    def train(x: int) -> int:
        """Doc."""
        return x * 2

    assert [train(1), train(2)] == [2, 4]
    assert train.__doc__ == "Doc."
    runs = {event["run_id"] for event in sink.events}
    assert len(runs) == 2
    assert all(run.startswith("net-") for run in runs)
    assert [event["status"] for event in sink.events if "status" in event] == ["completed"] * 2


def test_stop_twice_and_log_after_the_end_do_nothing(sink: ListSink) -> None:
    run = tracker(sink).start()
    run.stop("stopped")
    run.stop()
    run.log(epoch=1)
    assert [event["event_type"] for event in sink.events] == ["run_started", "run_finished"]


def test_broken_settings_cost_the_measurement_and_not_the_training(
    sink: ListSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JOULE_TRACKER_INTERVAL_S", "soon")
    with Tracker(sink=sink) as run:
        run.log(epoch=1)
    assert sink.raw == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the training goes on" in caplog.text


def test_meter_that_cannot_be_had_costs_the_measurement_only(
    sink: ListSink, caplog: pytest.LogCaptureFixture
) -> None:
    with Tracker(sink=sink, meters="nonsense") as run:
        run.log(epoch=1)
    assert "there is no meter 'nonsense'" in caplog.text
    assert "Traceback" not in caplog.text


def test_failing_look_is_a_gap_and_the_run_still_ends(
    sink: ListSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker(sink, interval_s=0.2, sample_s=0.1) as run:
        with monkeypatch.context() as patch:
            patch.setattr("producers.registry.Registry.living", lambda _self: [][0])
            time.sleep(0.3)
        run.log(epoch=1)
    assert sink.events[-1]["status"] == "completed"
    assert caplog.text.count("the training goes on") == 1


def test_gap_of_the_meters_is_not_known_rather_than_zero(sink: ListSink) -> None:
    with Tracker(sink=sink, meters=Machine([])) as run:
        time.sleep(0.12)
        run.log(epoch=1)
    assert all("energy_kwh" not in event for event in sink.events)
    assert sink.events[1]["interval_s"] > 0.1


def test_registry_entry_lives_as_long_as_the_run(sink: ListSink, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "registry"
    with tracker(sink, run_id="r7"):
        (entry,) = folder.glob("*.json")
        assert json.loads(entry.read_text())["run_id"] == "r7"
        assert json.loads(entry.read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []


# energy over time, as arithmetic


@given(
    looks=st.lists(st.floats(min_value=0.01, max_value=10), min_size=1, max_size=15),
    marks=st.lists(st.floats(min_value=0, max_value=1), max_size=15),
    power_w=st.floats(min_value=0, max_value=1000),
)
def test_any_cut_of_the_time_keeps_the_energy(looks: list[float], marks: list[float], power_w: float) -> None:
    timeline, total, seconds, start_s = Timeline(), 0.0, 0.0, 100.0
    source = (Provenance("m", frozenset({"measured"})),)
    for over_s in looks:
        interval = Interval(start_s, start_s + over_s, Charge(cpu_j=power_w * over_s), source, State())
        cursor_s = start_s
        for part in sorted(marks):
            timeline.add(interval, cursor_s, start_s + part * over_s)
            cursor_s = start_s + part * over_s
            portion = timeline.take()
            total += portion.energy_j or 0.0
            seconds += portion.covered_s
        timeline.add(interval, cursor_s, interval.to_s)
        start_s += over_s
    last = timeline.take()
    assert total + (last.energy_j or 0.0) == pytest.approx(power_w * sum(looks), rel=1e-9, abs=1e-9)
    assert seconds + last.covered_s == pytest.approx(sum(looks))


# real processes


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
    return [json.loads(line) for line in (tmp_path / "events").read_bytes().splitlines()]


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


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
