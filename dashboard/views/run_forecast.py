"""The part of the page Run that looks ahead: energy, emissions and time at completion, and its budgets."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import run_forecast as charts
from dashboard.charts.budgets import amount
from dashboard.store import Run
from dashboard.store.budgets import Budget
from dashboard.store.forecast_rows import RunForecast, When
from dashboard.tables import Column
from dashboard.views.forecast_parts import alerts_on, ends
from dashboard.views.links import budget_link
from dashboard.widgets import Card


def block(run_id: str) -> None:
    """Cards, the method in words, the forecasts of each epoch, the run's budgets and alerts."""
    found = context.some_runs((run_id,))
    if not found:
        return
    run, forecast = found[0], context.run_forecast(run_id)
    running = run.status in ("running", "stale")
    if forecast is not None:
        st.subheader("At completion", anchor=False)
        shown = cards(forecast, context.utc_now())
        if shown:
            widgets.cards(shown)
        widgets.note(method(forecast))
        if forecast.g_per_kwh is not None:
            source = display.known(forecast.intensity_source)
            widgets.note(f"Emissions at {display.figures(forecast.g_per_kwh)} g CO₂e/kWh, {source}.")
        if forecast.history:
            widgets.chart(charts.by_epoch(forecast), "by-epoch")
    elif running:
        st.subheader("At completion", anchor=False)
        st.caption(
            "No forecast yet. It comes with the first epoch that ends, or earlier where similar runs have finished."
        )
    counted = [budget for budget in context.budgets() if counts_for(budget, run)]
    if counted:
        budgets(counted)
    alerts_on(context.alerts_of("run", run_id), "run")


def cards(forecast: RunForecast, now: datetime) -> list[Card]:
    """What is known of the end; of a finished run the first forecast and what came of it."""
    energy, mass = forecast.energy_kwh, forecast.emissions_kg
    if forecast.actual_energy_kwh is not None:
        return finished(forecast, forecast.actual_energy_kwh)
    found = (
        [
            Card("Energy", display.energy(energy.point), "completion"),
            Card("Energy, 80 % interval", ends(energy, display.ENERGY), "completion"),
            Card("Emissions", display.co2e(mass.point if mass else None), "completion"),
            Card("Emissions, 80 % interval", ends(mass, display.MASS), "completion"),
        ]
        if energy
        else []
    )
    per_epoch = display.energy(forecast.per_epoch_kwh)
    if energy is None and forecast.per_epoch_kwh is not None:
        found = [
            Card("Per epoch", per_epoch, "completion"),
            Card("Time per epoch", display.duration(forecast.per_epoch_s), "duration"),
        ]
    if forecast.finishes_at is not None:
        left = (forecast.finishes_at.point - now).total_seconds()
        found.append(Card("Finishes in", display.duration(left) if left > 0 else "about now", "completion"))
        found.append(Card("Finish, 80 % interval", times(forecast.finishes_at), "completion"))
    return found


def finished(forecast: RunForecast, actual_kwh: float) -> list[Card]:
    """The first forecast beside what came. The last one is no news: it is what the run used."""
    first = forecast.history[0].energy_kwh if forecast.history else None
    came = Card("It was", display.energy(actual_kwh), "energy")
    if first is None:
        return [came]
    error = forecast.error_pct
    return [
        Card("First forecast", display.energy(first.point), "completion"),
        Card("Its 80 % interval", ends(first, display.ENERGY), "completion"),
        came,
        Card("Mean error", display.NOT_KNOWN if error is None else f"{error:.1f} %", "completion_error"),
    ]


def times(when: When) -> str:
    """The interval of a time, in UTC; the day only where it differs."""
    if when.p10 is None or when.p90 is None:
        return f"{when.point:%H:%M} UTC"
    form = "%H:%M" if when.p10.date() == when.p90.date() else "%d %b %H:%M"
    return f"{when.p10:{form}} – {when.p90:{form}} UTC"


def method(forecast: RunForecast) -> str:
    """How the forecast was made, in words."""
    if forecast.actual_energy_kwh is not None and not forecast.history:
        return "The run ended before there was a forecast."
    done, total = forecast.epoch, forecast.total_epochs
    of = f", {done:,g} of {total:,g} done" if done is not None and total else ""
    similar = f"{display.count(forecast.n_similar)} similar past runs"
    words = {
        "epochs": (f"By epochs{of}", "from its own epochs, the first one apart"),
        "steps": (f"By steps{of}", "from its own steps"),
        "seconds": (f"By time{of}", "from the time that has passed"),
        "similar_runs": ("By similar past runs", f"from {similar}, as no epoch has ended yet"),
        "rate": ("By its rate", "total_epochs is not known: energy and time per epoch only"),
        "none": ("No estimate yet", "no epoch has ended and no similar run is known"),
    }
    head, default = words.get(forecast.method or "", ("By a method that is not known here", "see its note"))
    # The note of a run without an estimate ends with what the heading says.
    note = (forecast.note or default).rstrip(".").removesuffix(": no estimate yet")
    return f"{head}: {note}. As of {display.moment(forecast.issued_at)}."


def counts_for(budget: Budget, run: Run) -> bool:
    """Whether a run's energy counts for a budget."""
    own = {"run": (run.run_id,), "user": (run.user_id,), "project": (run.project,), "node": run.nodes}
    return budget.scope == "all" or (budget.key is not None and budget.key in own.get(budget.scope or "", ()))


def budgets(counted: list[Budget]) -> None:
    """The budgets that the run counts for."""
    st.subheader("Its budgets", anchor=False)
    states = [budget.status for budget in counted]
    spent = [b.share(s.actual) if s else None for b, s in zip(counted, states, strict=True)]
    columns = [
        Column("", [budget_link(budget.name) for budget in counted], url=True),
        tables.text("Budget", [budget.name for budget in counted]),
        tables.text("Limit", [amount(budget.limit, budget.unit) for budget in counted]),
        tables.numbers("Spent (%)", spent, "budget_spent"),
        tables.numbers(
            "Break probability (%)",
            [100 * s.probability if s and s.probability is not None else None for s in states],
            "budget_probability",
        ),
    ]
    widgets.run_table(columns, "run-budgets", "Budgets that this run counts for", height="content")
