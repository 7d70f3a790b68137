"""A machine's meters together: which of them speaks for a device, what a failing one costs, how they are chosen."""

from __future__ import annotations

from typing import Any

import pytest

from producers.machine import Machine, measurement_of, meters_of
from producers.meters.errors import MeterUnavailable
from producers.meters.select import describe_meters, open_machine
from producers.ports import Instant, Reading
from schemas.errors import RetryableError, SourceGone
from tests.meters import at


class Stub:
    def __init__(self, name: str, devices: tuple[str, ...], measurement: str, *answers: Any) -> None:
        self.name, self.devices, self.measurement = name, devices, measurement
        self.answers, self.asked = list(answers), 0

    def sample(self, _at: Instant) -> Reading:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Reading)
        return answer

    def close(self) -> None:
        pass


def test_machine_merges_meters_and_names_who_gave_what() -> None:
    rapl = Stub("rapl", ("cpu",), "measured", Reading(cpu_energy_j=7.0))
    ram = Stub("ram_estimate", ("dram", "cpu"), "estimated", Reading(cpu_energy_j=99.0, dram_energy_j=1.0))
    seen = Machine([rapl, ram]).sample(at(1))
    assert (seen.reading.cpu_energy_j, seen.reading.dram_energy_j) == (7.0, 1.0)
    assert meters_of(seen.sources.values()) == ("rapl", "ram_estimate")
    assert measurement_of(seen.sources.values()) == "mixed"


def test_gap_of_the_preferred_meter_is_not_filled_by_another() -> None:
    rapl = Stub("rapl", ("cpu",), "measured", Reading())
    other = Stub("psutil", ("cpu",), "estimated", Reading(cpu_energy_j=99.0))
    seen = Machine([rapl, other]).sample(at(1))
    assert seen.reading.cpu_energy_j is None
    assert measurement_of(seen.sources.values()) is None


def test_failing_meter_is_told_once_per_change(caplog: pytest.LogCaptureFixture) -> None:
    away = RetryableError("busy")
    meter = Stub("m", ("cpu",), "measured", away, away, Reading(cpu_energy_j=1.0), SourceGone("off"))
    machine = Machine([meter])
    values = [machine.sample(at(float(n))).reading.cpu_energy_j for n in range(6)]
    assert values == [None, None, 1.0, None, None, None]
    assert meter.asked == 4
    assert [r.message.split(":")[0] for r in caplog.records] == [
        "meter m cannot be read now, a gap begins",
        "meter m can be read again",
        "meter m ended",
    ]


def test_choice_of_meters_by_name() -> None:
    assert [s.name for s in open_machine("simulated:7:2, ram_estimate").samplers] == [
        "simulated",
        "ram_estimate",
    ]


@pytest.mark.parametrize("choice", ["nonsense", "simulated:x", "", "replay:/absent/file"])
def test_choice_that_cannot_be_had_says_why(choice: str) -> None:
    with pytest.raises(MeterUnavailable, match=r"; "):
        open_machine(choice)


def test_auto_always_covers_cpu_and_memory() -> None:
    machine = open_machine("auto")
    devices = {device for sampler in machine.samplers for device in sampler.devices}
    assert {"cpu", "dram"} <= devices
    machine.close()


def test_every_meter_is_described_with_a_remedy_where_it_cannot_be_read() -> None:
    statuses = {status.name: status for status in describe_meters()}
    assert set(statuses) == {"rapl", "nvml", "psutil", "ram_estimate", "codecarbon"}
    assert statuses["psutil"].readable
    assert all(status.reason for status in statuses.values())
    assert all(status.remedy for status in statuses.values() if not status.readable)
