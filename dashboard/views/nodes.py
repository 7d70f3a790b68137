"""Nodes: what machines draw, and how much of it is charged to runs and pods."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import system
from dashboard.display import ENERGY, MASS, POWER
from dashboard.store import NodeTotal, Store
from dashboard.tables import Column
from dashboard.text import shortened
from dashboard.views import pods
from dashboard.views.links import forecast_link
from schemas.carbon import Intensity
from schemas.units import emissions_kg

Factors = Mapping[str, Intensity | str]
LOOK_S = 4.0
NAMED = 5

NO_NODES = (
    "`./joule up` starts the node agent of this machine",
    "On any other machine: `./joule node`",
    "From a Prometheus that has Kepler or DCGM: `./joule ingest --prometheus-url URL`",
)


@context.kept(600, 8, spinner="Looking for the nodes' regions…")
def factors(store: Store, names: tuple[str, ...]) -> dict[str, Intensity | str]:
    """Carbon intensity of each node, or why it is not known."""
    own = context.settings().node
    return store.node_factors(names, {own.node_id: own.region_iso}, LOOK_S)


def page() -> None:
    """Draw the page."""
    widgets.title("Nodes", "What machines draw, and how much of it is charged to runs and pods.")
    chosen = st.segmented_control(
        "Range", list(context.RANGES), default="24 h", key="range", bind="query-params", required=True
    )
    names = [node.node_id for node in context.nodes(context.since(chosen))]
    if not names:
        widgets.empty("No node has reported yet.", NO_NODES)
        widgets.live(await_nodes)()
        return
    widgets.live(listing)(chosen, tuple(names))
    asked = st.query_params.get("node")
    if asked is not None and asked not in names:
        widgets.missing("There is no node of this name.", asked)
    node_id = st.selectbox(
        "Node", names, key="node", bind="query-params", format_func=lambda name: shortened(name, 80)
    )
    widgets.live(one)(node_id or names[0], chosen)
    pods.section(node_id or names[0], chosen)


def await_nodes() -> None:
    """Draw the page once there is a node."""
    if context.nodes(None):
        st.rerun()


def listing(chosen: str | None, names: tuple[str, ...]) -> None:
    """All nodes with their energy in the range; a new node draws the whole page, as it can be chosen too."""
    found = context.nodes(context.since(chosen))
    if tuple(node.node_id for node in found) != names:
        st.rerun()
    known = factors(names)
    widgets.run_table(columns(found, known), "nodes", "All nodes")
    widgets.facts([(listed(nodes), said) for said, nodes in intensities(known).items()])


def intensities(known: Factors) -> dict[str, list[str]]:
    """What the emissions were made with, or why they are not known; each with the nodes it holds for."""
    nodes_of: dict[str, list[str]] = {}
    for node_id, factor in known.items():
        said = (
            f"CO₂e unknown: {factor}"
            if isinstance(factor, str)
            else f"CO₂e at {display.figures(factor.g_per_kwh)} g/kWh ({factor.kind}), {factor.source}"
        )
        nodes_of.setdefault(said, []).append(shortened(node_id))
    return nodes_of


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def emissions(node: NodeTotal, known: Factors) -> float | None:
    """Energy of a node × the intensity of its region (kg CO2e); None where one of them is not known."""
    factor = known.get(node.node_id)
    if node.energy_kwh is None or not isinstance(factor, Intensity):
        return None
    return emissions_kg(node.energy_kwh, factor.g_per_kwh)


def columns(found: tuple[NodeTotal, ...], known: Factors) -> list[Column]:
    """The table of nodes."""
    now = context.utc_now()
    last = [node.last for node in found]
    whole = [node.energy_kwh for node in found]
    return [
        tables.text("Node", [node.node_id for node in found]),
        tables.scaled("Energy", ENERGY, whole, "energy"),
        tables.scaled("CO₂e", MASS, [emissions(node, known) for node in found], "node_co2e"),
        tables.scaled("Attributed", ENERGY, [node.attributed_kwh for node in found], "attributed", whole),
        tables.scaled("Idle", ENERGY, [node.idle_kwh for node in found], "idle", whole),
        tables.scaled(
            "Unattributed", ENERGY, [node.unattributed_kwh for node in found], "unattributed", whole
        ),
        tables.scaled("Last power", POWER, [w.mean_power_w if w else None for w in last], "mean_power"),
        tables.numbers("CPU (%)", [w.cpu_utilization_pct if w else None for w in last]),
        tables.numbers("GPU (%)", [w.gpu_utilization_pct if w else None for w in last]),
        tables.text("Measurement", [w.measurement if w else None for w in last], "measurement"),
        tables.text("Last window", [display.ago(w.end, now) if w else None for w in last]),
    ]


def one(node_id: str, chosen: str | None) -> None:
    """Power of a node over time, and the runs on it."""
    start = context.since(chosen)
    windows = context.node_windows(node_id, start)
    if not windows:
        widgets.empty("This node reported nothing in this range.", ("Choose a longer range.", *NO_NODES))
        return
    st.subheader("Power", anchor=False)
    widgets.chart(system.node_power(windows), "node-power")
    target = f"node/{node_id}"
    if any(series.target == target for series in context.series()):
        widgets.link("Open its forecasts", forecast_link(target))
    shares = context.node_runs(node_id, start)
    st.subheader("Runs on it", anchor=False)
    if not shares:
        st.caption("No run was charged on this node in this range.")
        return
    table = [
        Column("", [tables.run_link(share.run_id) for share in shares], url=True),
        tables.text("Run", [share.run_id for share in shares]),
        tables.scaled("Attributed", ENERGY, [share.energy_kwh for share in shares], "attributed"),
    ]
    widgets.run_table(table, "node-runs", "Runs that were charged on this node")
