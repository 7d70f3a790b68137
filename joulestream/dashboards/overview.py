"""Overview: what is used now, by whom, and whether something needs a hand. From here all others are one click away."""

from __future__ import annotations

from joulestream.dashboards.model import Column, Dashboard, Link, Query, Section, Step, Unit
from joulestream.dashboards.parts import bars, grams_per_kwh, in_range, limits, lines, once, rate, stat, table
from joulestream.dashboards.parts import watt_hours as wh

_TO_RUNS_OF_USER = Link("Runs of this user", "joulestream-runs", {"user": "user"})
_TO_RUNS_OF_MODEL = Link("Runs of this model", "joulestream-runs", {"model": "model"})
_TO_RUNS = Link("Runs", "joulestream-runs", {})
_TO_NODES = Link("Nodes", "joulestream-nodes", {})
_TO_NODE = Link("This node", "joulestream-nodes", {"node": "node"})
_TO_PIPELINE = Link("Pipeline health", "joulestream-pipeline", {})
_BUDGET = ("budget", "scope", "unit")
_FIRING = 'ALERTS{alertname=~"Joulestream.*", alertstate="firing"}'
_ENERGY = in_range("joulestream_energy_joules_total")
_CO2E = in_range("joulestream_co2e_grams_total")

_NOW = Section(
    "Now",
    (
        stat(
            "Power",
            "Sum of the nodes' mean power in their newest closed window.",
            Unit.WATT,
            "joulestream:joulestream_node_power_watts:sum",
            link=_TO_NODES,
        ),
        stat(
            "Running runs",
            "Runs that have not ended and send events.",
            Unit.COUNT,
            once('joulestream_runs{status="running"}'),
            link=_TO_RUNS,
        ),
        stat(
            "Energy of runs",
            "Energy that runs used in the range that is shown.",
            Unit.WATT_HOUR,
            wh(_ENERGY),
            link=_TO_RUNS,
        ),
        stat(
            "CO2e of runs",
            "Location-based operational emissions of runs in the range that is shown.",
            Unit.GRAM_CO2E,
            _CO2E,
            link=_TO_RUNS,
        ),
        stat(
            "Messages that wait",
            "Messages in Kafka that are not settled in documents yet, of all queries.",
            Unit.COUNT,
            "sum(query:joulestream_query_lag_messages:sum)",
            steps=limits(1000, 100_000),
            link=_TO_PIPELINE,
        ),
        stat(
            "Alerts that fire",
            "Alerts of Joulestream in Prometheus; the table below names them.",
            Unit.COUNT,
            f"count({_FIRING})",
            steps=(Step(1, "#D55E00"),),
            without="none",
            link=_TO_PIPELINE,
        ),
    ),
)

_OVER_TIME = Section(
    "Over time",
    (
        lines(
            "Power of nodes",
            "Mean power of each node in its newest closed window. A gap means that nothing was measured.",
            Unit.WATT,
            Query(once("joulestream_node_power_watts", "node"), "{{node}}"),
            stacked=True,
            link=_TO_NODE,
        ),
        lines(
            "Power of runs by user",
            "Growth of the energy of each user's runs: joules per second are watts.",
            Unit.WATT,
            Query(rate("joulestream_user_energy_joules_total", "user"), "{{user}}"),
            stacked=True,
            link=_TO_RUNS_OF_USER,
        ),
    ),
)

_WHERE = Section(
    "Where it goes",
    (
        bars(
            "Energy by user",
            "The ten users whose runs used most in the range that is shown.",
            Unit.WATT_HOUR,
            f"topk(10, {wh(in_range('joulestream_user_energy_joules_total', 'user'))})",
            "{{user}}",
            link=_TO_RUNS_OF_USER,
        ),
        bars(
            "Energy by model",
            "The ten models whose runs used most in the range that is shown.",
            Unit.WATT_HOUR,
            f"topk(10, {wh(in_range('joulestream_model_energy_joules_total', 'model'))})",
            "{{model}}",
            link=_TO_RUNS_OF_MODEL,
        ),
        bars(
            "CO2e by region",
            "Emissions in the range that is shown, by the region in which the electricity was drawn.",
            Unit.GRAM_CO2E,
            in_range("joulestream_region_co2e_grams_total", "region"),
            "{{region}}",
        ),
        lines(
            "Carbon intensity of what was used",
            "Emissions over energy of all runs: a sum over a sum.",
            Unit.GRAM_CO2E_PER_KWH,
            Query(
                grams_per_kwh(rate("joulestream_co2e_grams_total"), rate("joulestream_energy_joules_total")),
                "all runs",
            ),
            width=24,
        ),
    ),
)

_TO_DO = Section(
    "Budgets and alerts",
    (
        bars(
            "Budgets used",
            "Used part of each budget in its period.",
            Unit.SHARE,
            once("joulestream_budget_used_ratio", *_BUDGET),
            "{{budget}} ({{unit}})",
            width=12,
            steps=limits(0.8, 1.0),
            most=1.0,
        ),
        table(
            "Budgets and their forecast",
            "Used now, forecast for the end of the period, and the probability that it breaks.",
            (
                Query(once("joulestream_budget_used_ratio", *_BUDGET)),
                Query(once("joulestream_budget_forecast_ratio", *_BUDGET)),
                Query(once("joulestream_budget_break_probability", *_BUDGET)),
            ),
            (
                Column("budget", "Budget"),
                Column("scope", "Of"),
                Column("unit", "Unit"),
                Column("Value #A", "Used", Unit.SHARE),
                Column("Value #B", "Forecast", Unit.SHARE),
                Column("Value #C", "Break probability", Unit.SHARE),
            ),
            width=12,
            without="no budgets",
        ),
        table(
            "Alerts that fire",
            "Of Prometheus. Each has a page under docs/how-to/runbooks that says what to do.",
            (
                Query(
                    f"count by (alertname, severity, query, node, budget, collection, channel, part) ({_FIRING})"
                ),
            ),
            (
                Column("severity", "Severity"),
                Column("alertname", "Alert"),
                Column("query", "Query"),
                Column("node", "Node"),
                Column("budget", "Budget"),
                Column("collection", "Collection"),
                Column("channel", "Channel"),
                Column("part", "Part"),
            ),
            without="none",
        ),
    ),
)

BOARD = Dashboard(
    "joulestream-overview",
    "Joulestream / Overview",
    "What is used now, by whom, and whether something needs a hand.",
    (_NOW, _OVER_TIME, _WHERE, _TO_DO),
)
