"""Pipeline health: whether every message becomes documents in time, and where the time goes."""

from __future__ import annotations

from joulestream.dashboards.model import Column, Dashboard, Query, Section, Step, Unit, Variable
from joulestream.dashboards.parts import DOWN, UP, limits, lines, once, rate, stat, table, total

_QUERY = '{query=~"$query"}'
_LAG = f"query:joulestream_query_lag_messages:sum{_QUERY}"
_BATCH = "joulestream_query_batch_duration_seconds"


def _query(metric: str) -> str:
    """A gauge of the chosen queries."""
    return once(f"joulestream_query_{metric}{_QUERY}", "query")


def _messages(kind: str) -> Query:
    """Messages of one outcome per second, over all partitions."""
    return Query(rate(f"joulestream_query_{kind}_messages_total{_QUERY}", "query"), f"{{{{query}}}} {kind}")


def _quantile(quantile: float) -> Query:
    """A quantile of the batches' durations."""
    buckets = rate(f"{_BATCH}_bucket{_QUERY}", "query", "le")
    return Query(f"histogram_quantile({quantile}, {buckets})", f"{{{{query}}}} p{quantile * 100:g}")


_NOW = Section(
    "Now",
    (
        stat(
            "Queries",
            "Whether a process holds the query's lease, works, and has renewed it in time.",
            Unit.NONE,
            _query("up"),
            "{{query}}",
            steps=DOWN,
            words=UP,
            width=6,
        ),
        stat(
            "Document store",
            "Whether it answered the exporter.",
            Unit.NONE,
            once("joulestream_store_up"),
            steps=DOWN,
            words=UP,
        ),
        stat(
            "Kafka",
            "Whether it answered the exporter.",
            Unit.NONE,
            once("joulestream_kafka_up"),
            steps=DOWN,
            words=UP,
        ),
        stat(
            "Dashboard",
            "Whether its health page says that it is well; only with `dashboard.url`.",
            Unit.NONE,
            once("joulestream_dashboard_up"),
            steps=DOWN,
            words=UP,
        ),
        stat(
            "Messages that wait",
            "Messages in Kafka that are not settled in documents yet.",
            Unit.COUNT,
            _LAG,
            "{{query}}",
            steps=limits(1000, 100_000),
            width=6,
        ),
        stat(
            "Time to work it off",
            "Messages that wait over messages settled per second in the last 5 minutes, as if no more came.",
            Unit.SECOND,
            f"{_LAG} / (query:joulestream_query_consumed_messages:rate5m{_QUERY} > 0)",
            "{{query}}",
            steps=limits(300, 900),
            width=8,
            without="nothing is settled",
        ),
        stat(
            "Last batch finished",
            "Time since a batch was last finished; grows while nothing comes.",
            Unit.SECOND,
            _query("checkpoint_age_seconds"),
            "{{query}}",
            width=8,
        ),
        stat(
            "Watermark behind the clock",
            "Windows that end before it are closed; grows while nothing comes.",
            Unit.SECOND,
            _query("watermark_age_seconds"),
            "{{query}}",
            width=8,
        ),
    ),
)

_FLOW = Section(
    "Messages",
    (
        lines(
            "Lag by partition",
            "Messages of a partition that are not settled yet.",
            Unit.COUNT,
            Query(
                once(f"joulestream_query_lag_messages{_QUERY}", "query", "topic", "partition"),
                "{{topic}} {{partition}}",
            ),
            stacked=True,
        ),
        lines(
            "Messages per second",
            "What became of them: accepted, rejected and duplicate ones are all that was consumed.",
            Unit.PER_SECOND,
            _messages("accepted"),
            _messages("rejected"),
            _messages("duplicate"),
        ),
        lines(
            "Rejected by reason",
            "Messages that broke the contract, per second.",
            Unit.PER_SECOND,
            Query(
                f"{rate(f'joulestream_query_rejected_messages_total{_QUERY}', 'query', 'reason')} > 0",
                "{{query}} {{reason}}",
            ),
        ),
        lines(
            "Late, conflicting and lost",
            "Late ones are counted; of conflicting ones the first counts; lost ones Kafka had dropped unread.",
            Unit.PER_SECOND,
            _messages("late"),
            _messages("conflict"),
            Query(rate(f"joulestream_query_lost_offsets_total{_QUERY}", "query"), "{{query}} lost"),
        ),
    ),
)

_TIME = Section(
    "Time",
    (
        lines(
            "Duration of batches",
            "Median and 95 % quantile, and the least time between two batches that the settings ask for.",
            Unit.SECOND,
            _quantile(0.5),
            _quantile(0.95),
            Query(_query("trigger_seconds"), "{{query}} trigger"),
        ),
        lines(
            "Stages of the newest batch",
            "Spark's work (`verdict_and_windows`) and the writing of documents.",
            Unit.SECOND,
            Query(
                once(f"joulestream_query_last_batch_stage_seconds{_QUERY}", "query", "stage"),
                "{{query}} {{stage}}",
            ),
            stacked=True,
        ),
        lines(
            "Watermark behind the clock",
            "A line that rises as the clock does while messages are accepted is a watermark that stands still.",
            Unit.SECOND,
            Query(_query("watermark_age_seconds"), "{{query}}"),
        ),
        lines(
            "Last batch finished",
            "Time since then; above 600 s while messages wait it is an alert.",
            Unit.SECOND,
            Query(_query("checkpoint_age_seconds"), "{{query}}"),
            steps=(Step(600, "#D55E00"),),
        ),
    ),
)

_STORE = Section(
    "Detail: store, state and leases",
    (
        lines(
            "Calls that the store did not answer",
            "Each was tried again.",
            Unit.PER_SECOND,
            Query(rate(f"joulestream_query_store_errors_total{_QUERY}", "query"), "{{query}}"),
        ),
        lines(
            "Rows in Spark's state",
            "Open windows, in rows.",
            Unit.COUNT,
            Query(_query("state_rows"), "{{query}}"),
        ),
        lines(
            "Holders of the lease, and lives of the checkpoint",
            "Each step is a stream that started, or a checkpoint that was lost.",
            Unit.COUNT,
            Query(_query("lease_epoch"), "{{query}} holders"),
            Query(_query("generation"), "{{query}} lives"),
        ),
        lines(
            "Age of the newest documents",
            "Time since the newest event, window, batch or forecast of a collection.",
            Unit.SECOND,
            Query(once("joulestream_documents_age_seconds", "collection"), "{{collection}}"),
        ),
    ),
    folded=True,
)

_AROUND = Section(
    "Detail: forecasts, deliveries, exporter",
    (
        stat(
            "Series that are forecast",
            "Of nodes, runs, users and all.",
            Unit.COUNT,
            once("joulestream_forecast_series"),
            width=6,
        ),
        stat(
            "Forecast model serves since",
            "None without a model; then the last values and what each series teaches serve.",
            Unit.SECOND,
            once("joulestream_forecast_model_age_seconds"),
            width=6,
            without="no model",
        ),
        stat(
            "Budgets compared",
            "Time since budgets were last compared with documents.",
            Unit.SECOND,
            once("joulestream_budget_evaluation_age_seconds"),
            width=6,
            steps=(Step(600, "#D55E00"),),
        ),
        stat(
            "Open alerts in the store",
            "Budgets and anomalies, as `joule alerts ls --state open` lists them.",
            Unit.COUNT,
            total(once("joulestream_alerts_open", "rule", "severity")),
            width=6,
        ),
        table(
            "Deliveries of alerts",
            "By channel and state, of the alerts that are kept.",
            (Query(once("joulestream_alert_deliveries", "channel", "state")),),
            (
                Column("channel", "Channel"),
                Column("state", "State"),
                Column("Value #A", "Deliveries", Unit.COUNT),
            ),
            width=12,
        ),
        table(
            "Looks of the exporter",
            "Whether it could read each part, how old that is, and how long it took.",
            (
                Query(once("joulestream_exporter_look_up", "part")),
                Query(once("joulestream_exporter_look_age_seconds", "part")),
                Query(once("joulestream_exporter_look_duration_seconds", "part")),
            ),
            (
                Column("part", "Part"),
                Column("Value #A", "Read", Unit.COUNT),
                Column("Value #B", "Age", Unit.SECOND),
                Column("Value #C", "Took", Unit.SECOND),
            ),
            width=12,
        ),
    ),
    folded=True,
)

BOARD = Dashboard(
    "joulestream-pipeline",
    "Joulestream / Pipeline health",
    "Whether every message becomes documents in time, and where the time goes.",
    (_NOW, _FLOW, _TIME, _STORE, _AROUND),
    (Variable("query", "Query", "joulestream_query_up", "query"),),
)
