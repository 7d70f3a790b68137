"""Parts of the page Forecast: banners, energy ahead, scores, the model in use, alerts on the series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import forecast as charts
from dashboard.display import POWER
from dashboard.store.alerts import Alert
from dashboard.store.forecast_rows import Forecast, Score, Span
from dashboard.tables import Column
from dashboard.views.links import alert_link

SPANS = {"hour": timedelta(hours=1), "24 h": timedelta(days=1), "7 d": timedelta(days=7)}
ENERGY_S = (3600, 21_600, 86_400)
SILENT = timedelta(minutes=5)
NO_MODEL = "none"


def kwh(span: Span | None) -> str:
    """A forecast energy without its interval."""
    return display.energy(span.point if span else None)


def percent(share: float | None) -> str:
    """A share of 1 as a percentage."""
    return display.NOT_KNOWN if share is None else f"{100 * share:.1f} %"


def banners(found: Sequence[Forecast], newest: datetime) -> None:
    """What the reader must know first: forecasts that are naive or old."""
    naive = [f for f in found if f.model == "naive"]
    reasons = list(dict.fromkeys(f.fallback for f in found if f.fallback))
    if naive:
        where = ", ".join(display.span(f.horizon_s) for f in naive)
        st.warning(
            f"**The last value serves as the forecast**, ahead by: {where}. There it has all the weight.",
            icon=":material/warning:",
        )
    elif reasons:
        st.warning("**Forecasts run without the batch model.**", icon=":material/warning:")
    for reason in reasons[:3]:
        widgets.note(f"Reason: {reason}")
    age = context.utc_now() - newest
    if age > SILENT:
        st.info(
            f"**The newest window of this series ended {display.duration(age.total_seconds())} ago.** It is silent, "
            "or the stream does not run: `./joule status` tells.",
            icon=":material/history:",
        )


def energy_ahead(found: Sequence[Forecast]) -> None:
    """Energy and emissions of the next hours, with intervals."""
    rows = [f for f in found if f.horizon_s in ENERGY_S and f.energy_kwh]
    st.subheader("Energy ahead", anchor=False)
    if not rows:
        st.caption("Long horizons are forecast every 15 minutes; none is there yet.")
        return
    spans = [f.energy_kwh for f in rows]
    masses = [f.emissions_kg for f in rows]
    columns = [
        tables.text("Next", [display.span(f.horizon_s) for f in rows]),
        tables.text("Energy", [kwh(s) for s in spans], "forecast_energy"),
        tables.text("80 % interval", [ends(s, display.ENERGY) for s in spans], "interval"),
        tables.text("Emissions", [display.co2e(m.point if m else None) for m in masses], "co2e"),
        tables.text("80 % interval of emissions", [ends(m, display.MASS) for m in masses], "interval"),
        tables.text("From (UTC)", [display.day_and_time(f.issued_at) for f in rows]),
    ]
    widgets.run_table(columns, "energy-ahead", "Energy and emissions ahead", height="content")
    sources = {
        f"{display.figures(f.g_per_kwh)} g CO₂e/kWh, {display.known(f.intensity_source)}"
        for f in rows
        if f.g_per_kwh is not None
    }
    widgets.note(
        f"Emissions with {'; '.join(sorted(sources))}."
        if sources
        else "No carbon intensity is known for this."
    )


def ends(span: Span | None, ladder: Sequence[display.Scale]) -> str:
    """An 80 % interval in the unit of its larger end."""
    if span is None or span.p10 is None or span.p90 is None:
        return display.NOT_KNOWN
    unit = display.scale_for(ladder, (span.p90,))
    return f"{display.figures(unit.of(span.p10))} – {display.figures(unit.of(span.p90))} {unit.unit}"


def scores(target: str, horizon_s: int, newest: datetime) -> None:
    """Errors beside strong naive and coverage, from the stored forecasts that have their actual."""
    read = {name: context.score(target, horizon_s, newest - span, newest) for name, span in SPANS.items()}
    slow = [name for name, score in read.items() if score is None]
    found = {name: score or Score() for name, score in read.items()}
    rows = list(found.values())
    served, naive = [row.served_mae for row in rows], [row.naive_mae for row in rows]
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.subheader("Error beside strong naive", anchor=False)
        widgets.chart(charts.errors(found), "errors")
    with right:
        st.subheader("Scores", anchor=False)
        columns = [
            tables.text("Last", list(found)),
            tables.counts("Forecasts", [score.n if score else None for score in read.values()]),
            tables.scaled("Served", POWER, served, "served_error", beside=naive),
            tables.scaled("Naive", POWER, naive, "strong_naive", beside=served),
            tables.text("Better naive", [row.naive_name if row.n else None for row in rows]),
            tables.numbers("Error ÷ naive", [row.ratio for row in rows], "skill"),
            tables.text("80 % coverage", [percent(row.coverage(80)) for row in rows], "coverage"),
            tables.text("90 % coverage", [percent(row.coverage(90)) for row in rows], "coverage"),
        ]
        widgets.run_table(columns, "scores", "Errors and coverage", height="content")
        widgets.note(
            "From the stored forecasts only, each issued before its actual was known. Of 100 actuals 80 should lie in "
            "the 80 % interval, 90 in the 90 % interval; spans end with the newest window of the series."
        )
        if slow:
            widgets.note(
                f"The sum over the last {' and '.join(slow)} takes too long here; it is tried again."
            )


def model_in_use(found: Sequence[Forecast]) -> None:
    """The batch model behind the newest forecasts."""
    st.subheader("Model in use", anchor=False)
    versions = list(dict.fromkeys(f.model_version for f in found if f.model_version))
    used = [version for version in versions if version != NO_MODEL]
    model = next((m for m in context.models() if m.version in used), None)
    if not used:
        reason = next((f.fallback for f in found if f.fallback), None)
        widgets.note(f"No batch model yet: {reason or 'none has been trained'}.")
        st.caption("Train one: `./joule forecast train`; `./joule up` does so by itself every few hours.")
        return
    rows = [("Version", ", ".join(used))]
    if model is None:
        widgets.facts([*rows, ("Registry", "this version is not listed in the store's registry")])
        return
    span = f"{display.moment(model.data_from)} to {display.moment(model.data_to)}"
    rows += [
        ("State", display.known(model.state)),
        ("Trained", display.moment(model.created_at)),
        ("Trained on", span if model.data_from else "not known"),
        ("Rows", display.count(model.n_rows)),
        ("Horizons at which it serves", display.known(", ".join(map(display.span, model.served_horizons_s)))),
        ("Serving since", display.moment(model.serving_since)),
        ("Reason", display.known(model.reason)),
    ]
    widgets.facts(rows)
    if model.scores:
        with st.expander("Scores of its validation"):
            widgets.facts(model.scores)


def alerts_on(alerts: Sequence[Alert], what: str) -> None:
    """The newest alerts on a series or a run, each with a link to its evidence."""
    if not alerts:
        return
    st.subheader(f"Alerts on this {what}", anchor=False)
    columns = [
        Column("", [alert_link(alert.id) for alert in alerts], url=True),
        tables.text("State", [alert.state for alert in alerts]),
        tables.text("Rule", [alert.rule for alert in alerts]),
        tables.text("Message", [alert.message for alert in alerts]),
        Column("Raised (UTC)", [alert.raised_at for alert in alerts]),
    ]
    widgets.run_table(columns, f"{what}-alerts", f"Alerts on this {what}", height="content")
