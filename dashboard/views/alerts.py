"""The alerts of the page Budgets and alerts: the list, and one in detail. `?alert=ID` is a link to it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.store.alerts import RULES, STATES, Alert, Delivery
from dashboard.tables import Column
from dashboard.text import for_html, shortened
from dashboard.views.links import alert_link, budget_link, forecast_link

MARKS = {"critical": "▲ critical", "warning": "◆ warning", "info": "● info"}
NO_ALERTS = (
    "Alerts come from budgets and from anomalies of power; the process of alerts raises them.",
    "Try the channels: `./joule alerts test`",
)
FORECAST = ("node", "run", "user", "all")
# What a delivery tells after the alert itself.
ABOUT = {"resolved": "resolution", "reopened": "opened again"}


def section() -> None:
    """Filters, the list, one alert in detail."""
    st.subheader("Alerts", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        states = st.pills("State", STATES, selection_mode="multi", key="state", bind="query-params")
        rules = st.pills("Rule", RULES, selection_mode="multi", key="rule", bind="query-params")
    wanted = (tuple(states), tuple(rules))
    found = context.alerts(*wanted)
    ids = tuple(alert.id for alert in found)
    widgets.live(listing)(wanted, ids)
    chosen = choose(found)
    if chosen is not None:
        widgets.live(one)(chosen)


def listing(wanted: tuple[tuple[str, ...], tuple[str, ...]], ids: tuple[str, ...]) -> None:
    """The table; a new alert draws the whole page, as it can be chosen too."""
    found = context.alerts(*wanted)
    if tuple(alert.id for alert in found) != ids:
        st.rerun()
    if not found and any(wanted):
        widgets.empty("No alert matches.", ("Take away a filter.",))
    elif not found:
        widgets.empty("Nothing was noticed so far.", NO_ALERTS)
    else:
        widgets.run_table(columns(found), "alerts", "Alerts, open ones first")
        n_open = sum(alert.state == "open" for alert in found)
        widgets.note(f"{n_open:,} open, {len(found) - n_open:,} resolved; times are UTC.")


def columns(found: Sequence[Alert]) -> list[Column]:
    """The table of alerts."""
    return [
        Column("", [alert_link(alert.id) for alert in found], url=True),
        tables.text("State", [alert.state for alert in found], "alert_state"),
        tables.text("Severity", [MARKS.get(alert.severity or "", alert.severity) for alert in found]),
        tables.text("Rule", [alert.rule for alert in found]),
        tables.text("Subject", [subject(alert) for alert in found]),
        tables.text("Message", [alert.message for alert in found]),
        Column("Raised (UTC)", [alert.raised_at for alert in found]),
        Column("Resolved (UTC)", [alert.resolved_at for alert in found]),
        tables.text("Deliveries", [delivered(alert.deliveries) for alert in found], "deliveries"),
    ]


def subject(alert: Alert) -> str:
    """Who or what an alert is about."""
    kind = "all runs" if alert.dimension == "all" else display.known(alert.dimension)
    return f"{kind} {alert.key}" if alert.key else kind


def delivered(deliveries: Sequence[Delivery]) -> str | None:
    """Channels with their states."""
    return ", ".join(f"{d.channel or '?'} {state(d)}" for d in deliveries) or None


def state(delivery: Delivery) -> str:
    """How it went, and with what, where that is not the alert itself."""
    what = ABOUT.get(delivery.about or "")
    return f"{delivery.state or '?'} ({what})" if what else delivery.state or "?"


def sent(delivery: Delivery) -> str:
    """When it was sent; before that when the alert itself was, and when the next try is."""
    if delivery.state == "sent" and delivery.about in ABOUT:
        return display.moment(delivery.followed_at)
    told = display.moment(delivery.sent_at)
    if delivery.sent_at and delivery.about in ABOUT:
        told = f"the alert {told}"
    if delivery.state != "pending":
        return told
    again = f"next try {display.moment(delivery.next_at)}"
    return f"{told}; {again}" if delivery.sent_at else again


def choose(found: Sequence[Alert]) -> str | None:
    """The alert of the URL, else the first; another can be picked."""
    asked: str | None = st.query_params.get("alert")
    options = [alert.id for alert in found]
    if asked is not None and asked not in options:
        options = [asked, *options]
    if not options:
        return None
    names = {alert.id: f"{alert.rule} · {subject(alert)} · {alert.message or ''}" for alert in found}
    chosen: str | None = st.selectbox(
        "In detail",
        options,
        index=0 if asked is None else options.index(asked),
        format_func=lambda key: shortened(names.get(key) or key, 110),
        key=f"alert-{asked}",
    )
    if chosen is not None and chosen != options[0] and chosen != asked:
        st.query_params["alert"] = chosen
    return chosen


def one(alert_id: str) -> None:
    """One alert with its evidence and its deliveries."""
    alert = context.alert(alert_id)
    if alert is None:
        widgets.missing("There is no alert of this id any more.", alert_id)
        return
    st.html(f'<p class="js-said">{for_html(display.known(alert.message))}</p>')
    left, right = st.columns(2, gap="large")
    with left:
        widgets.facts(about(alert))
    with right:
        st.markdown("**Evidence**")
        if alert.evidence:
            widgets.facts(alert.evidence)
        else:
            st.caption("None was stored.")
    if alert.deliveries:
        deliveries(alert.deliveries)
    links(alert)


def about(alert: Alert) -> list[tuple[str, str]]:
    """What is known besides the evidence."""
    rows = [
        ("State", display.known(alert.state)),
        ("Severity", display.known(alert.severity)),
        ("Rule", display.known(alert.rule)),
        ("Subject", subject(alert)),
        ("Raised", display.moment(alert.raised_at)),
        ("Last seen", display.moment(alert.last_seen_at)),
        ("Resolved", display.moment(alert.resolved_at) if alert.resolved_at else "not yet"),
    ]
    if alert.resolved_because:
        rows.append(("Because", alert.resolved_because))
    if alert.budget:
        rows.append(("Budget", alert.budget))
        rows.append(("Period", display.known(alert.period)))
    if alert.stage_pct is not None:
        rows.append(("Stage", f"{alert.stage_pct:.0f} % of the limit, by the {display.known(alert.basis)}"))
    if alert.probability is not None:
        rows.append(("Probability of breaking", f"{100 * alert.probability:.0f} %"))
    return rows


def deliveries(found: Sequence[Delivery]) -> None:
    """Whom it was told, and how that went."""
    rows = [
        (
            display.known(d.channel),
            state(d),
            display.count(d.attempts),
            sent(d),
            d.last_error or display.NOT_KNOWN,
        )
        for d in found
    ]
    widgets.prose(("Channel", "State", "Attempts", "Sent", "Last error"), rows)


def links(alert: Alert) -> None:
    """Where to look further."""
    if alert.dimension == "run" and alert.key:
        widgets.link("Open the run", tables.run_link(alert.key))
    own = f"{alert.dimension}/{alert.key or ''}" if alert.dimension in FORECAST else None
    if alert.budget:
        widgets.link("Open the budget", budget_link(alert.budget))
    target = dict(alert.evidence).get("target", own)
    if target:
        widgets.link("Open its forecasts", forecast_link(target))
