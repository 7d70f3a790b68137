"""Budgets and alerts: what may be used and will be, and what was noticed. It shows; `joule budget` writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import budgets as charts
from dashboard.charts.budgets import amount
from dashboard.store.budgets import Budget, Status
from dashboard.tables import Column
from dashboard.views import alerts

# An unchanged status is written anew every 30 s; after this the process is surely not there.
SILENT_S, ROUNDS = 90.0, 5
SCOPES = {"run": "run", "user": "user", "project": "project", "node": "node", "all": "all runs"}
NO_BUDGETS = (
    "Add one: `./joule budget add ada-month --user ada --limit 5kWh --period month`",
    "A limit is in kWh, kg or money; of a run, a user, a project, a node or all.",
)
COMMANDS = """./joule budget add NAME --user ada --limit 5kWh --period month
./joule budget ls
./joule budget rm NAME"""


def page() -> None:
    """Draw the page."""
    widgets.title("Budgets and alerts", "What may be used and will be, and what needs somebody's attention.")
    widgets.live(listing)()
    with st.expander("Add or remove a budget"):
        st.caption("The dashboard only reads. On the command line:")
        st.code(COMMANDS, language=None, wrap_lines=True)
    alerts.section()


def listing() -> None:
    """All budgets: bars, and the table."""
    found = context.budgets()
    if not found:
        widgets.empty("There is no budget.", NO_BUDGETS)
        return
    asked = st.query_params.get("budget")
    if asked is not None:
        found = tuple(sorted(found, key=lambda budget: budget.name != asked))
        if found[0].name != asked:
            widgets.missing("There is no budget of this name any more.", asked)
    evaluated(found, context.utc_now())
    widgets.chart(charts.bars(found), "budgets")
    widgets.run_table(columns(found), "budget-table", "All budgets")
    notes = [f"{b.name}: {b.status.note}" for b in found if b.status and b.status.note]
    for note in notes[:10]:
        widgets.note(note)


def evaluated(found: Sequence[Budget], now: datetime) -> None:
    """Says so where nobody evaluates the budgets."""
    times = [b.status.evaluated_at for b in found if b.status and b.status.evaluated_at]
    limit = timedelta(seconds=SILENT_S + ROUNDS * context.settings().alerts.every_s)
    if times and now - max(times) <= limit:
        return
    last = f"were last evaluated {display.ago(max(times), now)}" if times else "have never been evaluated"
    st.warning(
        f"**The process of alerts does not run.** These budgets {last}: nothing is raised or delivered.\n\n"
        "- `./joule up` starts it with all else; by itself: `./joule alerts run`",
        icon=":material/notifications_off:",
    )


def columns(found: Sequence[Budget]) -> list[Column]:
    """The table of budgets; amounts in each budget's own unit."""
    states = [b.status or Status() for b in found]
    pairs = list(zip(found, states, strict=True))
    now = context.utc_now()
    return [
        tables.text("Budget", [b.name for b in found]),
        tables.text("Of", [whose(b) for b in found]),
        tables.text("Period", [s.period or b.period for b, s in pairs]),
        tables.text("Limit", [amount(b.limit, b.unit) for b in found]),
        tables.text("Spent", [amount(s.actual, b.unit) for b, s in pairs], "budget_spent"),
        tables.numbers("Spent (%)", [b.share(s.actual) for b, s in pairs], "budget_spent"),
        tables.text("Expected", [expected(b, s) for b, s in pairs], "budget_forecast"),
        tables.numbers(
            "Break probability (%)",
            [100 * s.probability if s.probability is not None else None for s in states],
            "budget_probability",
        ),
        tables.text("Stage", [stage(s) for s in states], "budget_stage"),
        tables.text("When it breaks", [b.on_break for b in found]),
        tables.text(
            "Evaluated", [display.ago(s.evaluated_at, now) if s.evaluated_at else "never" for s in states]
        ),
    ]


def whose(budget: Budget) -> str:
    """Who or what the budget is of."""
    scope = SCOPES.get(budget.scope or "", display.known(budget.scope))
    return f"{scope} {budget.key}" if budget.key else scope


def expected(budget: Budget, status: Status) -> str | None:
    """The forecast with its interval."""
    ahead = status.forecast
    if ahead is None:
        return None
    ends = (
        f" ({amount(ahead.p10, budget.unit)} to {amount(ahead.p90, budget.unit)})"
        if ahead.p10 is not None
        else ""
    )
    return f"{amount(ahead.point, budget.unit)}{ends}"


def stage(status: Status) -> str | None:
    """The stages that are reached, of what is spent and of the forecast."""
    parts = [
        f"{pct:.0f} % {what}"
        for pct, what in ((status.stage_pct_actual, "spent"), (status.stage_pct_forecast, "expected"))
        if pct
    ]
    return ", ".join(parts) or None
