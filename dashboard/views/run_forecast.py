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
from dashboard.views.forecast_parts import ends
from dashboard.views.links import budget_link
from dashboard.widgets import Card


def block(run_id: str) -> None:
    """Cards, the method in words, the forecasts of each epoch, and the budgets that the run counts for."""
    found = context.some_runs((run_id,))
    if not found:
        return
    run, forecast = found[0], context.run_forecast(run_id)
    running = run.status in ("running", "stale")
    if forecast is not None:
        st.subheader("At completion", anchor=False)
        widgets.cards(cards(forecast, context.utc_now()))
        widgets.note(f"{method(forecast)} {forecast.note or ''}".strip())
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


def cards(forecast: RunForecast, now: datetime) -> list[Card]:
    """What is known of the end; of a finished run what came of it."""
    energy, mass = forecast.energy_kwh, forecast.emissions_kg
    found = [
        Card("Energy", display.energy(energy.point if energy else None), "completion"),
        Card("80 % interval", ends(energy, display.ENERGY), "completion"),
        Card("Emissions", display.co2e(mass.point if mass else None), "co2e"),
    ]
    if forecast.actual_energy_kwh is not None:
        error = forecast.error_pct
        return [
            *found,
            Card("It was", display.energy(forecast.actual_energy_kwh), "energy"),
            Card("Error", display.NOT_KNOWN if error is None else f"{error:+.1f} %", "completion_error"),
        ]
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


def times(when: When) -> str:
    """The interval of a time, in UTC; the day only where it differs."""
    if when.p10 is None or when.p90 is None:
        return f"{when.point:%H:%M} UTC"
    form = "%H:%M" if when.p10.date() == when.p90.date() else "%d %b %H:%M"
    return f"{when.p10:{form}} – {when.p90:{form}} UTC"


def method(forecast: RunForecast) -> str:
    """How the forecast was made, in words."""
    done, total = forecast.epoch, forecast.total_epochs
    of = f" ({done:,g} of {total:,g} epochs)" if done and total else ""
    similar = f", and {forecast.n_similar:,} similar past runs" if forecast.n_similar else ""
    words = {
        "epochs": f"From this run's own epochs{of}, the first one apart, as it includes warm-up{similar}.",
        "steps": f"From this run's own steps{of}{similar}.",
        "seconds": f"From the time that has passed{of}{similar}.",
        "similar_runs": f"From {display.count(forecast.n_similar)} similar past runs, as no epoch has ended yet.",
        "rate": "The run does not say how many epochs it will do (total_epochs): only its rate per epoch is known.",
    }
    said = words.get(forecast.method or "", "How it was made is not known.")
    return f"{said} As of {display.moment(forecast.issued_at)}."


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
            "Breaks with (%)",
            [100 * s.probability if s and s.probability is not None else None for s in states],
            "budget_probability",
        ),
    ]
    widgets.run_table(columns, "run-budgets", "Budgets that this run counts for", height="content")
