"""Tables and comparisons: one unit for what is compared, and factors where percentages say nothing."""

from __future__ import annotations

from conf.links import budget_url
from dashboard import tables
from dashboard.display import ENERGY, counted
from dashboard.store.rows import Group, PodShare, Run
from dashboard.views.compare import AMOUNTS, DEFINED, TEXTS, differences
from dashboard.views.pods import columns, namespaces
from dashboard.widgets import badge

LABELS = {label for label, *_ in (*AMOUNTS, *TEXTS)}


def test_columns_that_are_compared_have_one_unit() -> None:
    whole, part = [4.31e-3, 2.0e-3], [99.9e-6, 4.09e-6]
    alone = tables.scaled("Idle", ENERGY, part, "idle")
    beside = tables.scaled("Idle", ENERGY, part, "idle", beside=whole)
    assert alone.title == "Idle (mWh)"
    assert beside.title == "Idle (Wh)"
    assert [beside.shown(value) for value in beside.values if beside.shown] == ["0.0999", "0.00409"]


def test_amounts_far_from_what_they_are_compared_with_have_a_unit_each() -> None:
    column = tables.scaled("Idle", ENERGY, [1e-9], "idle", beside=[1.0])
    assert column.title == "Idle"
    assert column.shown is not None
    assert column.shown(1e-9) == "1.00 µWh"


def test_a_manifold_is_a_factor_and_less_a_percentage() -> None:
    base, near, far = (
        Run(run_id=name, energy_kwh=kwh) for name, kwh in (("a", 1.0), ("b", 1.5), ("c", 20.0))
    )
    rows = differences([base, near, far], base, everything=False)
    energies = [values[rows[""].index("Energy")] for values in rows.values()]
    assert energies == [
        "Energy",
        "1.00 kWh",
        "1.50 kWh (+50\N{NO-BREAK SPACE}%)",
        "20.0 kWh (×\N{NO-BREAK SPACE}20.0)",
    ]


def test_a_factor_has_three_digits() -> None:
    base, far = Run(run_id="a", energy_kwh=1.0), Run(run_id="b", energy_kwh=10_120_854.0)
    assert "10,100,000)" in differences([base, far], base, everything=False)["b"][0]


def test_every_property_with_a_definition_is_one_of_the_comparison() -> None:
    assert set(DEFINED) <= LABELS
    assert "CO₂e per accuracy point" in DEFINED


def test_pods_are_summed_by_namespace_and_have_their_share() -> None:
    pods = [
        PodShare(namespace=n, pod=p, energy_kwh=e)
        for n, p, e in (("b", "x", 3.0), ("a", "y", 4.0), ("b", "z", 3.0))
    ]
    assert namespaces(pods) == (Group(key="b", energy_kwh=6.0), Group(key="a", energy_kwh=4.0))
    shown = {column.title: column.values for column in columns(pods)}
    assert shown["Share"] == ["30 %", "40 %", "30 %"]
    assert shown["Pod"] == ["x", "y", "z"]


def test_a_stale_run_says_what_that_means_and_a_hostile_status_stays_text() -> None:
    assert "silent" in badge("stale")
    assert "title=" not in badge("running")
    assert "<b>" not in badge('<b title="x">')


def test_one_is_not_many() -> None:
    assert [counted(n, "forecast") for n in (0, 1, 1425)] == ["0 forecasts", "1 forecast", "1,425 forecasts"]


def test_the_link_of_a_budget_keeps_its_name_whole() -> None:
    assert budget_url("http://host/", "a b/c&d") == "http://host/budgets?budget=a%20b%2Fc%26d"
