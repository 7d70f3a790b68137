"""Forecast: what a series will use, and what the forecasts before were worth. `?target=node/ID` is a link."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from dashboard import context, display, widgets
from dashboard.charts import forecast as charts
from dashboard.charts.forecast import Point
from dashboard.store.forecast_rows import Forecast, Score, Series
from dashboard.text import shortened
from dashboard.views import forecast_parts as parts
from dashboard.widgets import Card

RANGES = {"3 h": timedelta(hours=3), "24 h": timedelta(days=1), "7 d": timedelta(days=7)}
SHOWN_BEFORE = (timedelta(hours=1), timedelta(hours=6))
KINDS = {"all": "All runs", "node": "Node", "user": "User", "run": "Run"}
NO_FORECASTS = (
    "Forecasts begin with the second closed window of a series: some two minutes after `./joule up`.",
    "`./joule status` tells whether the stream runs.",
    "The setting `forecast.enabled` turns them on and off.",
)


def page() -> None:
    """Draw the page."""
    widgets.title("Forecast", "What comes next, beside what earlier forecasts turned out to be worth.")
    listed = context.series()
    if not listed:
        widgets.empty("Nothing is forecast yet.", NO_FORECASTS)
        widgets.live(await_series)()
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        target = choose(listed)
        horizon_s = choose_horizon()
    if not any(series.target == target for series in listed):
        widgets.missing("There is no forecast of this series.", target)
        widgets.empty("What to do", ("Check the link, or choose another series above.", *NO_FORECASTS[:1]))
        return
    widgets.live(upcoming)(target, horizon_s)
    st.subheader("Forecasts and what came", anchor=False)
    chosen = st.segmented_control(
        "Range", list(RANGES), default="24 h", key="range", bind="query-params", required=True
    )
    widgets.live(judged)(target, horizon_s, chosen or "24 h")


def await_series() -> None:
    """Draw the page once something is forecast."""
    if context.series():
        st.rerun()


def choose(listed: tuple[Series, ...]) -> str:
    """The series of the URL, else the fleet, else the one with the newest window; another can be picked."""
    asked: str | None = st.query_params.get("target")
    order = list(KINDS)
    ranked = sorted(listed, key=lambda s: order.index(s.dimension) if s.dimension in order else len(order))
    options = [series.target for series in ranked]
    if asked is not None and asked not in options:
        options = [asked, *options]
    chosen: str | None = st.selectbox(
        "Series",
        options,
        index=0 if asked is None else options.index(asked),
        format_func=named,
        key=f"target-{asked}",
        width=420,
        help="All runs together, nodes, users and runs; those with the newest windows first",
    )
    if chosen is not None and chosen != asked:
        st.query_params["target"] = chosen
    return chosen or options[0]


def named(target: str) -> str:
    """A series as people say it."""
    dimension, _, key = target.partition("/")
    kind = KINDS.get(dimension, dimension)
    return f"{kind} · {shortened(key, 60)}" if key else kind


def choose_horizon() -> int:
    """The horizon (s), from those of the settings; it lives in the URL."""
    given = context.settings().forecast
    both = f"{given.horizons_s},{given.long_horizons_s}"
    offered = {display.span(s): s for s in sorted({int(part) for part in both.split(",") if part})}
    chosen = st.segmented_control(
        "Horizon",
        list(offered),
        default=list(offered)[min(1, len(offered) - 1)],
        key="horizon",
        bind="query-params",
        required=True,
    )
    return offered[chosen] if chosen in offered else next(iter(offered.values()))


def upcoming(target: str, horizon_s: int) -> None:
    """Banners, cards, the fan, the energy ahead."""
    series = _series(target)
    if series is None or series.last_window_end is None:
        widgets.empty("Nothing is forecast of this series yet.", NO_FORECASTS)
        return
    newest = series.last_window_end
    found = context.ahead(target, newest)
    parts.banners(found, newest)
    day = context.score(target, horizon_s, newest - timedelta(days=1), newest) or Score()
    own = next((f for f in found if f.horizon_s == horizon_s), None)
    hour = next((f for f in found if f.horizon_s == 3600), None)
    widgets.cards(
        [
            Card(
                f"Power in {display.span(horizon_s)}",
                display.power(own.point if own else None),
                "forecast",
            ),
            Card("80 % interval", between(own), "interval"),
            Card("Energy, next hour", parts.kwh(hour.energy_kwh if hour else None), "forecast_energy"),
            Card("Error ÷ naive, 24 h", display.figures(day.ratio), "skill"),
            Card("80 % coverage, 24 h", parts.percent(day.coverage(80)), "coverage"),
        ]
    )
    st.subheader("What comes", anchor=False)
    drawn = [f for f in found if f.horizon_s <= max(horizon_s, 900)]
    least, most = SHOWN_BEFORE
    start = newest - min(most, max(least, 2 * timedelta(seconds=horizon_s)))
    widgets.chart(charts.fan(actuals(series, start), drawn), "fan")
    parts.energy_ahead(found)


def between(forecast: Forecast | None) -> str:
    """The 80 % interval in one unit."""
    if forecast is None or forecast.p10 is None or forecast.p90 is None:
        return display.NOT_KNOWN
    unit = display.scale_for(display.POWER, (forecast.p90,))
    ends = (display.figures(unit.of(value)) for value in (forecast.p10, forecast.p90))
    return f"{' – '.join(ends)} {unit.unit}"


def actuals(series: Series, start: datetime) -> list[Point]:
    """Power of the last windows, at their ends."""
    # Later windows are not closed yet: they can still grow.
    newest = series.last_window_end
    if series.dimension == "node" and series.key:
        of_node = context.node_windows(series.key, start)
        return [(w.end, w.mean_power_w) for w in of_node if newest is None or w.end <= newest]
    key = "all" if series.dimension == "all" else series.key
    found = context.windows(series.dimension, (key,), start)
    return [(w.end, w.mean_power_w) for w in found if newest is None or w.end <= newest]


def judged(target: str, horizon_s: int, chosen: str) -> None:
    """Past forecasts against actuals, errors beside strong naive, weights, the model, alerts."""
    series = _series(target)
    if series is None or series.last_window_end is None:
        return
    newest = series.last_window_end
    past = context.past(target, horizon_s, newest - RANGES[chosen], newest)
    alerts = context.alerts_of(series.dimension, series.key)
    if past.points:
        last = context.drift(target, horizon_s)
        drifts = [last] if last is not None and last >= past.points[0].at else []
        widgets.chart(charts.against_actuals(past, drifts), "against")
        parts.scores(target, horizon_s, newest)
        st.subheader("Weights of the layers", anchor=False)
        widgets.chart(charts.weights(past, drifts), "weights")
    else:
        widgets.empty(
            "No forecast of this horizon had its target in this range.",
            ("Choose a longer range or a shorter horizon.", "Long horizons are issued every 15 minutes."),
        )
    parts.model_in_use(context.ahead(target, newest))
    parts.alerts_on(alerts, "series")


def _series(target: str) -> Series | None:
    return next((series for series in context.series() if series.target == target), None)
