"""RAPL's zones on a fake sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.meters.errors import MeterUnavailable
from producers.meters.rapl import RaplMeter, device_of
from producers.ports import Reading
from tests.meters import at


def zone(root: Path, folder: str, name: str, count: int | str) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text("262143328850\n")
    (path / "energy_uj").write_text(f"{count}\n")
    return path / "energy_uj"


@pytest.fixture
def sysfs(tmp_path: Path) -> dict[str, Path]:
    names = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:1:0": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    files = {folder: zone(tmp_path, folder, name, 0) for folder, name in names.items()}
    return {"root": tmp_path, **files}


def test_rapl_sums_sockets_and_leaves_out_zones_inside_others(sysfs: dict[str, Path]) -> None:
    meter = RaplMeter(sysfs["root"])
    assert meter.sample(at(0)) == Reading()
    for folder, file in sysfs.items():
        if folder != "root":
            file.write_text("1000000\n")
    reading = meter.sample(at(1))
    assert (reading.cpu_energy_j, reading.dram_energy_j, reading.platform_energy_j) == (2.0, 2.0, 1.0)


def test_rapl_zone_that_becomes_unreadable_is_a_gap_of_its_device_only(sysfs: dict[str, Path]) -> None:
    meter = RaplMeter(sysfs["root"])
    meter.sample(at(0))
    sysfs["intel-rapl:1"].unlink()
    reading = meter.sample(at(1))
    assert reading.cpu_energy_j is None
    assert reading.dram_energy_j == 0.0


def test_rapl_that_is_not_readable_says_so_and_how_to_change_it(sysfs: dict[str, Path]) -> None:
    sysfs["intel-rapl:0"].unlink()
    with pytest.raises(MeterUnavailable, match=r"not readable.*intel-rapl:0") as caught:
        RaplMeter(sysfs["root"])
    assert "chmod" in caught.value.remedy


def test_no_rapl_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(MeterUnavailable, match="no RAPL zone"):
        RaplMeter(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "device"), [("package-1-die-0", "cpu"), ("psys", "platform"), ("uncore", None), ("dram", "dram")]
)
def test_rapl_zone_names(name: str, device: str | None) -> None:
    assert device_of(name) == device
