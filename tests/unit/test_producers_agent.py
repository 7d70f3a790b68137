"""The node agent: what a sample says, who used what, a schedule that does not drift."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest

from producers.agent import NodeAgent, agent_machine
from producers.consumers import Consumers
from producers.host import Host
from producers.machine import Machine
from producers.meters.simulated import SimulatedMeter
from producers.ports import Instant, Sampler
from producers.registry import Registry
from producers.spool import SUFFIX, orphans
from schemas.parse import parse_node
from tests.sinks import ListSink
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class ManualClock:
    """Time that only a wait moves on; a sample costs `cost_s`."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s


class Ticks(threading.Event):
    """A stop event whose waits move a manual clock, and which is set after so many."""

    def __init__(self, clock: ManualClock, waits: int, late_s: float = 0.0) -> None:
        super().__init__()
        self.clock, self.left, self.late_s = clock, waits, late_s

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.clock.at_s += timeout + self.late_s
        self.left -= 1
        if self.left == 0:
            self.set()
        return self.is_set()


def agent(
    tmp_path: Path, clock: ManualClock, sink: ListSink, *meters: Sampler, interval_s: float = 1.0
) -> NodeAgent:
    times = iter((float(n), 2.0 * n) for n in range(10**6))  # always half busy
    consumers = Consumers(Registry(tmp_path))
    host = Host(lambda: next(times))
    return NodeAgent("node-1", "fr", interval_s, Machine(meters), consumers, sink, clock, host)


def test_samples_add_up_to_the_truth_and_are_accepted(tmp_path: Path) -> None:
    clock, sink, meter = ManualClock(), ListSink(), SimulatedMeter(5, gpus=2)
    agent(tmp_path, clock, sink, meter).run(Ticks(clock, 20))
    sent = sink.events
    assert {(topic, key) for topic, key, _ in sink.sent} == {("node.metrics", "node-1")}
    assert [sample["sequence"] for sample in sent] == list(range(20))
    total = sum(
        s["cpu_energy_j"] + s["dram_energy_j"] + sum(gpu["energy_j"] for gpu in s["gpus"]) for s in sent
    )
    assert total == pytest.approx(meter.truth_j(0.0, 20.0))
    for value in sink.values:
        parsed = parse_node(value, START + timedelta(seconds=60))
        assert parsed.doc["measurement"] == "estimated"
    assert sent[0]["region_iso"] == "FRA"
    assert sent[0]["cpu_utilization_pct"] == 50.0
    assert sent[0]["memory_total_mib"] > sent[0]["memory_used_mib"] > 0


def test_schedule_does_not_drift_and_leaves_out_missed_ticks(tmp_path: Path) -> None:
    clock, sink = ManualClock(), ListSink()
    agent(tmp_path, clock, sink, SimulatedMeter()).run(Ticks(clock, 10, late_s=0.3))
    seconds = [datetime.fromisoformat(s["timestamp"].replace("Z", "+00:00")) for s in sink.events]
    assert [round((second - START).total_seconds(), 3) for second in seconds] == [
        n + 0.3 for n in range(1, 11)
    ]
    clock, sink = ManualClock(), ListSink()
    agent(tmp_path, clock, sink, SimulatedMeter()).run(Ticks(clock, 3, late_s=2.5))
    intervals = [sample["interval_s"] for sample in sink.events]
    assert intervals == pytest.approx([3.5, 3.0, 3.0])


def test_gap_is_absent_and_not_zero(tmp_path: Path) -> None:
    clock, sink = ManualClock(), ListSink()
    agent(tmp_path, clock, sink).run(Ticks(clock, 2))
    assert all("cpu_energy_j" not in s and "measurement" not in s and "gpus" not in s for s in sink.events)


def test_consumers_are_the_registered_runs_with_shares_of_at_most_one(tmp_path: Path) -> None:
    meter = SimulatedMeter(1, gpus=1)
    burn = "import time\nend = time.monotonic() + 120\nwhile time.monotonic() < end: pass"
    registry, clock = Registry(tmp_path), ManualClock()
    with subprocess.Popen([sys.executable, "-c", burn]) as process:
        registry.enter("p1", "burning", process.pid, START, meter.uuids)
        registry.enter("p2", "idle", os.getpid(), START, meter.uuids)
        one = agent(tmp_path, clock, ListSink(), meter)
        real = NodeAgent("n", None, 1.0, Machine([meter]), Consumers(registry), ListSink(), clock)
        real.begin()
        burning = psutil.Process(process.pid)
        until(lambda: sum(burning.cpu_times()[:2]) > 0.3)
        sample = real.sample(Instant(START, 1.0))
        process.kill()
    assert one.producer_id != real.producer_id
    shares = {consumer.run_id: consumer for consumer in sample.consumers or ()}
    assert set(shares) == {"burning", "idle"}
    cpu = {run: consumer.cpu_time_share or 0.0 for run, consumer in shares.items()}
    assert cpu["burning"] > 0
    assert cpu["idle"] > 0  # this process is the other's parent, so the two trackers halve it
    assert sum(cpu.values()) <= 1.0
    assert [gpu.share for consumer in shares.values() for gpu in consumer.gpus or ()] == [0.5, 0.5]
    later = real.sample(Instant(START, 2.0))
    assert [consumer.run_id for consumer in later.consumers or ()] == ["idle"]


def test_agent_never_takes_codecarbon(caplog: pytest.LogCaptureFixture) -> None:
    machine = agent_machine("codecarbon,simulated:1")
    assert [sampler.name for sampler in machine.samplers] == ["simulated"]
    assert "does not use codecarbon" in caplog.text
    assert "codecarbon" not in [sampler.name for sampler in agent_machine("codecarbon").samplers]


def waiting(folder: Path) -> int:
    """Messages in the spool of another process, which owns it."""
    for file in folder.glob(f"*{SUFFIX}"):
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as spool, suppress(sqlite3.Error):
            return int(spool.execute("SELECT count(*) FROM messages").fetchone()[0])
    return 0


def test_real_agent_ends_on_sigterm_keeps_its_samples_and_never_loads_codecarbon(tmp_path: Path) -> None:
    code = (
        "import sys, producers.node_agent as agent\n"
        "code = agent.main()\n"
        "sys.exit(9 if 'codecarbon' in sys.modules else code)"
    )
    env = {
        **os.environ,
        "JOULE_DATA_DIR": str(tmp_path),
        "JOULE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "JOULE_NODE_INTERVAL_S": "0.1",
        "JOULE_TRACKER_METERS": "auto",
    }
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stderr=subprocess.PIPE) as process:
        until(lambda: waiting(tmp_path / "spool") >= 20)  # two seconds: more than one try to connect
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors.count(b"no Kafka broker listens") == 1
    (left,) = orphans(tmp_path / "spool", 1.0)
    sequences = [json.loads(message.value)["sequence"] for message in left.peek(1000)]
    left.close()
    assert sequences == list(range(len(sequences)))
    assert len(sequences) >= 20


def test_agent_with_a_meter_that_is_not_there_ends_with_a_sentence(tmp_path: Path) -> None:
    env = {**os.environ, "JOULE_DATA_DIR": str(tmp_path), "JOULE_TRACKER_METERS": "replay:/absent"}
    done = subprocess.run(
        [sys.executable, "-m", "producers.node_agent"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("node agent: the trace /absent cannot be read")
