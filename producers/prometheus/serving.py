"""Wires the settings to the reading of a server: live, or over a past range."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from conf.operations import Prometheus
from conf.settings import Settings
from producers.identity import new_producer_id
from producers.ports import SystemClock
from producers.prometheus.api import PrometheusApi
from producers.prometheus.ingest import Counts, Ingest, Rules
from producers.prometheus.note import FILE
from producers.publisher import kafka_publisher
from schemas.carbon import normal_region
from schemas.errors import PipelineError
from schemas.times import to_ms
from schemas.units import MS_PER_S

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0


def serve(settings: Settings, stop: threading.Event) -> None:
    """Read on until `stop` is set. Raises PipelineError where it cannot go on."""
    prometheus = settings.prometheus
    note = settings.data_dir / FILE
    with _ingest(settings) as ingest:
        log.info("Kepler and DCGM at %s -> %s", prometheus.url, settings.kafka.bootstrap)
        ingest.follow(note, int(prometheus.lookback_s * MS_PER_S), prometheus.every_s, stop)


def backfill(
    settings: Settings, start: datetime, end: datetime, told: Callable[[int], None] = lambda _: None
) -> Counts:
    """Read a past range. Raises PipelineError where it cannot be read or sent."""
    with _ingest(settings) as ingest:
        return ingest.backfill(to_ms(start), to_ms(end), told)


def prometheus_api(prometheus: Prometheus) -> PrometheusApi:
    """The server that the settings name. Raises PipelineError where they name none."""
    if prometheus.url is None:
        raise PipelineError(
            "no Prometheus server is set; set JOULE_PROMETHEUS_URL, such as http://prometheus.monitoring.svc:9090"
        )
    return PrometheusApi(prometheus.url, prometheus.timeout_s, lambda: _token(prometheus), prometheus.ca_file)


def _token(prometheus: Prometheus) -> str | None:
    """The token as it is now: that of a pod is renewed in its file every hour."""
    if prometheus.token_file is not None:
        try:
            return prometheus.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise PipelineError(
                f"prometheus.token_file: {prometheus.token_file} cannot be read: {error}"
            ) from None
    return None if prometheus.token is None else prometheus.token.get_secret_value()


@contextmanager
def _ingest(settings: Settings) -> Iterator[Ingest]:
    prometheus = settings.prometheus
    region = settings.node.region_iso
    api = prometheus_api(prometheus)
    rules = Rules(
        prometheus.match,
        prometheus.node_label,
        int(prometheus.max_gap_s * MS_PER_S),
        None if region is None else normal_region(region),
    )
    name = new_producer_id("prometheus")
    sink = kafka_publisher(settings.kafka, settings.spool_dir, name, settings.tracker.spool_max_mib)
    try:
        yield Ingest(api, rules, sink, SystemClock())
    finally:
        sink.close(CLOSE_TIMEOUT_S)
