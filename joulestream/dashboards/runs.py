"""Runs: energy and emissions by user, model and region; single runs where the exporter is told to show them."""

from __future__ import annotations

from joulestream.dashboards.model import Column, Dashboard, Query, Section, Step, Unit, Variable
from joulestream.dashboards.parts import bars, grams_per_kwh, in_range, lines, once, rate, stat, table
from joulestream.dashboards.parts import watt_hours as wh

_USER = '{user=~"$user"}'
_MODEL = '{model=~"$model"}'
_RUN = '{user=~"$user", model=~"$model"}'
_RUN_LABELS = ("run", "user", "model")
_OPT_IN = "Only with the setting `exporter.max_runs`, which allows so many running runs series of their own."


def _of_user(counter: str) -> str:
    return f"{counter}{_USER}"


def _of_model(counter: str) -> str:
    return f"{counter}{_MODEL}"


_NOW = Section(
    "Now",
    (
        stat("Running", "They send events.", Unit.COUNT, once('joulestream_runs{status="running"}')),
        stat(
            "Stale",
            "They have not ended, and no event has come for `dashboard.stale_after_s`.",
            Unit.COUNT,
            once('joulestream_runs{status="stale"}'),
            steps=(Step(1, "#E69F00"),),
        ),
        stat("Completed", "Since ever.", Unit.COUNT, once('joulestream_runs{status="completed"}')),
        stat("Failed", "Since ever.", Unit.COUNT, once('joulestream_runs{status="failed"}')),
        stat(
            "Energy",
            "Of the chosen users' runs, in the range that is shown.",
            Unit.WATT_HOUR,
            wh(in_range(_of_user("joulestream_user_energy_joules_total"))),
        ),
        stat(
            "CO2e",
            "Location-based operational emissions of the chosen users' runs, in the range that is shown.",
            Unit.GRAM_CO2E,
            in_range(_of_user("joulestream_user_co2e_grams_total")),
        ),
    ),
)

_OVER_TIME = Section(
    "Over time",
    (
        lines(
            "Power by user",
            "Growth of the energy of each user's runs: joules per second are watts.",
            Unit.WATT,
            Query(rate(_of_user("joulestream_user_energy_joules_total"), "user"), "{{user}}"),
            stacked=True,
        ),
        lines(
            "Power by model",
            "Growth of the energy of each model's runs: joules per second are watts.",
            Unit.WATT,
            Query(rate(_of_model("joulestream_model_energy_joules_total"), "model"), "{{model}}"),
            stacked=True,
        ),
        lines(
            "Runs by status",
            "Running and stale runs.",
            Unit.COUNT,
            Query(once('joulestream_runs{status=~"running|stale"}', "status"), "{{status}}"),
        ),
        lines(
            "Carbon intensity by region",
            "Emissions over energy of the runs in each region: a sum over a sum.",
            Unit.GRAM_CO2E_PER_KWH,
            Query(
                grams_per_kwh(
                    rate("joulestream_region_co2e_grams_total", "region"),
                    rate("joulestream_region_energy_joules_total", "region"),
                ),
                "{{region}}",
            ),
        ),
    ),
)

_WHERE = Section(
    "In the range that is shown",
    (
        bars(
            "Energy by user",
            "Of the chosen users.",
            Unit.WATT_HOUR,
            wh(in_range(_of_user("joulestream_user_energy_joules_total"), "user")),
            "{{user}}",
        ),
        bars(
            "Energy by model",
            "Of the chosen models.",
            Unit.WATT_HOUR,
            wh(in_range(_of_model("joulestream_model_energy_joules_total"), "model")),
            "{{model}}",
        ),
        bars(
            "CO2e by model",
            "Of the chosen models.",
            Unit.GRAM_CO2E,
            in_range(_of_model("joulestream_model_co2e_grams_total"), "model"),
            "{{model}}",
        ),
    ),
)

_STORED = Section(
    "Detail: totals since ever, as stored",
    (
        table(
            "Users",
            "Equal to the sums of the documents.",
            (
                Query(wh(once(_of_user("joulestream_user_stored_energy_joules"), "user"))),
                Query(once(_of_user("joulestream_user_stored_co2e_grams"), "user")),
            ),
            (
                Column("user", "User"),
                Column("Value #A", "Energy", Unit.WATT_HOUR),
                Column("Value #B", "CO2e", Unit.GRAM_CO2E),
            ),
            width=12,
        ),
        table(
            "Models",
            "Equal to the sums of the documents.",
            (
                Query(wh(once(_of_model("joulestream_model_stored_energy_joules"), "model"))),
                Query(once(_of_model("joulestream_model_stored_co2e_grams"), "model")),
            ),
            (
                Column("model", "Model"),
                Column("Value #A", "Energy", Unit.WATT_HOUR),
                Column("Value #B", "CO2e", Unit.GRAM_CO2E),
            ),
            width=12,
        ),
    ),
    folded=True,
)

_SINGLE = Section(
    "Detail: single runs",
    (
        table(
            "Running runs",
            _OPT_IN,
            (
                Query(wh(once(f"joulestream_run_energy_joules{_RUN}", *_RUN_LABELS))),
                Query(once(f"joulestream_run_co2e_grams{_RUN}", *_RUN_LABELS)),
                Query(once(f"joulestream_run_power_watts{_RUN}", *_RUN_LABELS)),
                Query(once(f"joulestream_run_last_event_age_seconds{_RUN}", *_RUN_LABELS)),
            ),
            (
                Column("run", "Run"),
                Column("user", "User"),
                Column("model", "Model"),
                Column("Value #A", "Energy", Unit.WATT_HOUR),
                Column("Value #B", "CO2e", Unit.GRAM_CO2E),
                Column("Value #C", "Mean power", Unit.WATT),
                Column("Value #D", "Latest event", Unit.SECOND),
            ),
            without="no run has series of its own",
        ),
        lines(
            "Energy of single runs",
            _OPT_IN,
            Unit.WATT_HOUR,
            Query(wh(once(f"joulestream_run_energy_joules{_RUN}", *_RUN_LABELS)), "{{run}}"),
            width=24,
        ),
    ),
    folded=True,
)

BOARD = Dashboard(
    "joulestream-runs",
    "Joulestream / Runs",
    "Energy and emissions of training runs, by user, model and region.",
    (_NOW, _OVER_TIME, _WHERE, _STORED, _SINGLE),
    (
        Variable("user", "User", "joulestream_user_energy_joules_total", "user"),
        Variable("model", "Model", "joulestream_model_energy_joules_total", "model"),
    ),
)
