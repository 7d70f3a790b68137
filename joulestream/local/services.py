"""The services of the stack besides its two servers, and how each shows that it is ready."""

from __future__ import annotations

import shutil
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from conf.clients import kafka_options, mongo_options
from conf.mongo_trouble import mongo_refusal
from conf.settings import Settings
from joulestream.local.java import Java
from joulestream.local.ports import HOST
from joulestream.local.process import ROOT, Service, python
from schemas import documents, topics

QUERIES = ("training", "node")
HEALTH_PATH = "/_stcore/health"


class Since:
    """Readiness that counts only what happened after the service's last start."""

    def __init__(self, mark: Callable[[], Any], ready: Callable[[Any], str | None]) -> None:
        self._mark = mark
        self._ready = ready
        self._value: Any = None

    def prepare(self) -> None:
        self._value = self._mark()

    def ready(self) -> str | None:
        return self._ready(self._value)


def stream_service(settings: Settings, java: Java, log: Path) -> Service:
    """The streaming job; ready when it holds the lease of every query and works."""
    since = Since(lambda: datetime.now(timezone.utc), lambda started: _waits_for_lease(settings, started))
    return Service(
        name="stream",
        command=python("spark_jobs.stream"),
        log=log,
        env={
            **settings.environment(),
            "JAVA_HOME": str(java.home),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_CONF_DIR": str(ROOT / "conf"),
            "SPARK_LOCAL_IP": HOST,
        },
        prepare=since.prepare,
        ready=since.ready,
        ready_timeout_s=180,
        stop_timeout_s=60,
    )


def agent_service(settings: Settings, log: Path) -> Service:
    """The node agent; ready when a sample of it is in the topic."""
    since = Since(
        lambda: _end_of(topics.NODE_METRICS, settings), lambda end: _waits_for_sample(settings, end)
    )
    return Service(
        name="agent",
        command=python("producers.node_agent"),
        log=log,
        env=settings.environment(),
        prepare=since.prepare,
        ready=since.ready,
        ready_timeout_s=30 + 2 * settings.node.interval_s,
        stop_timeout_s=15,
    )


def alerts_service(settings: Settings, log: Path) -> Service:
    """Budgets and the delivery of alerts; ready when it has reached the document store."""
    sign = settings.data_dir / "logs" / "alerts.ready"
    since = Since(lambda: _touched(sign), lambda before: _waits_for_sign(sign, before))
    return Service(
        name="alerts",
        command=python("joulestream.alerting"),
        log=log,
        env=settings.environment(),
        prepare=since.prepare,
        ready=since.ready,
        ready_timeout_s=60,
        stop_timeout_s=15,
    )


def dashboard_service(settings: Settings, log: Path) -> Service:
    """The dashboard; ready when Streamlit says so."""
    port = settings.dashboard.port
    arguments = ("--server.port", str(port), "--server.address", HOST, "--server.headless", "true")
    return Service(
        name="dashboard",
        command=python("streamlit", "run", str(ROOT / "dashboard" / "app.py"), *arguments),
        log=log,
        env={**settings.environment(), "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"},
        port=port,
        ready=lambda: page_away(f"http://{HOST}:{port}{HEALTH_PATH}"),
        ready_timeout_s=60,
        stop_timeout_s=10,
    )


def exporter_service(settings: Settings, log: Path) -> Service:
    """The pipeline's metrics; ready when it has read the document store."""
    port = settings.exporter.port
    scheme = "http" if settings.exporter.cert_file is None else "https"
    return Service(
        name="exporter",
        command=python("joulestream.exporter"),
        log=log,
        env=settings.environment(),
        port=port,
        ready=lambda: page_away(f"{scheme}://{HOST}:{port}/readyz"),
        ready_timeout_s=60,
        stop_timeout_s=15,
    )


def demo_service(settings: Settings, log: Path) -> Service:
    """A real training job, measured by the tracker; it runs to its end."""
    return Service(
        name="demo",
        command=python("joulestream.demo"),
        log=log,
        env=settings.environment(),
        ready=lambda: None,
        stop_timeout_s=20,
        restart=False,
    )


def reconcile_service(settings: Settings, java: Java, log: Path) -> Service:
    """The repair of the totals from the ledger, in the machine's idle time."""
    nice = ["nice", "-n", "15"] if shutil.which("nice") else []
    return Service(
        name="reconcile",
        command=[*nice, *python("spark_jobs.reconcile", "--repair")],
        log=log,
        env={**settings.environment(), "JAVA_HOME": str(java.home), "SPARK_CONF_DIR": str(ROOT / "conf")},
        ready=lambda: None,
        stop_timeout_s=30,
        restart=False,
    )


def retrain_service(settings: Settings, java: Java, log: Path) -> Service:
    """The training of the forecasts' model where one is due; it gives way to all others by itself."""
    return Service(
        name="retrain",
        command=python("spark_jobs.forecast.retrain", "--scheduled"),
        log=log,
        env={**settings.environment(), "JAVA_HOME": str(java.home), "SPARK_CONF_DIR": str(ROOT / "conf")},
        ready=lambda: None,
        stop_timeout_s=30,
        restart=False,
    )


def page_away(url: str) -> str | None:
    """None if the page of this machine answers with 200, else what went wrong. Its certificate may be for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:  # noqa: S310 - our own address
            return None if answer.status == 200 else f"{url} (it answers {answer.status})"
    except (urllib.error.URLError, OSError) as error:
        return f"{url} ({error})"


def _touched(sign: Path) -> int:
    return sign.stat().st_mtime_ns if sign.exists() else 0


def _waits_for_sign(sign: Path, before: int) -> str | None:
    return None if _touched(sign) > before else "the document store"


def _waits_for_lease(settings: Settings, started: datetime) -> str | None:
    options = {**mongo_options(settings.mongodb), "serverSelectionTimeoutMS": 2000}
    try:
        with MongoClient[dict[str, Any]](**options) as client:
            leases = client[settings.mongodb.database][documents.LEASES]
            held = {lease["_id"]: lease for lease in leases.find({"_id": {"$in": list(QUERIES)}})}
    except PyMongoError as error:
        return str(mongo_refusal(error, settings.mongodb) or f"the document store ({type(error).__name__})")
    late = [name for name in QUERIES if not _works(held.get(name), started)]
    return f"query {' and '.join(late)}" if late else None


def _works(lease: Mapping[str, Any] | None, started: datetime) -> bool:
    return lease is not None and lease["state"] == "running" and bool(lease["renewed_at"] >= started)


def _waits_for_sample(settings: Settings, end: int) -> str | None:
    return None if _end_of(topics.NODE_METRICS, settings) > end else "its first sample"


def _end_of(topic: str, settings: Settings) -> int:
    """Number of messages ever written to a topic; 0 while the broker is away."""
    try:
        consumer = KafkaConsumer(**kafka_options(settings.kafka))
    except (KafkaError, OSError):
        return 0
    try:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        return sum(consumer.end_offsets(places).values())
    except KafkaError:
        return 0
    finally:
        consumer.close()
