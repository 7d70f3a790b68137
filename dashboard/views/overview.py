"""Overview: what all runs cost, what runs now, and whether the numbers are fresh."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import fleet
from dashboard.store import Lease, Overview, Progress, RunFilter
from dashboard.store.access import Person
from dashboard.views.forecast_parts import SILENT, ends
from dashboard.widgets import Card

RECENT = 8
HOUR_S = 3600
STOPPED = "stopped"


def page() -> None:
    """Draw the page."""
    whose = "your" if isinstance(context.viewer(), Person) else "all"
    widgets.title("Overview", f"Energy and emissions of {whose} training runs, as they arrive.")
    widgets.live(figures)()
    st.subheader("Energy over time", anchor=False)
    chosen = st.segmented_control(
        "Range",
        list(context.RANGES),
        default="24 h",
        key="range",
        bind="query-params",
        required=True,
        label_visibility="collapsed",
    )
    widgets.live(over_time)(chosen)
    widgets.live(recent)()


def figures() -> None:
    """The cards, the sources of the emissions, and the health of the pipeline."""
    found, now = context.overview(), context.utc_now()
    state = health(found.leases, found.progress, now)
    if found.n_runs == 0:
        widgets.empty("No run has arrived yet.", widgets.NO_RUNS)
    widgets.cards(
        [
            Card("Energy", display.energy(found.total.energy_kwh), "energy"),
            Card("Emissions", display.co2e(found.total.emissions_kg), "co2e"),
            Card("Power now", display.power(found.power_w), "power_now"),
            Card("Active runs", f"{found.n_active:,} of {found.n_runs:,}", "active"),
            Card("Newest event", display.ago(found.newest_event_at, now), "freshness"),
            Card("Pipeline", state, "pipeline"),
        ]
    )
    if state == STOPPED:
        stopped()
    if found.n_runs:
        widgets.note(sources(found))
    look_ahead()


def stopped() -> None:
    """What a stream that does not run means, and what to do about it."""
    who = (
        "Please tell the administrator."
        if isinstance(context.viewer(), Person)
        else "`./joule status` tells why; `./joule up` starts it on this machine."
    )
    st.warning(
        f"**The stream does not run.** These figures stand still; new events wait in Kafka. {who}",
        icon=":material/pause_circle:",
    )


def look_ahead() -> None:
    """The next hour of the fleet, or of a person; open alerts, budgets at risk; nothing where there are none."""
    dimension, whose = ("user", "your runs") if isinstance(context.viewer(), Person) else ("all", "all runs")
    whole = next((series for series in context.series() if series.dimension == dimension), None)
    newest = whole.last_window_end if whole else None
    fresh = newest is not None and context.utc_now() - newest <= SILENT
    found = context.ahead(whole.target, newest) if whole and newest and fresh else ()
    hour = next((forecast for forecast in found if forecast.horizon_s == HOUR_S), None)
    n_open, budgets = context.n_open_alerts(), context.budgets()
    if not (whole or n_open or budgets):
        return
    at_risk = sum(budget.at_risk for budget in budgets)
    next_hour = hour.energy_kwh if hour else None
    widgets.cards(
        [
            Card(
                f"Next hour, {whose}",
                display.energy(next_hour.point if next_hour else None),
                "forecast_energy",
            ),
            Card("Next hour, 80 % interval", ends(next_hour, display.ENERGY), "interval"),
            Card("Open alerts", f"{n_open:,}", "alert_state"),
            Card("Budgets at risk", f"{at_risk:,} of {len(budgets):,}", "budget_probability"),
        ]
    )
    if whole and not fresh:
        st.caption(f"No run sends energy now: nothing is forecast of the next hour of {whose}.")
    elif whole and next_hour is None:
        st.caption("The next hour is forecast every 15 minutes; the first such forecast is still to come.")


def health(leases: tuple[Lease, ...], progress: tuple[Progress, ...], now: datetime) -> str:
    """One word on the stream: running, behind, stopped or not started."""
    if not leases and not progress:
        return "not started"
    if not leases or not all(is_alive(lease, now) for lease in leases):
        return STOPPED
    behind = sum(batch.lag or 0 for batch in progress)
    return f"{behind:,} behind" if behind else "up to date"


def is_alive(lease: Lease, now: datetime) -> bool:
    """Whether the process that drives a query has said so lately."""
    silent = now - timedelta(seconds=3 * context.settings().stream.lease_s)
    return lease.renewed_at is not None and lease.renewed_at >= silent


def sources(found: Overview) -> str:
    """Where the emissions' factors come from, the countries of one table together, and how energy was obtained."""
    whole = found.total.emissions_kg
    of_table: dict[str, list[str]] = {}
    for share in found.sources[:3]:
        table, country, code = display.known(share.source).partition(", country ")
        part = display.share(share.emissions_kg, whole)
        of_table.setdefault(table, []).append(f"{code} ({part})" if country else f"({part})")
    parts = [
        f"{table} {parts[0]}" if parts[0].startswith("(") else f"{table}: {', '.join(parts)}"
        for table, parts in of_table.items()
    ]
    more = f", and {len(found.sources) - 3} more" if len(found.sources) > 3 else ""
    kinds = ", ".join(f"{n:,} {kind or 'not known'}" for kind, n in found.measurements)
    factor = f"CO₂e: location-based, average intensity. Source: {'; '.join(parts)}{more}."
    return f"{factor} Runs by measurement: {kinds}."


def over_time(chosen: str | None) -> None:
    """Energy of everything per window."""
    windows = context.windows("all", ("all",), context.since(chosen))
    if not windows:
        st.caption("No window in this range. Choose a longer one, or wait for the next event.")
        return
    watermarks = [b.watermark for b in context.overview().progress if b.query == "training" and b.watermark]
    widgets.chart(fleet.energy_over_time(windows, max(watermarks, default=None)), "energy-over-time")


def recent() -> None:
    """The runs that were active last."""
    listed = context.runs(RunFilter(), RECENT)
    if not listed.runs:
        return
    st.subheader("Latest runs", anchor=False)
    columns = tables.run_columns(listed.runs)[:11]
    widgets.run_table(columns, "latest", "The runs that were active last")
    st.page_link(st.session_state[widgets.PAGES]["runs"], label="All runs", icon=":material/arrow_forward:")
