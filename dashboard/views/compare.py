"""Compare: up to ten runs side by side, against a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dashboard import context, display, widgets
from dashboard.charts import fleet
from dashboard.store import Run, RunFilter
from dashboard.store.access import Person
from dashboard.text import shortened

MAX_COMPARED = 10
OFFERED = 500
# From ten times on a factor reads better than a percentage.
MANIFOLD_PCT = 900
Amount = tuple[str, str, Callable[[Any], str]]
AMOUNTS: tuple[Amount, ...] = (
    ("Energy", "energy_kwh", display.energy),
    ("Emissions", "emissions_kg", display.co2e),
    ("Duration", "duration_s", display.duration),
    ("Mean power", "mean_power_w", display.power),
    ("Peak power", "peak_power_w", display.power),
    ("Best accuracy", "best_accuracy", display.figures),
    ("Best loss", "best_loss", display.figures),
    ("CO₂e per accuracy point", "co2e_per_point_kg", display.co2e),
    ("Gaps", "gap_s", display.duration),
)
# Properties whose definition is one hover away.
DEFINED = {
    "Energy": "energy",
    "Emissions": "co2e",
    "Duration": "duration",
    "Mean power": "mean_power",
    "Peak power": "peak_power",
    "Best accuracy": "best_accuracy",
    "Best loss": "best_loss",
    "CO₂e per accuracy point": "co2e_per_point",
    "Gaps": "gap",
    "Status": "stale",
    "Measurement": "measurement",
    "Intensity source": "intensity",
}
TEXTS = (
    ("Status", "status"),
    ("Owner", "user_id"),
    ("Project", "project"),
    ("Model", "model_name"),
    ("Dataset", "dataset_name"),
    ("Framework", "framework"),
    ("Environment", "environment"),
    ("Node", "node_id"),
    ("Region", "region_iso"),
    ("Measurement", "measurement"),
    ("Intensity source", "carbon_intensity_source"),
)


def page() -> None:
    """Draw the page."""
    widgets.title("Compare", "Up to ten runs side by side: what differs, and what the accuracy cost.")
    chosen = choose()
    if len(chosen) < 2:
        if context.runs(RunFilter(), 1).runs:
            widgets.empty("Choose at least two runs.", ("Above, or by selecting rows on the page Runs.",))
        else:
            widgets.empty("No run has arrived yet.", widgets.NO_RUNS)
        return
    baseline = st.selectbox(
        "Baseline",
        chosen,
        key="baseline",
        bind="query-params",
        format_func=lambda name: shortened(name, 60),
        help="Differences are in percent of this run",
    )
    everything = st.toggle("Show rows that are the same too", key="all-rows", bind="query-params")
    widgets.live(comparison)(tuple(chosen), baseline, everything)


def choose() -> list[str]:
    """The runs of the URL; others can be added."""
    asked = list(dict.fromkeys(st.query_params.get_all("run")))[:MAX_COMPARED]
    recent = [run.run_id for run in context.runs(RunFilter(), OFFERED).runs]
    there = [run.run_id for run in context.some_runs(tuple(asked))]
    gone = [run_id for run_id in asked if run_id not in there]
    if gone:
        # To a person not which of the two: that would tell whether there are such runs.
        or_whose = ", or they are not yours" if isinstance(context.viewer(), Person) else ""
        widgets.missing(f"There are no runs of these ids{or_whose}.", *gone)
    options = [*(run_id for run_id in there if run_id not in recent), *recent]
    chosen: list[str] = st.multiselect(
        "Runs",
        options,
        default=there,
        max_selections=MAX_COMPARED,
        key="compared",
        format_func=lambda name: shortened(name, 40),
        placeholder="Choose 2 to 10 runs",
    )
    if chosen != asked:
        st.query_params["run"] = chosen
    return chosen


def comparison(run_ids: tuple[str, ...], baseline: str | None, everything: bool) -> None:
    """The table and the charts."""
    runs = context.some_runs(run_ids)
    base = next((run for run in runs if run.run_id == baseline), runs[0] if runs else None)
    if base is None:
        st.caption("These runs are no longer in the store.")
        return
    st.subheader("Differences", anchor=False)
    differing = differences(runs, base, everything)
    widgets.matrix(differing, DEFINED)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Accuracy and energy", anchor=False)
        widgets.chart(fleet.accuracy_and_energy(runs), "pareto")
    with right:
        st.subheader("What the energy bought", anchor=False)
        measure = "accuracy" if any(run.best_accuracy is not None for run in runs) else "loss"
        series = {run.run_id: context.points(run).points for run in runs}
        widgets.chart(fleet.measure_over_energy(series, measure), "bought")


def differences(runs: Sequence[Run], base: Run, everything: bool) -> dict[str, list[str]]:
    """A row per property that differs, a column per run; amounts with their difference to the baseline."""
    rows: list[tuple[str, list[str]]] = []
    for label, field, shown in AMOUNTS:
        own = getattr(base, field)
        rows.append((label, [_against(getattr(run, field), own, shown, run is base) for run in runs]))
    for label, field in TEXTS:
        rows.append((label, [display.known(getattr(run, field)) for run in runs]))
    parameters = {key for run in runs for key, _ in run.hyperparameters}
    for key in sorted(parameters):
        rows.append((f"· {key}", [dict(run.hyperparameters).get(key, display.NOT_KNOWN) for run in runs]))
    kept = [(label, values) for label, values in rows if everything or len(set(values)) > 1]
    table = {"": [label for label, _ in kept]}
    for number, run in enumerate(runs):
        name = shortened(run.run_id, 40)
        title = f"{name} (baseline)" if run is base else name
        table[title if title not in table else f"{title} ·{number}"] = [values[number] for _, values in kept]
    return table


def _against(value: Any, own: Any, shown: Callable[[Any], str], is_base: bool) -> str:
    text = shown(value)
    if is_base or value is None or not own:
        return text
    percent = round(100 * (value - own) / abs(own))
    if percent >= MANIFOLD_PCT:
        return f"{text} (×\N{NO-BREAK SPACE}{display.figures(float(f'{value / own:.{display.DIGITS}g}'))})"
    return f"{text} ({percent:+,}\N{NO-BREAK SPACE}%)" if percent else text
