"""`Store`: every read that the dashboard and the CLI make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import MongoClient

from conf.sections import MongoDB
from dashboard.store import health, labels, nodes, runs, series, windows
from dashboard.store.access import Person, Viewer
from dashboard.store.alerts import AlertReads
from dashboard.store.budgets import BudgetReads
from dashboard.store.forecasts import ForecastReads
from dashboard.store.node_factors import NodeFactors
from dashboard.store.reader import SEES_ALL, Reader, connect
from dashboard.store.rows import (
    Group,
    Lease,
    NodeTotal,
    NodeWindow,
    Overview,
    PodShare,
    Progress,
    Quality,
    Run,
    RunFilter,
    RunList,
    RunPoint,
    RunSeries,
    Share,
    Window,
)
from schemas.carbon import Intensity

MAX_POINTS = 2000
MAX_RUNS = 1000


class Store:
    """Reads of one database; every method raises StoreAway where the store does not answer.

    `stale_after_s`: silence after which a running run is stale. `window_s`: length of a window.
    `viewer`: whose documents are read; by default everybody's. `mongodb`: what a given client was made of, so
    that more can be said of why the store does not let us in.
    """

    def __init__(
        self,
        client_or_section: MongoClient[dict[str, Any]] | MongoDB,
        database: str = "energy_emissions",
        *,
        stale_after_s: float = 120.0,
        window_s: int = 60,
        viewer: Viewer = SEES_ALL,
        mongodb: MongoDB | None = None,
    ) -> None:
        given = client_or_section
        client = connect(given) if isinstance(given, MongoDB) else given
        self._mongodb = given if isinstance(given, MongoDB) else mongodb
        self._client = client
        self._database = database
        self._reader = Reader(client, database, viewer, mongodb=self._mongodb)
        self._stale_after_s = stale_after_s
        self.window_s = window_s
        self.forecasts = ForecastReads(self._reader, window_s)
        self.budgets = BudgetReads(self._reader)
        self.alerts = AlertReads(self._reader)

    def seen_by(self, viewer: Viewer) -> Store:
        """The same store, as a viewer may see it; it shares the connections."""
        return Store(
            self._client,
            self._database,
            stale_after_s=self._stale_after_s,
            window_s=self.window_s,
            viewer=viewer,
            mongodb=self._mongodb,
        )

    @property
    def viewer(self) -> Viewer:
        """Whose documents are read."""
        return self._reader.viewer

    @property
    def hosts(self) -> str:
        """Where the store is, without user and password."""
        return self._reader.hosts

    def close(self) -> None:
        """End the connections. Also at the end of a `with`."""
        self._client.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ping(self) -> None:
        """Raises StoreAway unless the store answers."""
        self._reader.ping()

    def overview(self, now: datetime) -> Overview:
        """Totals over all runs, and how the stream is."""
        silent = runs.silent_before(now, self._stale_after_s)
        sums = runs.read_sums(self._reader, silent)
        active = runs.read_active_ids(self._reader, silent) if sums.n_active else []
        since = silent - timedelta(seconds=2 * self.window_s)
        return Overview(
            n_runs=sums.n_runs,
            n_active=sums.n_active,
            n_stale=sums.n_running - sums.n_active,
            total=sums.total,
            power_w=windows.read_power(self._reader, active, since) if active else None,
            newest_event_at=sums.newest_event_at,
            sources=runs.read_sources(self._reader),
            measurements=runs.read_measurements(self._reader),
            leases=health.read_leases(self._reader),
            progress=tuple(
                batch for query in health.read_queries(self._reader) for batch in self.progress(query, 1)
            ),
        )

    def runs(self, wanted: RunFilter | None = None, *, now: datetime, limit: int = MAX_RUNS) -> RunList:
        """The newest runs that match, newest event first."""
        silent = runs.silent_before(now, self._stale_after_s)
        return runs.read_runs(self._reader, wanted or RunFilter(), silent, limit)

    def run(self, run_id: str, *, now: datetime) -> Run | None:
        """One run; None if there is none of this id."""
        found = self.some_runs([run_id], now=now)
        return found[0] if found else None

    def some_runs(self, run_ids: Sequence[str], *, now: datetime) -> tuple[Run, ...]:
        """Runs by id, in the order asked for."""
        return runs.read_some(self._reader, run_ids, runs.silent_before(now, self._stale_after_s))

    def choices(self) -> dict[str, tuple[str, ...]]:
        """Values of `user_id`, `model_name`, `dataset_name`, `region_iso`, `project` that the runs have."""
        return runs.read_choices(self._reader)

    def run_points(self, run: Run, max_points: int = MAX_POINTS) -> RunSeries:
        """A run over time, at most about `max_points` intervals (a gap is never merged away)."""
        return series.read_points(self._reader, run, self.window_s, max_points)

    def run_progress(self, run: Run, axis: str, max_points: int = MAX_POINTS // 2) -> tuple[RunPoint, ...]:
        """A run by `step` or `epoch`, summed in the server; for runs whose points come from windows."""
        return series.read_progress(self._reader, run, axis, max_points)

    def windows(
        self,
        dimension: str,
        keys: Sequence[str | None] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        max_windows: int = MAX_POINTS,
    ) -> tuple[Window, ...]:
        """Windows that start in [since, until), oldest first; joined to wider ones above `max_windows` a key.

        `keys` None means all; a key that is not known is None. To a person `all` is all of theirs, and a model or
        a region has what their runs used.
        """
        if isinstance(self.viewer, Person):
            if dimension == "all":
                dimension, keys = "user", [self.viewer.user_id]
            elif dimension in labels.LABELS:
                given = (keys, since, until, self.window_s, max_windows)
                return labels.read_windows(self._reader, dimension, *given)
        span = windows.read_span(self._reader, dimension, keys, since, until)
        if span is None:
            return ()
        length_s = (span[1] - span[0]).total_seconds() + self.window_s
        width = windows.width_for(length_s, self.window_s, max_windows)
        if width <= self.window_s:
            return windows.read_windows(self._reader, dimension, keys, since, until, self.window_s)
        return windows.read_joined(self._reader, dimension, keys, since, until, width)

    def groups(
        self, dimension: str, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[Group, ...]:
        """Energy by user, model or region, largest first: of all runs, or of the windows of a range."""
        if since is None and until is None:
            return runs.read_groups(self._reader, dimension)
        if isinstance(self.viewer, Person) and dimension in labels.LABELS:
            return labels.read_groups(self._reader, dimension, since, until)
        return windows.read_groups(self._reader, dimension, since, until)

    def users(self) -> tuple[Group, ...]:
        """All runs by user."""
        return self.groups("user")

    def models(self) -> tuple[Group, ...]:
        """All runs by model."""
        return self.groups("model")

    def nodes(self, since: datetime | None = None, until: datetime | None = None) -> tuple[NodeTotal, ...]:
        """Every node, with its energy over a range."""
        return nodes.read_nodes(self._reader, since, until, self.window_s)

    def node_factors(
        self, node_ids: Sequence[str], own_regions: Mapping[str, str | None], look_s: float
    ) -> dict[str, Intensity | str]:
        """Carbon intensity of each node, or why it is not known. `own_regions`: of nodes, by the settings."""
        factors = NodeFactors(self._reader, own_regions, look_s=look_s)
        return {node_id: factors.of(node_id) for node_id in node_ids}

    def node_windows(
        self,
        node_id: str,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        max_windows: int = MAX_POINTS,
    ) -> tuple[NodeWindow, ...]:
        """A node's windows, oldest first, joined to wider ones above `max_windows`."""
        span = nodes.read_node_span(self._reader, node_id, since, until)
        if span is None:
            return ()
        length_s = (span[1] - span[0]).total_seconds() + self.window_s
        width = windows.width_for(length_s, self.window_s, max_windows)
        return nodes.read_node_windows(self._reader, node_id, since, until, width)

    def node_runs(
        self, node_id: str, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[Share, ...]:
        """The runs charged on a node, largest first."""
        return nodes.read_node_runs(self._reader, node_id, since, until)

    def pods(
        self,
        node_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        budget_s: float | None = None,
    ) -> tuple[PodShare, ...]:
        """The pods charged on a node, or on all of them, largest first. Raises ReadTooSlow after `budget_s`."""
        return nodes.read_pods(self._reader, node_id, since, until, budget_s)

    def quality(self, n_recent: int = 50) -> Quality:
        """What became of all messages, and the newest rejected ones."""
        return health.read_quality(self._reader, n_recent)

    def queries(self) -> tuple[str, ...]:
        """Names of the streaming queries."""
        return health.read_queries(self._reader)

    def leases(self) -> tuple[Lease, ...]:
        """Which process drives each query."""
        return health.read_leases(self._reader)

    def progress(self, query: str, n_batches: int = 300) -> tuple[Progress, ...]:
        """The newest batches of a query, oldest first."""
        return health.read_progress(self._reader, query, n_batches)
