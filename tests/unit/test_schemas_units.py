"""Units: exact factors, and no conversion constant anywhere else."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import events, units
from schemas.fields import fields_of
from schemas.units import Unit

ROOT = Path(units.__file__).parent.parent
ROOMS = ("schemas", "conf", "producers", "spark_jobs", "dashboard", "joulestream")

SUFFIXES = {
    Unit.JOULE: "_j",
    Unit.WATT: "_w",
    Unit.SECOND: "_s",
    Unit.KWH: "_kwh",
    Unit.KG: "_kg",
    Unit.G_PER_KWH: "g_per_kwh",
    Unit.PERCENT: "_pct",
    Unit.MIB: "_mib",
    Unit.CELSIUS: "_c",
}

CLASSES = (
    events.TrainingEvent,
    events.RunSummaryTotals,
    events.NodeSample,
    events.GpuReading,
    events.GridIntensity,
)


def test_conversions_match_the_definitions_of_the_units() -> None:
    assert units.kwh_from_j(3_600_000.0) == 1.0
    assert units.j_from_kwh(1.0) == 3_600_000.0
    assert units.w_from_kwh(1.0, 3600.0) == 1000.0
    assert units.w_from_mw(250_000.0) == 250.0
    assert units.j_from_mj(2_000.0) == 2.0
    assert units.j_from_uj(262_143_328_850.0) == 262_143.32885
    assert units.mib_from_bytes(2**30) == 1024.0


def test_emissions_are_energy_times_intensity() -> None:
    assert units.emissions_kg(2.0, 475.0) == pytest.approx(0.95)


@given(st.floats(0, 1e15))
def test_joules_to_kwh_and_back_is_the_same_energy(energy_j: float) -> None:
    assert units.j_from_kwh(units.kwh_from_j(energy_j)) == pytest.approx(energy_j, rel=1e-15, abs=1e-300)


@pytest.mark.parametrize("event_class", CLASSES, ids=lambda c: c.__name__)
def test_a_field_with_a_unit_says_it_at_the_end_of_its_name(event_class: type[object]) -> None:
    wrong = [
        field.name
        for field in fields_of(event_class)
        if field.spec.unit in SUFFIXES and not field.name.endswith(SUFFIXES[field.spec.unit])
    ]
    assert wrong == []


def test_joules_in_a_kwh_are_written_in_one_file_only() -> None:
    found = []
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
            if token.type == tokenize.NUMBER and token.string.replace("_", "").lower() in (
                "3.6e6",
                "3600000",
                "3600000.0",
            ):
                found.append(str(path.relative_to(ROOT)))
    assert found == ["schemas/units.py"]
