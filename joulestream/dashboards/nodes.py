"""Nodes: power, use and idle share of each machine."""

from __future__ import annotations

from joulestream.dashboards.model import Column, Dashboard, Query, Section, Unit, Variable
from joulestream.dashboards.parts import bars, in_range, limits, lines, once, rate, stat, table
from joulestream.dashboards.parts import watt_hours as wh

_NODE = '{node=~"$node"}'
_ENERGY = f"joulestream_node_energy_joules_total{_NODE}"
_IDLE = 'joulestream_node_energy_joules_total{node=~"$node", use="idle"}'
_POWER = once(f"joulestream_node_power_watts{_NODE}", "node")


def _idle_share(*by: str) -> str:
    """Idle energy over all energy in the range: a sum over a sum."""
    return f"{in_range(_IDLE, *by)} / ({in_range(_ENERGY, *by)} > 0)"


_NOW = Section(
    "Now",
    (
        stat(
            "Nodes",
            "Nodes with a window in the last 15 minutes, whatever is chosen.",
            Unit.COUNT,
            once("joulestream_nodes"),
        ),
        stat(
            "Power",
            "Sum of the chosen nodes' mean power in their newest closed window.",
            Unit.WATT,
            f"sum({_POWER})",
        ),
        stat(
            "Energy",
            "Of the chosen nodes, in the range that is shown.",
            Unit.WATT_HOUR,
            wh(in_range(_ENERGY)),
        ),
        stat(
            "Idle share",
            "Energy of the time in which the devices were not busy, over all energy, in the range that is shown.",
            Unit.SHARE,
            _idle_share(),
            steps=limits(0.3, 0.6),
        ),
        stat(
            "Oldest window",
            "Time since the start of the newest window of the node that is furthest behind.",
            Unit.SECOND,
            f"max({once(f'joulestream_node_window_age_seconds{_NODE}', 'node')})",
            width=8,
            steps=limits(180, 300),
        ),
    ),
)

_OVER_TIME = Section(
    "Over time",
    (
        lines(
            "Power",
            "Mean power in the newest closed window. A gap means that nothing was measured.",
            Unit.WATT,
            Query(_POWER, "{{node}}"),
            width=24,
        ),
        lines(
            "CPU utilization",
            "Mean over the CPUs of a node, in its newest closed window.",
            Unit.SHARE,
            Query(once(f"joulestream_node_cpu_utilization_ratio{_NODE}", "node"), "{{node}}"),
            most=1.0,
        ),
        lines(
            "GPU utilization",
            "Mean over the GPUs of a node, in its newest closed window. Nodes without GPUs have none.",
            Unit.SHARE,
            Query(once(f"joulestream_node_gpu_utilization_ratio{_NODE}", "node"), "{{node}}"),
            most=1.0,
        ),
    ),
)

_USE = Section(
    "What it is used for",
    (
        lines(
            "Power by use",
            "Energy of the chosen nodes per second: attributed to runs, idle, or of no known run.",
            Unit.WATT,
            Query(rate(_ENERGY, "use"), "{{use}}"),
            stacked=True,
        ),
        bars(
            "Idle share by node",
            "Idle energy over all energy in the range that is shown.",
            Unit.SHARE,
            _idle_share("node"),
            "{{node}}",
            width=12,
            steps=limits(0.3, 0.6),
            most=1.0,
        ),
    ),
)

_DETAIL = Section(
    "Detail",
    (
        table(
            "Nodes",
            "Each node's newest closed window, and its energy in the range that is shown.",
            (
                Query(_POWER),
                Query(once(f"joulestream_node_cpu_utilization_ratio{_NODE}", "node")),
                Query(once(f"joulestream_node_gpu_utilization_ratio{_NODE}", "node")),
                Query(wh(in_range(_ENERGY, "node"))),
                Query(once(f"joulestream_node_window_age_seconds{_NODE}", "node")),
            ),
            (
                Column("node", "Node"),
                Column("Value #A", "Power", Unit.WATT),
                Column("Value #B", "CPU", Unit.SHARE),
                Column("Value #C", "GPU", Unit.SHARE),
                Column("Value #D", "Energy", Unit.WATT_HOUR),
                Column("Value #E", "Newest window", Unit.SECOND),
            ),
        ),
        lines(
            "Age of the newest window",
            "Time since its start; above 300 s the node is silent.",
            Unit.SECOND,
            Query(once(f"joulestream_node_window_age_seconds{_NODE}", "node"), "{{node}}"),
            width=24,
            steps=limits(180, 300),
        ),
    ),
    folded=True,
)

BOARD = Dashboard(
    "joulestream-nodes",
    "Joulestream / Nodes",
    "Power, utilization and idle share of each node.",
    (_NOW, _OVER_TIME, _USE, _DETAIL),
    (Variable("node", "Node", "joulestream_node_power_watts", "node"),),
)
