"""One attribution rule: a run's own total and what its node attributes to it, on the same readings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random

import pytest

from producers.agent import NodeAgent, agent_machine
from producers.consumers import Consumers
from producers.host import Host
from producers.machine import Machine
from producers.meters.simulated import SimulatedMeter
from producers.ports import Instant, SystemClock
from producers.process_tree import ProcessStat, ProcessTree
from producers.registry import Entry, Registry
from producers.run_meter import RunMeter
from schemas.events import NodeSample
from schemas.units import j_from_kwh
from spark_jobs.contributions import node_sums

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
CPUS = 4


class NoSink:
    """The agent's sink where only its samples are of interest."""

    dropped = 0

    def send(self, topic: str, key: str, value: bytes) -> None:
        raise AssertionError("samples are taken, not sent")

    def flush(self, timeout_s: float) -> bool:
        return True

    def close(self, timeout_s: float) -> bool:
        return True


@dataclass
class Load:
    """A machine of CPUS logical CPUs on which the given processes and others work, second by second."""

    pids: tuple[int, ...]
    at_s: int = 0
    used_s: dict[int, float] = field(default_factory=dict)
    others_s: float = 0.0
    rng: Random = field(default_factory=lambda: Random(3))

    def second(self) -> Instant:
        """One second passes; nobody works more than there is."""
        self.at_s += 1
        for pid in self.pids:
            self.used_s[pid] = self.used_s.get(pid, 0.0) + self.rng.uniform(0.0, CPUS / 4)
        self.others_s += self.rng.uniform(0.0, CPUS / 4)
        return self.now()

    def now(self) -> Instant:
        return Instant(START + timedelta(seconds=self.at_s), float(self.at_s))

    def host(self) -> tuple[float, float]:
        """Busy CPU seconds and capacity since the start."""
        return sum(self.used_s.values()) + self.others_s, float(CPUS * self.at_s)

    def tree(self, root_pid: int) -> dict[int, ProcessStat]:
        return {root_pid: ProcessStat(root_pid, 0, 1.0, self.used_s.get(root_pid, 0.0), 0.0, 2**30)}


@pytest.fixture
def sleepers() -> Iterator[tuple[int, int]]:
    """Two living processes that may stand in the registry."""
    command = [sys.executable, "-c", "input()"]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    yield both[0].pid, both[1].pid
    for process in both:
        process.communicate(b"\n")


def attributed_j(samples: list[NodeSample]) -> dict[str, float]:
    """Energy of each run as the stream adds it up."""
    sums: dict[str, float] = {}
    for sample in samples:
        for run_id, energy_kwh in node_sums(sample.to_wire())[1].items():
            sums[run_id] = sums.get(run_id, 0.0) + j_from_kwh(energy_kwh)
    return sums


def both_totals(
    load: Load, registry: Registry, entries: list[Entry], swing: float, look_every_s: int
) -> tuple[dict[str, float], dict[str, float]]:
    """A minute on a machine without GPUs: energy by run, as trackers and as node agent and stream have it."""

    def machine() -> Machine:
        return Machine([SimulatedMeter(2, swing=swing)])

    node = NodeAgent("n", None, 1.0, machine(), Consumers(registry), NoSink(), SystemClock(), Host(load.host))
    meters = {
        entry.run_id: RunMeter(machine(), registry, entry, Host(load.host), ProcessTree(entry.pid, load.tree))
        for entry in entries
    }
    charged = dict.fromkeys(meters, 0.0)
    node.sample(load.now())
    for meter in meters.values():
        meter.look(load.now())
    samples = []
    for second in range(1, 61):
        at = load.second()
        samples.append(node.sample(at))
        if second % look_every_s == 0:
            for run_id, meter in meters.items():
                charge = meter.look(at).charge
                assert charge.cpu_j is not None
                assert charge.ram_j is not None
                charged[run_id] += charge.cpu_j + charge.ram_j
    return charged, attributed_j(samples)


@pytest.mark.parametrize(
    ("swing", "look_every_s", "within"),
    [(0.3, 1, 1e-9), (0.0, 5, 1e-9), (0.3, 5, 0.03)],
    ids=["same looks", "constant power", "sampling apart"],
)
def test_run_and_node_agree_on_the_same_readings(
    tmp_path: Path,
    sleepers: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
    swing: float,
    look_every_s: int,
    within: float,
) -> None:
    load, registry = Load(sleepers), Registry(tmp_path)
    monkeypatch.setattr("producers.process_tree.TreeReader", lambda: load.tree)
    entries = [registry.enter(f"p{pid}", f"run-{n}", pid, START, ()) for n, pid in enumerate(sleepers)]
    charged, attributed = both_totals(load, registry, entries, swing, look_every_s)
    assert set(charged) == {"run-0", "run-1"}
    assert charged == pytest.approx(attributed, rel=within)
    assert min(charged.values()) > 0.05 * SimulatedMeter(2).truth_j(0.0, 60.0)


def test_gpu_that_comes_to_be_shared_or_is_no_longer_is_never_charged_twice(
    tmp_path: Path, sleepers: tuple[int, int]
) -> None:
    load, registry, seen = Load(sleepers), Registry(tmp_path), SimulatedMeter(1, gpus=1, swing=0.0)

    def enter(name: str, pid: int) -> RunMeter:
        entry = registry.enter(name, name, pid, START, seen.uuids)
        machine = Machine([SimulatedMeter(1, gpus=1, swing=0.0)])
        return RunMeter(machine, registry, entry, Host(load.host), ProcessTree(pid, load.tree))

    def gpu_j(meter: RunMeter) -> float:
        return meter.look(load.second()).charge.gpu_j or 0.0

    second_j = seen.gpus[0].energy_j(0.0, 1.0)
    long = enter("long", sleepers[0])
    long.look(load.now())
    load.second()
    short = enter("short", sleepers[1])
    short.look(load.now())
    both_j = gpu_j(long)  # of two seconds
    both_j += gpu_j(short)  # of two seconds
    assert both_j == pytest.approx(2 * second_j)
    both_j = gpu_j(long)  # the short one's last second is not over
    both_j += gpu_j(short)
    registry.leave("short")
    both_j += gpu_j(long)  # it shared the first of these two seconds
    assert both_j == pytest.approx((1.0 + 1.0 + 1.0) * second_j)
    assert gpu_j(long) == pytest.approx(second_j)


TRAIN = """
import sys, time
from producers.tracker import Tracker
from tests.sinks import FileSink
with Tracker('real', sink=FileSink(sys.argv[1]), meters='psutil,ram_estimate', sample_s=0.2):
    until = time.monotonic() + 3.0
    while time.monotonic() < until: pass
"""


def test_real_run_and_the_agent_of_its_machine_agree(tmp_path: Path) -> None:
    env = {**os.environ, "JOULE_DATA_DIR": str(tmp_path / "data")}
    registry, clock, pause = Registry(tmp_path / "data" / "registry"), SystemClock(), threading.Event()
    machine = agent_machine("psutil,ram_estimate")
    node = NodeAgent("n", None, 0.1, machine, Consumers(registry), NoSink(), clock)
    node.begin()
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "events")]
    samples = []
    until_s = time.monotonic() + 60
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None and time.monotonic() < until_s:
            pause.wait(0.1)
            samples.append(node.sample(Instant(clock.now(), clock.monotonic())))
    events = [json.loads(line) for line in (tmp_path / "events").read_bytes().splitlines()]
    own_j = j_from_kwh(sum(event.get("energy_kwh", 0.0) for event in events))
    assert own_j > 0
    assert attributed_j(samples)["real"] == pytest.approx(own_j, rel=0.25)
