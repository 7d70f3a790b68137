"""The part of the page Nodes about namespaces and pods, of clusters that Kepler or DCGM meter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import fleet
from dashboard.display import ENERGY
from dashboard.store import Group, PodShare, ReadTooSlow, Store
from dashboard.store.intervals import total
from dashboard.tables import Column

SHOWN = 500
PODS_S = 4.0
WHERE = ("All nodes", "This node")


@context.kept(60, 32, spinner="Summing the pods…")
def pods(store: Store, node_id: str | None, start: datetime | None) -> tuple[PodShare, ...] | None:
    """The pods charged on a node, or on all, since a time; None where that takes too long, which is kept too."""
    try:
        return store.pods(node_id, start, budget_s=PODS_S)
    except ReadTooSlow:
        return None


def section(node_id: str, chosen: str | None) -> None:
    """Of all nodes or of one; the choice lives in the URL."""
    st.subheader("Namespaces and pods", anchor=False)
    where = st.segmented_control(
        "Charged on", WHERE, default=WHERE[0], key="pods", bind="query-params", required=True
    )
    widgets.live(content)(node_id if where == WHERE[1] else None, chosen)


def content(node_id: str | None, chosen: str | None) -> None:
    """Bars by namespace, and the table of pods."""
    found = pods(node_id, context.since(chosen))
    if found is None:
        st.info(
            "Summing the pods of this range takes too long here. Choose a shorter one, or on the command line: "
            "`./joule report --by namespace --from 1d`",
            icon=":material/hourglass_empty:",
        )
        return
    if not found:
        st.caption(
            "No pod was charged in this range. Pods come from a cluster that Kepler or DCGM meter: "
            "`./joule ingest --prometheus-url URL` reads them."
        )
        return
    widgets.chart(fleet.by_group(namespaces(found), "namespace"), "namespaces")
    widgets.run_table(columns(found), "pods-table", "Energy of pods, the largest first")
    cut = f"The largest {SHOWN:,} of {len(found):,} pods. " if len(found) > SHOWN else ""
    widgets.note(
        f"{cut}A pod that names its run is charged to the run and is not here; energy that nobody is charged for is "
        "idle or unattributed."
    )


def namespaces(found: Sequence[PodShare]) -> tuple[Group, ...]:
    """Energy by namespace, largest first."""
    names = dict.fromkeys(pod.namespace for pod in found)
    groups = [
        Group(key=name, energy_kwh=total(pod.energy_kwh for pod in found if pod.namespace == name))
        for name in names
    ]
    return tuple(sorted(groups, key=lambda group: -(group.energy_kwh or 0.0)))


def columns(found: Sequence[PodShare]) -> list[Column]:
    """The table of pods, with the share of each in what all of them used."""
    whole = total(pod.energy_kwh for pod in found)
    shown = found[:SHOWN]
    return [
        tables.text("Namespace", [pod.namespace for pod in shown]),
        tables.text("Pod", [pod.pod for pod in shown]),
        tables.scaled("Attributed", ENERGY, [pod.energy_kwh for pod in shown], "pods"),
        tables.text("Share", [display.share(pod.energy_kwh, whole) for pod in shown]),
    ]
