"""Carbon intensity: a value for every region, and the truth about where it comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.carbon import Intensity, intensity, normal_region, table

COUNTRIES = table()["countries"]


@pytest.mark.parametrize("region", ["DEU", "deu", "DE", "de", " De "])
def test_alpha_2_and_alpha_3_of_either_case_are_one_country(region: str) -> None:
    assert normal_region(region) == "DEU"
    assert intensity(region) == intensity("DEU")


def test_a_country_names_its_table_year_kind_and_scope() -> None:
    entry = COUNTRIES["FRA"]
    source = f"{table()['source']}, country FRA, {entry['year']}"
    expected = Intensity(entry["g_per_kwh"], source, entry["year"], "average", "lifecycle", "FRA")
    assert intensity("FR") == expected


def test_a_subdivision_has_its_countrys_intensity_and_keeps_its_name() -> None:
    assert intensity("us-ca").zone == "USA"
    assert normal_region("us-ca") == "us-ca"


@pytest.mark.parametrize("region", [None, "", "XX", "Atlantis", "$where", "D"])
def test_a_region_that_is_not_known_has_the_world_average_and_says_so(region: str | None) -> None:
    found = intensity(region)
    assert (found.g_per_kwh, found.zone) == (475.0, "world")
    assert "IEA" in found.source
    assert ("not given" if region is None else repr(region)) in found.source


@given(st.none() | st.text(max_size=60))
def test_every_region_has_an_intensity_with_a_source(region: str | None) -> None:
    found = intensity(region)
    assert found.g_per_kwh >= 0
    assert found.source
    assert found.zone == "world" or found.zone in COUNTRIES


@given(st.text(max_size=12))
def test_normalising_a_region_twice_changes_nothing_more(region: str) -> None:
    assert normal_region(normal_region(region)) == normal_region(region)


def test_the_table_holds_the_worlds_countries_with_plausible_values() -> None:
    assert len(COUNTRIES) > 190
    alpha_2 = [entry["alpha_2"] for entry in COUNTRIES.values() if entry["alpha_2"]]
    assert len(set(alpha_2)) == len(alpha_2)
    assert all(len(code) == 3 and code.isupper() for code in COUNTRIES)
    assert all(0 <= entry["g_per_kwh"] < 1500 and entry["year"] >= 2000 for entry in COUNTRIES.values())
