"""A run is charged also where the kernel's sums of CPU time stand still or go back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from producers.host import Host
from producers.machine import Machine, MachineReading
from producers.meters.select import open_machine
from producers.ports import Instant, SystemClock, instant
from producers.registry import Registry
from producers.run_meter import RunMeter
from tests.trackers import work


class Noted:
    """A machine that keeps what it drew."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self.cpu_j = machine, 0.0

    def sample(self, at: Instant) -> MachineReading:
        seen = self._machine.sample(at)
        self.cpu_j = seen.reading.cpu_energy_j or 0.0
        return seen

    def close(self) -> None:
        self._machine.close()


@pytest.mark.parametrize("then", [(100.0, 200.0), (99.0, 199.0)], ids=["still", "back"])
def test_cpu_energy_is_known_where_the_machines_times_do_not_grow(
    tmp_path: Path, then: tuple[float, float]
) -> None:
    clock, registry = SystemClock(), Registry(tmp_path)
    entries = [registry.enter(name, f"run-{name}", os.getpid(), clock.now(), ()) for name in "ab"]
    machines = [Noted(open_machine("simulated:1:1")) for _ in entries]
    meters = [
        RunMeter(machine, registry, entry, Host(iter([(100.0, 200.0), then]).__next__))  # type: ignore[arg-type]
        for machine, entry in zip(machines, entries, strict=True)
    ]
    begun = instant(clock)
    for meter in meters:
        meter.look(begun)
    work(0.3)
    ended = instant(clock)
    charged_j = [meter.look(ended).charge.cpu_j for meter in meters]
    assert all(energy_j is not None and energy_j > 0 for energy_j in charged_j)
    assert sum(energy_j or 0.0 for energy_j in charged_j) <= machines[0].cpu_j * (1 + 1e-9)
