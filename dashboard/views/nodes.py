"""Nodes: what machines draw, and how much of it is charged to runs and pods."""

from __future__ import annotations

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import system
from dashboard.display import ENERGY, POWER
from dashboard.store import NodeTotal
from dashboard.tables import Column
from dashboard.text import shortened
from dashboard.views import pods
from dashboard.views.links import forecast_link

NO_NODES = (
    "`./joule up` starts the node agent of this machine",
    "On any other machine: `./joule node`",
    "From a Prometheus that has Kepler or DCGM: `./joule ingest --prometheus-url URL`",
)


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
    widgets.run_table(columns(found), "nodes", "All nodes")


def columns(found: tuple[NodeTotal, ...]) -> list[Column]:
    """The table of nodes."""
    now = context.utc_now()
    last = [node.last for node in found]
    whole = [node.energy_kwh for node in found]
    return [
        tables.text("Node", [node.node_id for node in found]),
        tables.scaled("Energy", ENERGY, whole, "energy"),
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
