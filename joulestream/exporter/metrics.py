"""Every metric that the exporter can show: name, kind, labels and meaning. The reference page is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(str, Enum):
    """What a value is. A `COUNTER` only grows; it begins again at zero where its source does."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `since_start`: it counts what this process has seen, so it is 0 when the exporter starts."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    since_start: bool = False


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"joulestream_{name}", Kind.GAUGE, text, labels)


def _stored(name: str, text: str, *labels: str) -> Metric:
    """A counter that the documents hold, so it goes on over restarts of the exporter."""
    return Metric(f"joulestream_{name}", Kind.COUNTER, text, labels)


def _counted(name: str, text: str, *labels: str) -> Metric:
    """A counter of what this process has seen."""
    return Metric(f"joulestream_{name}", Kind.COUNTER, text, labels, since_start=True)


_PLACE = ("query", "topic", "partition")

STREAM = (
    _gauge(
        "query_up",
        "1 where a process holds the query's lease, works and has renewed it in time, else 0",
        "query",
    ),
    _gauge("query_lease_state", "1 for the state of the query's lease, 0 for the others", "query", "state"),
    _gauge("query_lease_age_seconds", "Time since the lease was renewed (s)", "query"),
    _gauge("query_lease_epoch", "How many processes have held the query so far", "query"),
    _gauge(
        "query_generation",
        "Number of the checkpoint's life; a new one begins where a checkpoint is lost",
        "query",
    ),
    _gauge(
        "query_checkpoint_age_seconds",
        "Time since a batch was last finished (s); grows while nothing comes",
        "query",
    ),
    _gauge(
        "query_watermark_age_seconds",
        "How far the watermark is behind this clock (s); grows while nothing comes",
        "query",
    ),
    _gauge(
        "query_trigger_seconds",
        "Least time between two batches, as the settings ask for (s); 0: none",
        "query",
    ),
    _gauge("query_state_rows", "Rows in Spark's state after the newest batch that reported them", "query"),
    _stored("query_batches_total", "Batches so far, over all checkpoints", "query"),
    _gauge("query_last_batch_duration_seconds", "Duration of the newest batch (s)", "query"),
    _gauge("query_last_batch_stage_seconds", "Duration of a stage of the newest batch (s)", "query", "stage"),
    _gauge(
        "query_last_batch_messages",
        "Messages of the newest batch that were counted for the first time",
        "query",
    ),
    Metric(
        "joulestream_query_batch_duration_seconds",
        Kind.HISTOGRAM,
        "Durations of batches (s)",
        ("query",),
        True,
    ),
    _counted(
        "query_store_errors_total",
        "Calls that the document store did not answer while a batch ran; each was tried again",
        "query",
    ),
    _stored(
        "query_consumed_messages_total",
        "Messages that were counted: accepted, rejected and duplicate ones",
        *_PLACE,
    ),
    _stored("query_accepted_messages_total", "Messages that became an event of the ledger", *_PLACE),
    _stored("query_duplicate_messages_total", "Messages of an event that was there already", *_PLACE),
    _stored(
        "query_conflict_messages_total", "Duplicates with another content than the event that stands", *_PLACE
    ),
    _stored("query_late_messages_total", "Accepted messages whose window had ended", *_PLACE),
    _stored(
        "query_rejected_messages_total",
        "Messages that broke the contract, by reason code",
        "query",
        "topic",
        "reason",
    ),
    _stored(
        "query_lost_offsets_total", "Offsets that Kafka dropped before the stream had settled them", *_PLACE
    ),
    _gauge("query_settled_offset", "First offset that is not settled yet", *_PLACE),
)

KAFKA = (
    _gauge("kafka_up", "1 where the Kafka broker answered, else 0"),
    _gauge("kafka_end_offset", "Offset of the next message of a partition", "topic", "partition"),
    _gauge("query_lag_messages", "Messages of a partition that are not settled yet", *_PLACE),
)

_GROUPS = (("user", "a user"), ("model", "a model"), ("region", "a region"))

ENERGY = (
    _counted("energy_joules_total", "Energy of all runs (J)"),
    _counted("co2e_grams_total", "Emissions of all runs (g CO2e)"),
    *(
        _counted(f"{label}_energy_joules_total", f"Energy of the runs of {of} (J)", label)
        for label, of in _GROUPS
    ),
    *(
        _counted(f"{label}_co2e_grams_total", f"Emissions of the runs of {of} (g CO2e)", label)
        for label, of in _GROUPS
    ),
    _gauge("stored_energy_joules", "Energy of all runs since ever, as stored; a correction may lower it (J)"),
    _gauge(
        "stored_co2e_grams", "Emissions of all runs since ever, as stored; a correction may lower it (g CO2e)"
    ),
    *(
        _gauge(
            f"{label}_stored_energy_joules", f"Energy of the runs of {of} since ever, as stored (J)", label
        )
        for label, of in _GROUPS
    ),
    *(
        _gauge(
            f"{label}_stored_co2e_grams",
            f"Emissions of the runs of {of} since ever, as stored (g CO2e)",
            label,
        )
        for label, of in _GROUPS
    ),
    _gauge(
        "runs",
        "Runs by status; `stale` is a running one without an event for `dashboard.stale_after_s`",
        "status",
    ),
    _gauge(
        "run_energy_joules",
        "Energy of a running run so far (J); only with `exporter.max_runs`",
        "run",
        "user",
        "model",
    ),
    _gauge(
        "run_co2e_grams",
        "Emissions of a running run so far (g CO2e); only with `exporter.max_runs`",
        "run",
        "user",
        "model",
    ),
    _gauge(
        "run_power_watts",
        "Mean power of a running run over its measured time (W); only with `exporter.max_runs`",
        "run",
        "user",
        "model",
    ),
    _gauge(
        "run_last_event_age_seconds",
        "Time since the latest event of a running run (s); only with `exporter.max_runs`",
        "run",
        "user",
        "model",
    ),
)

NODES = (
    _gauge("nodes", "Nodes with a window in the last 15 minutes, or four windows where those are longer"),
    _gauge("node_power_watts", "Mean power of a node in its newest closed window (W)", "node"),
    _gauge("node_cpu_utilization_ratio", "Mean CPU utilization of a node in that window (0 to 1)", "node"),
    _gauge("node_gpu_utilization_ratio", "Mean GPU utilization of a node in that window (0 to 1)", "node"),
    _gauge("node_window_age_seconds", "Time since the start of a node's newest window (s)", "node"),
    _counted(
        "node_energy_joules_total",
        "Energy of a node by use: `attributed` to runs, `idle`, `unattributed` (J)",
        "node",
        "use",
    ),
    _gauge(
        "namespace_power_watts",
        "Mean power of a namespace's pods in those windows of their nodes (W)",
        "namespace",
    ),
    _counted("namespace_energy_joules_total", "Energy charged to a namespace's pods (J)", "namespace"),
    _gauge(
        "pod_power_watts", "Mean power of a pod; only the `exporter.max_pods` largest (W)", "namespace", "pod"
    ),
)

STATE = (
    _gauge(
        "documents_age_seconds",
        "Time since the newest event, window, batch or forecast in a collection (s)",
        "collection",
    ),
    _gauge("alerts_open", "Open alerts by rule and severity", "rule", "severity"),
    _gauge(
        "alert_deliveries", "Deliveries of alerts that are `pending` or have `failed`", "channel", "state"
    ),
    _gauge(
        "budget_used_ratio",
        "Used part of a budget in its period; above 1 it is broken",
        "budget",
        "scope",
        "unit",
    ),
    _gauge(
        "budget_forecast_ratio",
        "Part of a budget that will be used by the end of its period, as forecast",
        "budget",
        "scope",
        "unit",
    ),
    _gauge(
        "budget_break_probability",
        "Probability that a budget is broken in its period (0 to 1)",
        "budget",
        "scope",
        "unit",
    ),
    _gauge("budget_evaluation_age_seconds", "Time since budgets were last compared with documents (s)"),
    _gauge("forecast_series", "Series that are forecast"),
    _gauge("forecast_model_info", "1 for the forecast model that serves", "version"),
    _gauge("forecast_model_age_seconds", "Time since that model began to serve (s)"),
)

OWN = (
    _gauge("build_info", "1; the label is the version of this exporter", "version"),
    _gauge("store_up", "1 where the document store answered, else 0"),
    _gauge("dashboard_up", "1 where the dashboard says that it is well, else 0; only with `dashboard.url`"),
    _gauge(
        "exporter_look_up",
        "1 where the latest look at this part succeeded and is not outdated, else 0",
        "part",
    ),
    _gauge("exporter_look_age_seconds", "Age of what is shown of this part (s)", "part"),
    _gauge("exporter_look_duration_seconds", "Duration of the latest look at this part (s)", "part"),
    _counted("exporter_look_errors_total", "Looks at this part that failed", "part"),
    _counted("exporter_refused_requests_total", "Requests without the right token"),
)

SECTIONS: dict[str, tuple[Metric, ...]] = {
    "stream": STREAM,
    "kafka": KAFKA,
    "energy": ENERGY,
    "nodes": NODES,
    "state": STATE,
    "own": OWN,
}
METRICS: dict[str, Metric] = {metric.name: metric for section in SECTIONS.values() for metric in section}

STAGES = ("latch", "verdict_and_windows", "documents")
LEASE_STATES = ("starting", "running", "released")
RUN_STATES = ("running", "stale", "completed", "failed", "stopped")
USES = ("attributed", "idle", "unattributed")
SEVERITIES = ("info", "warning", "critical")
DURATION_BUCKETS_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
OTHER, UNKNOWN = "other", "unknown"
