"""What a page needs from outside: settings, the store, and its reads, cached for a moment for all viewers.

A read that fails raises, and what raises is not cached; the client connects lazily, so no failed connection
is kept either.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import streamlit as st

from conf.settings import Settings, load_settings
from dashboard.store import (
    Group,
    Lease,
    NodeTotal,
    NodeWindow,
    Overview,
    Progress,
    Quality,
    ReadTooSlow,
    Run,
    RunFilter,
    RunList,
    RunPoint,
    RunSeries,
    Share,
    Store,
    Window,
)
from dashboard.store.alerts import Alert
from dashboard.store.budgets import Budget
from dashboard.store.forecast_rows import Forecast, Model, PastSeries, RunForecast, Score, Series

MAX_BARS = 400
MAX_PAST = 800
RANGES: dict[str, timedelta | None] = {
    "1 h": timedelta(hours=1),
    "24 h": timedelta(days=1),
    "7 d": timedelta(days=7),
    "30 d": timedelta(days=30),
    "All": None,
}


def utc_now() -> datetime:
    """The clock of the pages."""
    return datetime.now(timezone.utc)


def since(chosen: str | None) -> datetime | None:
    """Start of a chosen range, at a full minute so that reads of one minute share a cache entry."""
    length = RANGES.get(chosen or "All")
    return None if length is None else utc_now().replace(second=0, microsecond=0) - length


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """Settings of this process."""
    return load_settings()


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The store, one client for all sessions."""
    given = settings()
    return Store(
        given.mongodb,
        given.mongodb.database,
        stale_after_s=given.dashboard.stale_after_s,
        window_s=given.stream.window_s,
    )


@st.cache_data(ttl=1, max_entries=2, show_spinner=False)
def overview() -> Overview:
    """Totals over all runs."""
    return store().overview(utc_now())


@st.cache_data(ttl=1, max_entries=32, show_spinner=False)
def runs(wanted: RunFilter, limit: int) -> RunList:
    """The newest runs that match."""
    return store().runs(wanted, now=utc_now(), limit=limit)


@st.cache_data(ttl=1, max_entries=64, show_spinner=False)
def some_runs(run_ids: tuple[str, ...]) -> tuple[Run, ...]:
    """Runs by id."""
    return store().some_runs(run_ids, now=utc_now())


@st.cache_data(ttl=15, max_entries=2, show_spinner=False)
def choices() -> dict[str, tuple[str, ...]]:
    """Values for the filters."""
    return store().choices()


@st.cache_data(ttl=10, max_entries=64, show_spinner=False)
def live_points(run_id: str) -> RunSeries:
    """A run over time, while it runs."""
    return _points(run_id)


@st.cache_data(ttl=300, max_entries=64, show_spinner="Reading the run…")
def settled_points(run_id: str, n_events: int | None) -> RunSeries:
    """A run over time, once it has ended; a late event changes `n_events` and so is seen at once."""
    del n_events
    return _points(run_id)


def _points(run_id: str) -> RunSeries:
    run = store().run(run_id, now=utc_now())
    return RunSeries(points=(), origin="events") if run is None else store().run_points(run)


@st.cache_data(ttl=120, max_entries=64, show_spinner="Summing the run's events…")
def progress_points(run_id: str, axis: str) -> tuple[RunPoint, ...]:
    """A run of many events by `step` or `epoch`."""
    run = store().run(run_id, now=utc_now())
    return () if run is None else store().run_progress(run, axis)


def points(run: Run) -> RunSeries:
    """A run over time."""
    return live_points(run.run_id) if run.ended_at is None else settled_points(run.run_id, run.n_events)


@st.cache_data(ttl=5, max_entries=32, show_spinner=False)
def windows(
    dimension: str, keys: tuple[str | None, ...] | None, start: datetime | None
) -> tuple[Window, ...]:
    """Windows of some keys since a time."""
    return store().windows(dimension, keys, start, None, max_windows=MAX_BARS)


@st.cache_data(ttl=5, max_entries=32, show_spinner=False)
def groups(dimension: str, start: datetime | None) -> tuple[Group, ...]:
    """Energy by user, model or region since a time."""
    return store().groups(dimension, start)


@st.cache_data(ttl=5, max_entries=8, show_spinner=False)
def nodes(start: datetime | None) -> tuple[NodeTotal, ...]:
    """All nodes, with their energy since a time."""
    return store().nodes(start)


@st.cache_data(ttl=5, max_entries=32, show_spinner=False)
def node_windows(node_id: str, start: datetime | None) -> tuple[NodeWindow, ...]:
    """Windows of a node since a time."""
    return store().node_windows(node_id, start, max_windows=MAX_BARS)


@st.cache_data(ttl=5, max_entries=32, show_spinner=False)
def node_runs(node_id: str, start: datetime | None) -> tuple[Share, ...]:
    """The runs charged on a node since a time."""
    return store().node_runs(node_id, start)


@st.cache_data(ttl=1, max_entries=2, show_spinner=False)
def quality() -> Quality:
    """What became of the messages."""
    return store().quality()


@st.cache_data(ttl=1, max_entries=2, show_spinner=False)
def leases() -> tuple[Lease, ...]:
    """Which process drives each query."""
    return store().leases()


@st.cache_data(ttl=1, max_entries=8, show_spinner=False)
def progress() -> dict[str, tuple[Progress, ...]]:
    """The newest batches of every query."""
    return {query: store().progress(query) for query in store().queries()}


@st.cache_data(ttl=5, max_entries=2, show_spinner=False)
def series() -> tuple[Series, ...]:
    """The series that are forecast."""
    return store().forecasts.series()


@st.cache_data(ttl=2, max_entries=32, show_spinner=False)
def ahead(target: str, newest: datetime) -> tuple[Forecast, ...]:
    """The newest forecast of each horizon."""
    return store().forecasts.ahead(target, newest)


@st.cache_data(ttl=20, max_entries=32, show_spinner="Reading past forecasts…")
def past(target: str, horizon_s: int, start: datetime, end: datetime) -> PastSeries:
    """Forecasts of one horizon whose targets lie in (start, end]."""
    return store().forecasts.past(target, horizon_s, start, end, MAX_PAST)


@st.cache_data(ttl=60, max_entries=64, show_spinner="Summing the errors…")
def score(target: str, horizon_s: int, start: datetime, end: datetime) -> Score | None:
    """Errors of the forecasts of one horizon whose targets lie in (start, end]; None where that takes too long.

    That it takes too long is kept too, so that no refresh asks for it again at once.
    """
    try:
        return store().forecasts.score(target, horizon_s, start, end)
    except ReadTooSlow:
        return None


@st.cache_data(ttl=5, max_entries=32, show_spinner=False)
def drift(target: str, horizon_s: int) -> datetime | None:
    """The last drift alarm of a series at a horizon."""
    return store().forecasts.drift(target, horizon_s)


@st.cache_data(ttl=5, max_entries=2, show_spinner=False)
def models() -> tuple[Model, ...]:
    """The newest models."""
    return store().forecasts.models()


@st.cache_data(ttl=2, max_entries=32, show_spinner=False)
def run_forecast(run_id: str) -> RunForecast | None:
    """What a run will have used at its completion."""
    return store().forecasts.of_run(run_id)


@st.cache_data(ttl=2, max_entries=2, show_spinner=False)
def budgets() -> tuple[Budget, ...]:
    """Every budget."""
    return store().budgets.all()


@st.cache_data(ttl=2, max_entries=16, show_spinner=False)
def alerts(states: tuple[str, ...] = (), rules: tuple[str, ...] = ()) -> tuple[Alert, ...]:
    """Alerts in some states, of some rules; open ones first."""
    return store().alerts.some(states, rules)


@st.cache_data(ttl=2, max_entries=32, show_spinner=False)
def alerts_of(dimension: str, key: str | None) -> tuple[Alert, ...]:
    """The newest alerts on one subject."""
    return store().alerts.of(dimension, key)


@st.cache_data(ttl=2, max_entries=32, show_spinner=False)
def alert(alert_id: str) -> Alert | None:
    """One alert."""
    return store().alerts.one(alert_id)


@st.cache_data(ttl=2, max_entries=2, show_spinner=False)
def n_open_alerts() -> int:
    """How many alerts are open."""
    return store().alerts.n_open()
