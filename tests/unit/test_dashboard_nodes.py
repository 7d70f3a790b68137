"""The page Nodes: CO2e of what a node used, with its source, and never a guess."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from dashboard.store import Lease, NodeTotal, Overview
from dashboard.store.rows import Energy, SourceShare
from dashboard.views import nodes, quality
from dashboard.views.overview import sources
from schemas.carbon import intensity

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def node(name: str, kwh: float | None) -> NodeTotal:
    return NodeTotal(
        node_id=name, energy_kwh=kwh, attributed_kwh=None, idle_kwh=None, unattributed_kwh=None, last=None
    )


def test_co2e_of_a_node_is_its_energy_times_the_intensity_of_its_region() -> None:
    known: nodes.Factors = {"a": intensity("FRA"), "b": "the node names no region"}
    assert nodes.emissions(node("a", 10.0), known) == pytest.approx(intensity("FRA").g_per_kwh / 100)
    assert [nodes.emissions(node(*given), known) for given in (("b", 10.0), ("a", None), ("c", 1.0))] == [
        None
    ] * 3
    shown = {column.title: column for column in nodes.columns((node("a", 10.0), node("b", 10.0)), known)}
    assert shown["CO₂e (g)"].values == [pytest.approx(10 * intensity("FRA").g_per_kwh), None]


def test_nodes_of_one_source_are_named_together_and_the_unknown_ones_with_the_reason() -> None:
    known: nodes.Factors = {"a": intensity("DEU"), "b": "the node names no region", "c": intensity("DEU")}
    said = nodes.intensities(known)
    assert list(said.values()) == [["a", "c"], ["b"]]
    first, second = said
    assert intensity("DEU").source in first
    assert "average" in first
    assert second == "CO₂e unknown: the node names no region"
    assert nodes.listed([str(n) for n in range(7)]) == "0, 1, 2, 3, 4 and 2 more"


def test_a_table_of_intensities_is_named_once_for_its_countries() -> None:
    table = "Table (CC-BY-4.0)"
    shares = [
        SourceShare(source=source, emissions_kg=kg, n_runs=1)
        for source, kg in ((f"{table}, country DEU, 2023", 98.9), (f"{table}, country FRA, 2023", 1.0),
                           ("client", 0.1), (f"{table}, country SWE, 2023", 0.0))
    ]  # fmt: skip
    found = Overview(total=Energy(emissions_kg=100.0), sources=tuple(shares), measurements=(("measured", 4),))
    assert f"Source: {table}: DEU, 2023 (99 %), FRA, 2023 (1 %); client (< 1 %), and 1 more." in sources(
        found
    )


@pytest.mark.parametrize(
    ("state", "age_s", "shown"),
    [("running", 0, "running"), ("running", 3600, "silent"), ("ended", 3600, "ended")],
)
def test_a_query_that_says_nothing_any_more_is_silent_and_not_running(
    state: str, age_s: int, shown: str
) -> None:
    lease = Lease(query="training", state=state, renewed_at=NOW - timedelta(seconds=age_s))
    assert quality.state(lease, NOW) == shown
    assert quality.state(None, NOW) is None
