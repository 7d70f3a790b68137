"""The exporter's process: wires the parts, serves until it is asked to stop."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from urllib.parse import urlsplit

import pymongo

from conf.settings import Settings
from joulestream.exporter.collector import DASHBOARD, KAFKA, STORE, Collector
from joulestream.exporter.energy_part import EnergyPart
from joulestream.exporter.kafka_part import KafkaPart
from joulestream.exporter.looks import Part
from joulestream.exporter.nodes_part import NodesPart
from joulestream.exporter.otlp import sender_of
from joulestream.exporter.samples import Sample
from joulestream.exporter.server import Server
from joulestream.exporter.state_part import StatePart
from joulestream.exporter.stream_part import StreamPart
from joulestream.exporter.tls import Certificate
from schemas.errors import PipelineError, RetryableError
from spark_jobs.store import Address, Db, connect, server_errors

log = logging.getLogger(__name__)

# A look that is waited for ends before the scrape's patience does; that at all runs may take its time.
QUICK_S = 4.0
SLOW_S = 60.0
HEALTH_PATH = "/_stcore/health"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(timezone.utc)


@contextmanager
def collecting(settings: Settings, now: Callable[[], datetime] = utc_now) -> Iterator[Collector]:
    """The parts that the settings ask for, with their clients. Raises PipelineError where an address is none."""
    db = connect(Address.of(settings))
    kafka = KafkaPart(db, settings)
    try:
        yield _collector(db, kafka, settings, now)
    finally:
        kafka.close()
        db.client.close()


def _collector(db: Db, kafka: KafkaPart, settings: Settings, now: Callable[[], datetime]) -> Collector:

    def of_store(name: str, read: Callable[[datetime], Sequence[Sample]], longest_s: float) -> Part:
        def limited() -> Sequence[Sample]:
            with server_errors("the document store", settings.mongodb), pymongo.timeout(longest_s):
                return read(now())

        return Part(name, limited, settings.exporter.every_s)

    store_parts = [
        of_store(STORE, StreamPart(db, settings).read, QUICK_S),
        of_store("energy", EnergyPart(db, settings).read, SLOW_S),
        of_store("nodes", NodesPart(db, settings).read, SLOW_S),
        of_store("state", StatePart(db, settings).read, QUICK_S),
    ]
    parts = [*store_parts, of_store(KAFKA, lambda _now: kafka.read(), QUICK_S)]
    if settings.dashboard.url is not None:
        parts.append(
            Part(DASHBOARD, partial(dashboard_health, settings.dashboard.url), settings.exporter.every_s)
        )
    return Collector(parts, of_store=frozenset(part.name for part in store_parts))


def dashboard_health(url: str) -> list[Sample]:
    """Nothing to show but that it is well. Raises RetryableError where it is not."""
    address = url.rstrip("/") + HEALTH_PATH
    if urlsplit(address).scheme not in ("http", "https"):
        raise PipelineError(f"dashboard.url is {url}; expected http:// or https://")
    try:
        with urllib.request.urlopen(address, timeout=QUICK_S) as answer:  # noqa: S310 - http(s) only
            if answer.status == 200:
                return []
            raise RetryableError(f"{address} answers {answer.status}; look at the dashboard's log")
    except (urllib.error.URLError, OSError) as error:
        raise RetryableError(f"{address} does not answer ({error}); start the dashboard") from None


def serve(settings: Settings, stop: threading.Event) -> None:
    """Serve until `stop`. Raises PipelineError where a setting or the address cannot be used."""
    wanted = settings.exporter
    token = wanted.token.get_secret_value() if wanted.token is not None else None
    if token is None and wanted.host not in LOOPBACK:
        log.warning(
            "everybody who reaches port %d reads the metrics; set JOULE_EXPORTER_TOKEN_FILE", wanted.port
        )
    certificate = Certificate.of(wanted)
    scheme = "http" if certificate is None else "https"
    with collecting(settings) as collector:
        sender = sender_of(settings, collector)
        with serving(Server(wanted.host, wanted.port, collector, token, certificate)) as server:
            log.info("metrics are at %s://%s:%d/metrics", scheme, *server.server_address[:2])
            problem = collector.problem()
            if problem is not None:
                log.warning("nothing can be read yet: %s", problem)
            if sender is not None:
                sender.run(stop)
            stop.wait()


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server at work in a thread; ended at the end."""
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="exporter", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
