"""What a page needs from outside: settings, the viewer, the store, and its reads, kept for a moment for each viewer.

A read that fails raises, and what raises is not kept; the client connects lazily: no failed connection is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import streamlit as st

from conf.settings import Settings, load_settings
from dashboard.claims import viewer_of
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
from dashboard.store.access import SeesAll, Viewer
from dashboard.store.alerts import Alert
from dashboard.store.budgets import Budget
from dashboard.store.forecast_rows import Forecast, Model, PastSeries, RunForecast, Score, Series

P = ParamSpec("P")
T = TypeVar("T")
MAX_BARS, MAX_PAST = 400, 800
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


def viewer() -> Viewer:
    """Who looks at this page. Raises NotLoggedIn or Refused, so that nothing is read for nobody."""
    access = settings().access
    return viewer_of(st.user.to_dict() if access.login else {}, access, utc_now())


@st.cache_resource(show_spinner=False)
def everything() -> Store:
    """The whole store, one client for all sessions."""
    given = settings()
    return Store(
        given.mongodb,
        given.mongodb.database,
        stale_after_s=given.dashboard.stale_after_s,
        window_s=given.stream.window_s,
    )


@st.cache_resource(max_entries=1000, show_spinner=False)
def store_of(who: Viewer) -> Store:
    """The store as somebody may see it."""
    return everything() if isinstance(who, SeesAll) else everything().seen_by(who)


def store() -> Store:
    """The store as this page's viewer may see it."""
    return store_of(viewer())


def kept(
    ttl: float, entries: int, spinner: bool | str = False
) -> Callable[[Callable[Concatenate[Store, P], T]], Callable[P, T]]:
    """A read whose result is kept for `ttl` seconds, for each viewer apart. The viewer is asked for at every call."""

    def kept_read(read: Callable[Concatenate[Store, P], T]) -> Callable[P, T]:
        def of_viewer(who: Viewer, *args: P.args, **kwargs: P.kwargs) -> T:
            return read(store_of(who), *args, **kwargs)

        # Streamlit tells the caches of functions apart by this name.
        of_viewer.__qualname__ = read.__qualname__
        held = st.cache_data(ttl=ttl, max_entries=entries, show_spinner=spinner)(of_viewer)

        @wraps(read)
        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            return held(viewer(), *args, **kwargs)

        return asked

    return kept_read


@kept(1, 32)
def overview(store: Store) -> Overview:
    """Totals over all runs."""
    return store.overview(utc_now())


@kept(1, 64)
def runs(store: Store, wanted: RunFilter, limit: int) -> RunList:
    """The newest runs that match."""
    return store.runs(wanted, now=utc_now(), limit=limit)


@kept(1, 64)
def some_runs(store: Store, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
    """Runs by id."""
    return store.some_runs(run_ids, now=utc_now())


@kept(15, 32)
def choices(store: Store) -> dict[str, tuple[str, ...]]:
    """Values for the filters."""
    return store.choices()


@kept(10, 64)
def live_points(store: Store, run_id: str) -> RunSeries:
    """A run over time, while it runs."""
    return _points(store, run_id)


@kept(300, 64, spinner="Reading the run…")
def settled_points(store: Store, run_id: str, n_events: int | None) -> RunSeries:
    """A run over time, once it has ended; a late event changes `n_events` and so is seen at once."""
    del n_events
    return _points(store, run_id)


def _points(store: Store, run_id: str) -> RunSeries:
    run = store.run(run_id, now=utc_now())
    return RunSeries(points=(), origin="events") if run is None else store.run_points(run)


@kept(120, 64, spinner="Summing the run's events…")
def progress_points(store: Store, run_id: str, axis: str) -> tuple[RunPoint, ...]:
    """A run of many events by `step` or `epoch`."""
    run = store.run(run_id, now=utc_now())
    return () if run is None else store.run_progress(run, axis)


def points(run: Run) -> RunSeries:
    """A run over time."""
    return live_points(run.run_id) if run.ended_at is None else settled_points(run.run_id, run.n_events)


@kept(5, 64)
def windows(
    store: Store, dimension: str, keys: tuple[str | None, ...] | None, start: datetime | None
) -> tuple[Window, ...]:
    """Windows of some keys since a time."""
    return store.windows(dimension, keys, start, None, max_windows=MAX_BARS)


@kept(5, 64)
def groups(store: Store, dimension: str, start: datetime | None) -> tuple[Group, ...]:
    """Energy by user, model or region since a time."""
    return store.groups(dimension, start)


@kept(5, 64)
def nodes(store: Store, start: datetime | None) -> tuple[NodeTotal, ...]:
    """All nodes, with their energy since a time."""
    return store.nodes(start)


@kept(5, 64)
def node_windows(store: Store, node_id: str, start: datetime | None) -> tuple[NodeWindow, ...]:
    """Windows of a node since a time."""
    return store.node_windows(node_id, start, max_windows=MAX_BARS)


@kept(5, 64)
def node_runs(store: Store, node_id: str, start: datetime | None) -> tuple[Share, ...]:
    """The runs charged on a node since a time."""
    return store.node_runs(node_id, start)


@kept(1, 32)
def quality(store: Store) -> Quality:
    """What became of the messages."""
    return store.quality()


@kept(1, 32)
def leases(store: Store) -> tuple[Lease, ...]:
    """Which process drives each query."""
    return store.leases()


@kept(1, 64)
def progress(store: Store) -> dict[str, tuple[Progress, ...]]:
    """The newest batches of every query."""
    return {query: store.progress(query) for query in store.queries()}


@kept(5, 32)
def series(store: Store) -> tuple[Series, ...]:
    """The series that are forecast."""
    return store.forecasts.series()


@kept(2, 64)
def ahead(store: Store, target: str, newest: datetime) -> tuple[Forecast, ...]:
    """The newest forecast of each horizon."""
    return store.forecasts.ahead(target, newest)


@kept(20, 64, spinner="Reading past forecasts…")
def past(store: Store, target: str, horizon_s: int, start: datetime, end: datetime) -> PastSeries:
    """Forecasts of one horizon whose targets lie in (start, end]."""
    return store.forecasts.past(target, horizon_s, start, end, MAX_PAST)


@kept(60, 64, spinner="Summing the errors…")
def score(store: Store, target: str, horizon_s: int, start: datetime, end: datetime) -> Score | None:
    """Errors of the forecasts of one horizon whose targets lie in (start, end]; None where that takes too long.

    That it takes too long is kept too, so that no refresh asks for it again at once.
    """
    try:
        return store.forecasts.score(target, horizon_s, start, end)
    except ReadTooSlow:
        return None


@kept(5, 64)
def drift(store: Store, target: str, horizon_s: int) -> datetime | None:
    """The last drift alarm of a series at a horizon."""
    return store.forecasts.drift(target, horizon_s)


@kept(5, 32)
def models(store: Store) -> tuple[Model, ...]:
    """The newest models."""
    return store.forecasts.models()


@kept(2, 64)
def run_forecast(store: Store, run_id: str) -> RunForecast | None:
    """What a run will have used at its completion."""
    return store.forecasts.of_run(run_id)


@kept(2, 32)
def budgets(store: Store) -> tuple[Budget, ...]:
    """Every budget."""
    return store.budgets.all()


@kept(2, 64)
def alerts(store: Store, states: tuple[str, ...] = (), rules: tuple[str, ...] = ()) -> tuple[Alert, ...]:
    """Alerts in some states, of some rules; open ones first."""
    return store.alerts.some(states, rules)


@kept(2, 64)
def alerts_of(store: Store, dimension: str, key: str | None) -> tuple[Alert, ...]:
    """The newest alerts on one subject."""
    return store.alerts.of(dimension, key)


@kept(2, 64)
def alert(store: Store, alert_id: str) -> Alert | None:
    """One alert."""
    return store.alerts.one(alert_id)


@kept(2, 32)
def n_open_alerts(store: Store) -> int:
    """How many alerts are open."""
    return store.alerts.n_open()
