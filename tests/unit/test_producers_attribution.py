"""Who is charged what: trackers together never exceed the machine, whatever their trees look like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.attribution import CpuLedger, CpuShare, cpu_time_charge_j, gpu_shares
from producers.ports import GpuSample
from producers.process_tree import ProcessStat, ProcessTree, TreeReader, covering, used_since
from producers.registry import Entry, Registry, by_gpu

ROOT = Path(__file__).resolve().parents[2]


def stat(pid: int, ppid: int, own: float = 0.0, waited: float = 0.0, started: float = 1.0) -> ProcessStat:
    return ProcessStat(pid, ppid, started, own, waited, 2**20)


def tree(*stats: ProcessStat) -> dict[int, ProcessStat]:
    return {one.pid: one for one in stats}


# CPU time of trees


def test_own_time_counts_since_the_last_look() -> None:
    assert used_since(tree(stat(1, 0, 5.0)), tree(stat(1, 0, 7.5)), 1.0, {}) == {1: 2.5}


def test_child_that_ended_is_counted_once() -> None:
    last = tree(stat(1, 0, 5.0), stat(2, 1, 3.0))
    now = tree(stat(1, 0, 5.0, waited=3.5))  # the child used 0.5 more, and was waited for
    assert used_since(last, now, 1.0, {}) == {1: 0.5}


def test_grandchild_that_ended_with_its_parent_is_counted_once() -> None:
    last = tree(stat(1, 0), stat(2, 1, 1.0), stat(3, 2, 4.0))
    now = tree(stat(1, 0, waited=1.0 + 4.0 + 0.25))
    assert used_since(last, now, 1.0, {}) == {1: 0.25}


def test_child_that_began_and_ended_between_looks_is_counted() -> None:
    assert used_since(tree(stat(1, 0)), tree(stat(1, 0, waited=2.0)), 1.0, {}) == {1: 2.0}


def test_child_that_nobody_waits_for_takes_nothing_back() -> None:
    last = tree(stat(1, 0, 5.0), stat(2, 1, 3.0))
    assert used_since(last, tree(stat(1, 0, 6.0)), 1.0, {}) == {1: 1.0}


def test_new_process_counts_from_its_start_but_an_older_one_that_joins_does_not() -> None:
    now = tree(stat(1, 0), stat(2, 1, 0.5, started=9.0), stat(3, 1, 1000.0, started=0.5))
    assert used_since(tree(stat(1, 0)), now, 1.0, {}) == {1: 0.0, 2: 0.5}


def test_pid_used_anew_is_another_process() -> None:
    last, now = (
        tree(stat(1, 0), stat(2, 1, 50.0)),
        tree(stat(1, 0, waited=50.0), stat(2, 1, 0.25, started=9.0)),
    )
    assert used_since(last, now, 1.0, {}) == {1: 0.0, 2: 0.25}


def test_last_moments_of_a_child_with_a_tracker_of_its_own_are_shared_with_it() -> None:
    looks = iter([tree(stat(1, 0), stat(2, 1, 3.0)), tree(stat(1, 0, 1.0, waited=3.5))])
    outer = ProcessTree(1, lambda _pid: next(looks))
    both = {1: 1, 2: 1}
    outer.sample(both)
    assert outer.sample(both).cpu_s == 1.0 + 0.5 / 2


def test_nested_trackers_divide_what_both_cover() -> None:
    processes = tree(stat(1, 0), stat(2, 1), stat(3, 2))
    trackers = Counter({1: 1, 2: 1})
    assert covering(1, processes, trackers, 0) == {1: 1, 2: 2, 3: 2}
    assert covering(2, tree(stat(2, 1), stat(3, 2)), trackers, 1) == {2: 2, 3: 2}


@given(
    parents=st.lists(st.integers(min_value=0, max_value=30), max_size=30),
    roots=st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=6),
)
def test_weights_of_all_trackers_add_up_to_at_most_one_per_process(
    parents: list[int], roots: list[int]
) -> None:
    processes = tree(*(stat(pid, min(parent, pid - 1)) for pid, parent in enumerate([0, *parents], start=1)))
    trackers = Counter(root for root in roots if root in processes)
    together: Counter[int] = Counter()
    for root in trackers.elements():
        below, above, up = subtree(processes, root), 0, processes[root].ppid
        while up in processes:
            above += trackers[up]
            up = processes[up].ppid
        for pid, count in covering(root, below, trackers, above).items():
            together[pid] += 1_000_000 // count
    assert all(parts <= 1_000_000 for parts in together.values())


def subtree(processes: dict[int, ProcessStat], root: int) -> dict[int, ProcessStat]:
    kept = {root}
    for pid in sorted(processes):
        if processes[pid].ppid in kept:
            kept.add(pid)
    return {pid: processes[pid] for pid in kept}


def test_tree_of_a_real_process_counts_its_ended_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    body = (
        "import subprocess, sys; input()\n"
        f"subprocess.run([sys.executable, '-c', {burn!r}]); print('done', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        follow = ProcessTree(process.pid, TreeReader())
        assert follow.sample({}).cpu_s == 0.0
        process.stdin.write("\n")
        process.stdin.flush()
        used = 0.0
        while process.poll() is None and not _ready(process.stdout.fileno()):
            time.sleep(0.05)
            used += follow.sample({}).cpu_s
        used += follow.sample({}).cpu_s
        process.stdin.close()
    assert 0.45 < used < 1.0


def _ready(handle: int) -> bool:
    import select

    return bool(select.select([handle], [], [], 0)[0])


# shares and charges


@given(
    used=st.lists(st.floats(min_value=0, max_value=3), min_size=1, max_size=30),
    capacity=st.floats(min_value=0.5, max_value=4),
)
def test_shares_never_exceed_and_clock_ticks_are_not_lost(used: list[float], capacity: float) -> None:
    ledger, granted = CpuLedger(), 0.0
    for seconds in used:
        share = ledger.share(seconds, capacity * 0.8, capacity)
        assert share is not None
        assert 0 <= share.of_busy <= 1
        assert 0 <= share.of_capacity <= 0.8 + 1e-9
        granted += share.of_capacity * capacity
    assert granted <= sum(used) + 1e-9


def test_tick_that_falls_into_the_next_interval_is_carried() -> None:
    ledger = CpuLedger()
    shares = [ledger.share(used, 1.0, 1.0) for used in (1.01, 0.99)]
    assert [share and share.of_capacity for share in shares] == [1.0, 1.0]


def test_share_is_not_known_without_the_machines_times() -> None:
    assert CpuLedger().share(1.0, None, None) is None


def test_idle_energy_stays_with_the_node() -> None:
    half = CpuShare(of_busy=0.5, of_capacity=0.1)
    assert cpu_time_charge_j(100.0, half) == pytest.approx(10.0)
    assert cpu_time_charge_j(None, half) is None
    assert cpu_time_charge_j(100.0, None) is None


def entry(name: str, *gpus: str, pid: int = 1) -> Entry:
    return Entry(name, f"run-{name}", pid, 0.0, "2026-01-01T00:00:00Z", gpus)


def test_gpus_that_are_not_visible_are_not_charged() -> None:
    gpus = [GpuSample("G0", energy_j=5.0), GpuSample("G1", energy_j=7.0)]
    assert gpu_shares(gpus, entry("a", "G1"), {}, {}) == {"G1": 1.0}


def test_shared_gpu_is_divided_by_use_where_the_driver_tells_else_equally() -> None:
    a, b = entry("a", "G0", pid=1), entry("b", "G0", pid=2)
    told = [GpuSample("G0", process_shares={1: 0.75, 2: 0.2, 99: 0.05})]
    assert gpu_shares(told, a, by_gpu([b]), {1: 1.0}) == {"G0": 0.75}
    assert gpu_shares(told, b, by_gpu([a]), {2: 0.5}) == {"G0": 0.1}
    silent = [GpuSample("G0")]
    assert gpu_shares(silent, a, by_gpu([b]), {1: 1.0}) == {"G0": 0.5}


# registry


def test_registry_forgets_dead_processes_and_strangers(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    mine = registry.enter("mine", "r", os.getpid(), now, ("G0",))
    for name, change in {
        "dead": {"pid": 2**22 + 1},
        "reused": {"created_s": mine.created_s - 1000},
        "container": {"namespace": "pid:[1]"},
    }.items():
        fields = json.loads((tmp_path / "mine.json").read_text())
        (tmp_path / f"{name}.json").write_text(json.dumps({**fields, "producer_id": name, **change}))
    (tmp_path / "garbage.json").write_text("{")
    assert registry.living() == [mine]
    assert {file.stem for file in tmp_path.glob("*.json")} == {"mine", "container", "garbage"}
    registry.leave("mine")
    registry.leave("mine")
    assert registry.living() == []


# several real trackers on one machine

RUN = """
import subprocess, sys, time
from producers.machine import Machine
from producers.meters.simulated import SimulatedMeter
from producers.tracker import Tracker
from tests.sinks import FileSink
machine = Machine([SimulatedMeter(1, gpus=1, swing=0.0)])  # the same constant power for all: a known truth
with Tracker(sys.argv[2], sink=FileSink(sys.argv[1]), meters=machine, sample_s=0.1):
    if sys.argv[2] == 'outer':
        subprocess.run([sys.executable, '-c', sys.argv[3], sys.argv[1], 'inner', ''], check=True)
    until = time.monotonic() + 1.5
    while time.monotonic() < until: pass
"""


def test_trackers_of_one_machine_together_never_exceed_it(tmp_path: Path) -> None:
    from producers.meters.simulated import SimulatedMeter

    env = {**os.environ, "JOULE_DATA_DIR": str(tmp_path / "data")}
    began_s = time.monotonic()
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path / "events"), name, RUN],
            cwd=ROOT,
            env=env,
            stderr=subprocess.DEVNULL,
        )
        for name in ("one", "two", "outer")
    ]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    ended_s = time.monotonic()
    events = [json.loads(line) for line in (tmp_path / "events").read_bytes().splitlines()]
    truth = SimulatedMeter(1, gpus=1, swing=0.0)

    def charged_j(field: str, run: str | None = None) -> float:
        return 3.6e6 * sum(event.get(field, 0.0) for event in events if run is None or event["run_id"] == run)

    assert {event["run_id"] for event in events} == {"one", "two", "outer", "inner"}
    assert charged_j("cpu_energy_kwh") <= truth.cpu.energy_j(began_s, ended_s)
    assert charged_j("ram_energy_kwh") <= truth.dram.energy_j(began_s, ended_s)
    assert charged_j("gpu_energy_kwh") <= truth.gpus[0].energy_j(began_s, ended_s)
    cpus = psutil.cpu_count() or 1
    busy_cpu_j = truth.cpu.mean_w * 1.5 * 2 / cpus  # two looping processes at least, if the machine lets them
    assert charged_j("cpu_energy_kwh") > busy_cpu_j / 4
    assert charged_j("cpu_energy_kwh", "inner") > 0
