"""Samples in Prometheus's text formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector as Source

from joulestream.exporter.metrics import METRICS, Kind, Metric
from joulestream.exporter.samples import Buckets, Sample


def families(samples: Iterable[Sample]) -> list[Family]:
    """One family for each metric that has a value, in the order of the reference."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.metric, []).append(sample)
    return [_family(metric, by_name[name]) for name, metric in METRICS.items() if name in by_name]


def _family(metric: Metric, samples: Sequence[Sample]) -> Family:
    family: Family
    if metric.kind is Kind.HISTOGRAM:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for sample in samples:
            if isinstance(sample.value, Buckets):
                family.add_metric(sample.labels, _bounds(sample.value), sample.value.sum)
        return family
    make = GaugeMetricFamily if metric.kind is Kind.GAUGE else CounterMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for sample in samples:
        if not isinstance(sample.value, Buckets):
            family.add_metric(sample.labels, sample.value)
    return family


def _bounds(buckets: Buckets) -> list[tuple[str, float]]:
    bounds = [(str(bound), float(n)) for bound, n in zip(buckets.bounds, buckets.counts, strict=True)]
    return [*bounds, ("+Inf", float(buckets.count))]


class _Once(Source):
    """Families as a source of a registry."""

    def __init__(self, found: Sequence[Family]) -> None:
        self._found = found

    def describe(self) -> Iterable[Family]:
        return ()

    def collect(self) -> Iterator[Family]:
        return iter(self._found)


def page(samples: Iterable[Sample], accept: str) -> tuple[bytes, str]:
    """The text and its content type, as the client's `Accept` asks; with this process's own figures."""
    registry = CollectorRegistry()
    registry.register(_Once(families(samples)))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
