"""What the readers return. Units are in the names; None is not known, never zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from dashboard.store.fields import DATE, number, pairs, stored, text, texts, whole

STATUSES = ("running", "stale", "completed", "failed", "stopped", "unknown")


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of something, in all and by device."""

    energy_kwh: float | None = stored(number)
    cpu_energy_kwh: float | None = stored(number)
    gpu_energy_kwh: float | None = stored(number)
    ram_energy_kwh: float | None = stored(number)
    emissions_kg: float | None = stored(number)
    covered_s: float | None = stored(number)


@dataclass(frozen=True, kw_only=True)
class Run(Energy):
    """One training run. `status` is the stored one, or `stale` where a running one is silent."""

    run_id: str
    status: str = "unknown"
    user_id: str | None = stored(text)
    project: str | None = stored(text)
    model_name: str | None = stored(text)
    dataset_name: str | None = stored(text)
    framework: str | None = stored(text)
    environment: str | None = stored(text)
    region_iso: str | None = stored(text)
    node_id: str | None = stored(text)
    hyperparameters: tuple[tuple[str, str], ...] = stored(pairs, ())
    started_at: datetime | None = field(default=None, metadata=DATE)
    last_event_at: datetime | None = field(default=None, metadata=DATE)
    ended_at: datetime | None = field(default=None, metadata=DATE)
    duration_s: float | None = stored(number)
    n_events: int | None = stored(whole)
    n_late: int | None = stored(whole)
    gap_s: float | None = stored(number)
    mean_power_w: float | None = stored(number)
    peak_power_w: float | None = stored(number)
    last_loss: float | None = stored(number)
    best_loss: float | None = stored(number)
    last_accuracy: float | None = stored(number)
    best_accuracy: float | None = stored(number)
    epoch: float | None = stored(number)
    total_epochs: float | None = stored(number)
    step: int | None = stored(whole)
    total_steps: int | None = stored(whole)
    ranks: tuple[str, ...] = stored(texts, ())
    nodes: tuple[str, ...] = stored(texts, ())
    measurement: str | None = stored(text)
    meters: tuple[str, ...] = stored(texts, ())
    carbon_intensity_g_per_kwh: float | None = stored(number)
    carbon_intensity_source: str | None = stored(text)
    carbon_intensity_year: int | None = stored(whole)
    reported_energy_kwh: float | None = None
    reported_emissions_kg: float | None = None

    @property
    def co2e_per_point_kg(self) -> float | None:
        """Emissions per percentage point of the best accuracy; see `definitions.CO2E_PER_POINT`."""
        accuracy = self.best_accuracy
        if self.emissions_kg is None or accuracy is None or not 0 < accuracy <= 100:
            return None
        return self.emissions_kg / (accuracy * 100 if accuracy <= 1 else accuracy)


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs. An empty tuple or None does not restrict."""

    text: str = ""
    statuses: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    active_from: datetime | None = None
    active_to: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RunList:
    """The newest runs that match, and how many match in all."""

    runs: tuple[Run, ...]
    matching: int


@dataclass(frozen=True, kw_only=True)
class RunPoint(Energy):
    """An interval of a run that ends at `at`: one event, several merged ones, or one window."""

    at: datetime
    producer: str = ""
    interval_s: float | None = stored(number)
    loss: float | None = stored(number)
    accuracy: float | None = stored(number)
    epoch: float | None = stored(number)
    step: int | None = stored(whole)
    measurement: str | None = stored(text)


@dataclass(frozen=True, kw_only=True)
class RunSeries:
    """A run over time, ordered. `origin` is `events` or `windows`; `reason` says why not events."""

    points: tuple[RunPoint, ...]
    origin: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Window(Energy):
    """Energy of one key of a dimension over an event-time window (or several joined ones)."""

    dimension: str
    key: str | None = stored(text)
    start: datetime
    end: datetime
    n_events: int | None = stored(whole)
    mean_power_w: float | None = stored(number)
    loss: float | None = stored(number)
    accuracy: float | None = stored(number)
    measurement: str | None = stored(text)


@dataclass(frozen=True, kw_only=True)
class Group(Energy):
    """All runs (or all windows of a range) of one user, model or region. `key` None is not known."""

    key: str | None = None
    n_runs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one run used on a node, and at what it was measured."""

    run_id: str
    energy_kwh: float | None


@dataclass(frozen=True, kw_only=True)
class PodShare:
    """What one pod used, on a node or on all of them."""

    namespace: str
    pod: str
    energy_kwh: float | None


@dataclass(frozen=True, kw_only=True)
class NodeWindow:
    """Energy of a node over a window. attributed + idle + unattributed = energy."""

    node_id: str = stored(text, "")
    start: datetime
    end: datetime
    n_samples: int | None = stored(whole)
    covered_s: float | None = stored(number)
    energy_kwh: float | None = stored(number)
    cpu_energy_kwh: float | None = stored(number)
    dram_energy_kwh: float | None = stored(number)
    gpu_energy_kwh: float | None = stored(number)
    platform_energy_kwh: float | None = stored(number)
    other_energy_kwh: float | None = stored(number)
    mean_power_w: float | None = stored(number)
    cpu_utilization_pct: float | None = stored(number)
    gpu_utilization_pct: float | None = stored(number)
    memory_used_mib: float | None = stored(number)
    attributed_kwh: float | None = stored(number)
    idle_kwh: float | None = stored(number)
    unattributed_kwh: float | None = stored(number)
    measurement: str | None = stored(text)
    attributed: tuple[Share, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NodeTotal:
    """A node over a range: its energy split, and its newest window."""

    node_id: str
    energy_kwh: float | None
    attributed_kwh: float | None
    idle_kwh: float | None
    unattributed_kwh: float | None
    last: NodeWindow | None


@dataclass(frozen=True, kw_only=True)
class SourceShare:
    """How much of the emissions rests on one source of carbon intensity."""

    source: str | None
    emissions_kg: float | None
    n_runs: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One batch of a streaming query."""

    query: str = stored(text, "unknown")
    batch: int | None = stored(whole)
    at: datetime | None = field(default=None, metadata=DATE)
    rows_in: int | None = stored(whole)
    accepted: int | None = stored(whole)
    rejected: int | None = stored(whole)
    duplicate: int | None = stored(whole)
    late: int | None = stored(whole)
    lag: int | None = stored(whole)
    watermark: datetime | None = field(default=None, metadata=DATE)
    duration_s: float | None = stored(number)
    input_rows_per_s: float | None = stored(number)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Which process drives a query, and when it last said so."""

    query: str
    state: str | None = stored(text)
    host: str | None = stored(text)
    renewed_at: datetime | None = field(default=None, metadata=DATE)


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of the messages of one partition. consumed = accepted + rejected + duplicate."""

    topic: str = stored(text, "unknown")
    partition: int | None = stored(whole)
    query: str | None = stored(text)
    next_offset: int | None = stored(whole)
    consumed: int = stored(whole, 0)
    accepted: int = stored(whole, 0)
    rejected_total: int = stored(whole, 0)
    duplicate: int = stored(whole, 0)
    conflict: int = stored(whole, 0)
    late: int = stored(whole, 0)
    unknown: int = stored(whole, 0)
    rejected: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A message that broke the contract, with as much of its bytes as is shown."""

    id: str
    value: str = ""
    topic: str | None = stored(text)
    partition: int | None = stored(whole)
    offset: int | None = stored(whole)
    reason: str | None = stored(text)
    message: str | None = stored(text)
    length: int | None = stored(whole)
    first_seen_at: datetime | None = field(default=None, metadata=DATE)
    field: str | None = stored(text)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What the pipeline did with the messages, since it first ran."""

    accounts: tuple[Account, ...] = ()
    recent: tuple[Rejected, ...] = ()
    n_rejected_kept: int = 0
    reasons: tuple[tuple[str, int], ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The numbers of the first page."""

    n_runs: int = 0
    n_active: int = 0
    n_stale: int = 0
    total: Energy = field(default_factory=Energy)
    power_w: float | None = None
    newest_event_at: datetime | None = None
    sources: tuple[SourceShare, ...] = ()
    measurements: tuple[tuple[str | None, int], ...] = ()
    leases: tuple[Lease, ...] = ()
    progress: tuple[Progress, ...] = ()
