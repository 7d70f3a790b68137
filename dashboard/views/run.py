"""Run: one run over time, step or epoch, with its devices and its metadata. `?run=<id>` is its permalink."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from conf.links import dashboard_url, run_url
from dashboard import context, display, widgets
from dashboard.charts import run as charts
from dashboard.power import by_progress, segments
from dashboard.store import ReadTooSlow, Run, RunFilter
from dashboard.store.access import Person
from dashboard.text import for_html, shortened
from dashboard.views import run_forecast
from dashboard.widgets import Card

OFFERED = 200
MAX_PIECES = 1000
AXES = ("Time", "Step", "Epoch")


def page() -> None:
    """Draw the page."""
    run_id = choose()
    if run_id is None:
        widgets.title("Run", "One run over time.")
        widgets.empty("No run has arrived yet.", widgets.NO_RUNS)
        return
    if not context.some_runs((run_id,)):
        widgets.title("Run", "One run over time.")
        missing = "There is no run of this id in the store."
        if isinstance(context.viewer(), Person):
            # Not which of the two: that would tell whether there is such a run.
            missing = "There is no run of this id, or it is not yours."
        widgets.missing(missing, run_id)
        widgets.empty(
            "What to do",
            (
                "Check the link.",
                "A new run appears with its first event, in seconds.",
                "Choose another run above.",
            ),
        )
        widgets.live(await_run)(run_id)
        return
    widgets.live(head)(run_id)
    axis, measure = controls()
    widgets.live(curves)(run_id, axis, measure)
    widgets.live(run_forecast.block)(run_id)
    widgets.live(details)(run_id)


def choose() -> str | None:
    """The run of the URL, else the newest; another one can be picked."""
    asked: str | None = st.query_params.get("run")
    recent = [run.run_id for run in context.runs(RunFilter(), OFFERED).runs]
    options: list[str] = recent if asked is None or asked in recent else [asked, *recent]
    chosen = st.selectbox(
        "Run",
        options,
        index=row_of(asked, options),
        format_func=lambda name: shortened(name, 80),
        key=f"run-{asked}",
        help=f"The newest {OFFERED} runs; any other by its link",
    )
    if chosen is not None and chosen != asked:
        st.query_params["run"] = chosen
    return chosen


def row_of(asked: str | None, options: Sequence[str]) -> int | None:
    """Where the run that was asked for is offered, else the first; None if nothing is offered."""
    if not options:
        return None
    return 0 if asked is None else options.index(asked)


def await_run(run_id: str) -> None:
    """Draw the page once the run is there."""
    if context.some_runs((run_id,)):
        st.rerun()


def head(run_id: str) -> None:
    """Name, status and the cards."""
    run = _run(run_id)
    if run is None:
        return
    name = f'<span class="js-name">{for_html(run.run_id)}</span>'
    st.html(f'<div class="js-head">{name}{widgets.badge(run.status)}</div>')
    who = [run.user_id, run.model_name, run.dataset_name, run.region_iso]
    now = context.utc_now()
    widgets.note(
        " · ".join(
            [
                *(shortened(name, 60) for name in who if name),
                f"last event {display.ago(run.last_event_at, now)}",
            ]
        )
    )
    widgets.cards(
        [
            Card("Energy", display.energy(run.energy_kwh), "energy"),
            Card("Emissions", display.co2e(run.emissions_kg), "co2e"),
            Card("Duration", display.duration(run.duration_s), "duration"),
            Card("Mean power", display.power(run.mean_power_w), "mean_power"),
            Card("Peak power", display.power(run.peak_power_w), "peak_power"),
            Card("Best accuracy", display.figures(run.best_accuracy), "best_accuracy"),
            Card(
                "CO₂e / acc. point",
                display.co2e(run.co2e_per_point_kg).removesuffix(" CO₂e"),
                "co2e_per_point",
            ),
        ]
    )


def controls() -> tuple[str, str]:
    """What the curves are drawn over, and what with. Both live in the URL."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        axis = st.segmented_control(
            "Over", AXES, default="Time", key="over", bind="query-params", required=True
        )
        measure = st.segmented_control(
            "With", ("Loss", "Accuracy"), default="Loss", key="with", bind="query-params", required=True
        )
    return (axis or "Time").lower(), (measure or "Loss").lower()


def curves(run_id: str, axis: str, measure: str) -> None:
    """Power, energy and loss or accuracy."""
    run = _run(run_id)
    if run is None:
        return
    series = context.points(run)
    if not series.points:
        widgets.empty(
            "Nothing to draw yet.", ("The first event that carries energy draws the first interval.",)
        )
        return
    if axis == "time":
        widgets.chart(charts.over_time(segments(series.points, MAX_PIECES), series.points, measure), "curves")
    else:
        try:
            found = series.points if series.origin == "events" else context.progress_points(run_id, axis)
        except ReadTooSlow:
            st.info(f"Summing this run's events by {axis} takes too long here. Choose “Over: Time”.")
            return
        steps = by_progress(found, axis, MAX_PIECES)
        if steps:
            widgets.chart(charts.over_progress(steps, axis, measure), "curves")
        else:
            st.info(
                f"This run's intervals name no {axis}. Choose “Over: Time”.", icon=":material/show_chart:"
            )
    if series.reason and axis == "time":
        widgets.note(f"Drawn from the run's windows, as {series.reason}.")


def details(run_id: str) -> None:
    """Devices, metadata, hyperparameters and the permalink."""
    run = _run(run_id)
    if run is None:
        return
    split = charts.devices(run)
    if split is not None:
        st.subheader("By device", anchor=False)
        widgets.chart(split, "devices")
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("About", anchor=False)
        widgets.facts(about(run))
    with right:
        st.subheader("Energy and its sources", anchor=False)
        widgets.facts(provenance(run))
        if run.hyperparameters:
            st.subheader("Hyperparameters", anchor=False)
            widgets.facts(run.hyperparameters)
    st.subheader("Link to this run", anchor=False)
    st.code(run_url(dashboard_url(context.settings()), run.run_id), language=None, wrap_lines=True)


def about(run: Run) -> Sequence[tuple[str, str]]:
    """Who and what."""
    progress = [(run.epoch, run.total_epochs, "epoch"), (run.step, run.total_steps, "step")]
    done = [f"{name} {n:,g}" + (f" of {of:,g}" if of else "") for n, of, name in progress if n]
    return [
        ("Owner", display.known(run.user_id)),
        ("Project", display.known(run.project)),
        ("Model", display.known(run.model_name)),
        ("Dataset", display.known(run.dataset_name)),
        ("Framework", display.known(run.framework)),
        ("Environment", display.known(run.environment)),
        ("Nodes", display.known(", ".join(run.nodes) or run.node_id)),
        ("Ranks", ranks(run)),
        ("Started", display.moment(run.started_at)),
        ("Last event", display.moment(run.last_event_at)),
        ("Ended", display.moment(run.ended_at) if run.ended_at else "not yet"),
        ("Progress", display.known(", ".join(done))),
        ("Loss, last and best", _two(run.last_loss, run.best_loss)),
        ("Accuracy, last and best", _two(run.last_accuracy, run.best_accuracy)),
        (
            "Events",
            display.count(run.n_events) + (f" ({run.n_late:,} late)" if run.n_late is not None else ""),
        ),
    ]


def ranks(run: Run) -> str:
    """How many processes trained together, and which."""
    named = f" ({', '.join(run.ranks)})" if len(run.ranks) > 1 else ""
    return f"{len(run.ranks)}{named}" if run.ranks else "not known"


def _two(last: float | None, best: float | None) -> str:
    known = last is not None or best is not None
    return f"{display.figures(last)}, {display.figures(best)}" if known else "not known"


def provenance(run: Run) -> Sequence[tuple[str, str]]:
    """Where the numbers come from."""
    year = f", {run.carbon_intensity_year}" if run.carbon_intensity_year else ""
    factor = (
        f"{display.figures(run.carbon_intensity_g_per_kwh)} g CO₂e/kWh (average{year}; of the last event)"
    )
    rows = [
        ("Measured or estimated", display.known(run.measurement)),
        ("Meters", display.known(", ".join(run.meters))),
        ("Covered time", display.duration(run.covered_s)),
        ("Gaps", "none" if run.gap_s is not None and run.gap_s < 0.5 else display.duration(run.gap_s)),
        ("Region", display.known(run.region_iso)),
        ("Carbon intensity", factor if run.carbon_intensity_g_per_kwh is not None else "not known"),
        ("Its source", display.known(run.carbon_intensity_source)),
    ]
    if run.reported_energy_kwh is not None:
        rows.append(("The client's own total", f"{display.energy(run.reported_energy_kwh)}, never added"))
    return rows


def _run(run_id: str) -> Run | None:
    found = context.some_runs((run_id,))
    return found[0] if found else None
