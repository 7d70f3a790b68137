"""Users and models: who and what the energy goes to."""

from __future__ import annotations

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import fleet
from dashboard.display import ENERGY, MASS

DIMENSIONS = {"Users": "user", "Models": "model", "Regions": "region"}


def page() -> None:
    """Draw the page."""
    widgets.title("Users and models", "Who and what the energy goes to.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        what = st.segmented_control(
            "By", list(DIMENSIONS), default="Users", key="by", bind="query-params", required=True
        )
        chosen = st.segmented_control(
            "Range", list(context.RANGES), default="All", key="range", bind="query-params", required=True
        )
    widgets.live(content)(DIMENSIONS[what or "Users"], chosen)


def content(dimension: str, chosen: str | None) -> None:
    """Bars, bars over time, and the table."""
    start = context.since(chosen)
    groups = context.groups(dimension, start)
    if not groups:
        hints = widgets.NO_RUNS if start is None else ("Choose a longer range.",)
        widgets.empty("No energy in this range.", hints)
        return
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.subheader(f"By {dimension}", anchor=False)
        widgets.chart(fleet.by_group(groups, dimension), f"by-{dimension}")
    with right:
        st.subheader("Over time", anchor=False)
        windows = context.windows(dimension, None, start)
        widgets.chart(fleet.groups_over_time(windows, groups, dimension), f"over-{dimension}")
    whole = sum(group.energy_kwh or 0.0 for group in groups)
    energies = [group.energy_kwh for group in groups]
    columns = [
        tables.text(dimension.capitalize(), [display.known(group.key) for group in groups]),
        tables.scaled("Energy", ENERGY, energies, "energy"),
        tables.text("Share", [display.share(group.energy_kwh, whole) for group in groups]),
        tables.scaled("CO₂e", MASS, [group.emissions_kg for group in groups], "co2e"),
        tables.scaled("CPU", ENERGY, [group.cpu_energy_kwh for group in groups], "energy", energies),
        tables.scaled("GPU", ENERGY, [group.gpu_energy_kwh for group in groups], "energy", energies),
        tables.scaled("Memory", ENERGY, [group.ram_energy_kwh for group in groups], "energy", energies),
    ]
    if start is None:
        columns.insert(1, tables.counts("Runs", [group.n_runs for group in groups]))
    widgets.run_table(columns, f"table-{dimension}", f"Energy by {dimension}")
    widgets.note("CO₂e is location-based, with average intensity. “Not known” groups events that do not say.")
