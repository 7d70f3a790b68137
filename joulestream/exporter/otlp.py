"""The same metrics by OpenTelemetry: OTLP over HTTP, sent every `exporter.otlp_every_s`. An extra: `otel`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from conf.settings import Settings
from joulestream import __version__
from joulestream.exporter.collector import Collector
from joulestream.exporter.metrics import METRICS, Kind, Metric
from joulestream.exporter.samples import Buckets, Sample
from schemas.errors import PipelineError

log = logging.getLogger(__name__)

PATH = "/v1/metrics"
# Longest that one sending may take, its retries included.
LONGEST_S = 5.0
# UCUM, as OpenTelemetry's conventions have it, by the end of the metric's name.
UNITS = {"joules": "J", "grams": "g", "seconds": "s", "watts": "W", "ratio": "1", "probability": "1"}


@dataclass(slots=True)
class Sender:
    """Sends what the collector says. `export` takes the metrics of one time and tells whether they were taken."""

    collector: Collector
    export: Callable[[Any], bool]
    endpoint: str
    every_s: float
    started_ns: int
    _failing: bool = False

    def run(self, stop: threading.Event) -> None:
        """Send until asked to stop, and once more then: what was counted last is not lost."""
        while not stop.wait(self.every_s):
            self.send()
        self.send()

    def send(self) -> None:
        """Send once; an endpoint that is away costs this turn, and is said once."""
        taken = self.export(metrics_data(self.collector.samples(), self.started_ns, time.time_ns()))
        if taken == self._failing:
            self._failing = not taken
            text = (
                "takes metrics again"
                if taken
                else "takes no metrics; start it, or correct exporter.otlp_endpoint"
            )
            log.warning("the OpenTelemetry endpoint %s %s", self.endpoint, text)


def sender_of(settings: Settings, collector: Collector) -> Sender | None:
    """A sender where an endpoint is set. Raises PipelineError where it cannot be used, or the extra is missing."""
    wanted = settings.exporter.otlp_endpoint
    if wanted is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import MetricExportResult
    except ImportError as error:
        raise PipelineError(
            f"exporter.otlp_endpoint is set and {error.name} is not installed; run pip install '.[otel]', "
            "or unset it"
        ) from None
    endpoint = address(wanted)
    for noisy in ("opentelemetry", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what matters of it is in our own message
    exporter = OTLPMetricExporter(endpoint=endpoint, timeout=min(LONGEST_S, settings.exporter.otlp_every_s))

    def export(data: Any) -> bool:
        return exporter.export(data) is MetricExportResult.SUCCESS

    return Sender(collector, export, endpoint, settings.exporter.otlp_every_s, time.time_ns())


def address(endpoint: str) -> str:
    """The whole address: that of a collector gets OTLP's usual path. Raises PipelineError for other than http(s)."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise PipelineError(
            f"exporter.otlp_endpoint is {endpoint}; expected http://host:4318 or https://host:4318"
        )
    return endpoint.rstrip("/") + PATH if parts.path in ("", "/") else endpoint


def metrics_data(samples: Iterable[Sample], started_ns: int, now_ns: int) -> Any:
    """Samples as OpenTelemetry's MetricsData; counters are cumulative sums."""
    from opentelemetry.sdk.metrics import export as otel
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.metric, []).append(sample)
    metrics = [_metric(METRICS[name], found, started_ns, now_ns) for name, found in by_name.items()]
    scope = otel.ScopeMetrics(InstrumentationScope("joulestream", __version__), metrics, "")
    resource = Resource.create({"service.name": "joulestream", "service.version": __version__})
    return otel.MetricsData([otel.ResourceMetrics(resource, [scope], "")])


def _metric(metric: Metric, samples: Sequence[Sample], started_ns: int, now_ns: int) -> Any:
    from opentelemetry.sdk.metrics import export as otel

    # A counter that documents hold did not begin with this process; 0 is OTLP's word for "not known".
    since_ns = started_ns if metric.since_start else 0
    cumulative = otel.AggregationTemporality.CUMULATIVE
    points: list[Any] = [_point(metric, sample, since_ns, now_ns) for sample in samples]
    data: Any
    if metric.kind is Kind.HISTOGRAM:
        data = otel.Histogram(points, cumulative)
    elif metric.kind is Kind.COUNTER:
        data = otel.Sum(points, cumulative, is_monotonic=True)
    else:
        data = otel.Gauge(points)
    return otel.Metric(metric.name, metric.help, _unit(metric.name), data)


def _point(metric: Metric, sample: Sample, since_ns: int, now_ns: int) -> Any:
    from opentelemetry.sdk.metrics import export as otel

    labels = dict(zip(metric.labels, sample.labels, strict=True))
    value = sample.value
    if not isinstance(value, Buckets):
        return otel.NumberDataPoint(labels, since_ns, now_ns, value)
    reached = (0, *value.counts, value.count)
    each = [after - before for before, after in pairwise(reached)]
    # What is the smallest and largest of them is not known, and OTLP lets it be absent.
    unknown: Any = None
    return otel.HistogramDataPoint(
        labels, since_ns, now_ns, value.count, value.sum, each, value.bounds, min=unknown, max=unknown
    )


def _unit(name: str) -> str:
    return next((UNITS[word] for word in reversed(name.split("_")) if word in UNITS), "1")
