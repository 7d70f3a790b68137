"""Who may talk to whom, written down by hand: what the NetworkPolicies must allow, and all that they may allow."""

from __future__ import annotations

from collections.abc import Iterable

from tests.k8s.network import Flow

BROKER, STORE, DASHBOARD = "kafka/broker", "mongodb/store", "dashboard/dashboard"
DRIVER, EXECUTOR = "energy-streaming-job/driver", "energy-streaming-job/executor"
EXPORTER, ALERTS, TOPICS = "stream-exporter/exporter", "alerts/alerts", "topics/setup"
METERS = ("node-agent/meter", "trainer/trainer")
CREDENTIALS, USERS = "credentials/setup", "kafka-users/setup"
GRAFANA, PROMETHEUS, ENTITIES = (
    "grafana/monitoring",
    "prometheus/monitoring",
    "kafka-entity-operator/operator",
)
KAFKA_CLIENTS = (*METERS, DRIVER, EXECUTOR, EXPORTER, ALERTS, TOPICS)
STORE_CLIENTS = (
    DRIVER,
    EXECUTOR,
    EXPORTER,
    ALERTS,
    TOPICS,
    DASHBOARD,
    "reconcile/reconciliation",
    "retrain/forecast",
)
NAMES = "namespace kubernetes.io/metadata.name=kube-system"
ANY_ADDRESS = "ip 0.0.0.0/0"
# Training jobs of other teams' namespaces, where an administrator has labelled these.
OTHER_METERS = "namespace joulestream.io/producers=true pod app In ['trainer', 'node-agent']"
INGRESS, MONITORING = (
    f"namespace kubernetes.io/metadata.name={name}" for name in ("ingress-nginx", "monitoring")
)
API_SERVER = (443, 6443)


def _to(target: str, sources: Iterable[str], *ports: int | str) -> set[Flow]:
    return {Flow(source, target, port) for source in sources for port in ports}


def names(pods: Iterable[str]) -> set[Flow]:
    """Every pod asks for names."""
    return {Flow(pod, NAMES, 53, protocol) for pod in pods for protocol in ("TCP", "UDP")}


PEOPLE = _to(DASHBOARD, [INGRESS], 8501)
WATCHING = _to(EXPORTER, [MONITORING], 9464) | _to(DASHBOARD, [EXPORTER], 8501)
KUBERNETES = _to(ANY_ADDRESS, [DRIVER, CREDENTIALS], *API_SERVER)
SPARK = _to(DRIVER, [EXECUTOR], 7078, 7079) | _to(EXECUTOR, [DRIVER, EXECUTOR], 7079)
KAFKA = _to(BROKER, [*KAFKA_CLIENTS, OTHER_METERS], 9092)
BROKERS = _to(BROKER, [BROKER], 9092, 9093)
MONGODB = _to(STORE, [*STORE_CLIENTS, STORE], 27017)
EVERYWHERE = PEOPLE | WATCHING | KUBERNETES | SPARK
BASE = EVERYWHERE | KAFKA | BROKERS | MONGODB

LOGIN = _to(ANY_ADDRESS, [DASHBOARD], 443)
FLOWS: dict[str, set[Flow]] = {
    "base": BASE,
    "overlays/dev": BASE,
    "overlays/local": BASE,
    "overlays/prod": BASE | LOGIN | _to(BROKER, [BROKER, USERS], 9094),
    "overlays/external": EVERYWHERE
    | _to(ANY_ADDRESS, KAFKA_CLIENTS, "9092-9098")
    | _to(ANY_ADDRESS, STORE_CLIENTS, 27017),
    "overlays/strimzi": EVERYWHERE
    | KAFKA
    | MONGODB
    | LOGIN
    | _to(BROKER, [BROKER], 9090, 9091)
    | _to(BROKER, [ENTITIES], 9091)
    | _to(BROKER, ["namespace * pod strimzi.io/kind=cluster-operator"], 8443, 9090, 9091)
    | _to(ANY_ADDRESS, [BROKER, ENTITIES], *API_SERVER),
    "overlays/spark-operator/kubeflow": BASE,
    "overlays/spark-operator/apache": BASE,
    "overlays/monitoring": BASE | _to(f"{MONITORING} pod app.kubernetes.io/name=prometheus", [GRAFANA], 9090),
    "overlays/monitoring-plain": BASE | _to(PROMETHEUS, [GRAFANA], 9090) | _to(EXPORTER, [PROMETHEUS], 9464),
    # Rules and dashboards alone add no pod.
    "overlays/monitoring/rules": BASE,
    "overlays/monitoring/grafana": BASE,
}

INGEST, NODE_METER = "prometheus-ingest/meter", "node-agent/meter"
# What a component of `k8s/components` adds to the overlay that takes it in.
MORE: dict[str, set[Flow]] = {
    "alerts-egress": _to(ANY_ADDRESS, [ALERTS], 443, 587),
    "checkpoint-s3": _to(ANY_ADDRESS, [DRIVER, EXECUTOR], 443),
    "prometheus-ingest": _to(BROKER, [INGEST], 9092) | _to(MONITORING, [INGEST], 9090),
    "prometheus-ingest/sasl-tls": _to(BROKER, [INGEST], 9092) | _to(MONITORING, [INGEST], 9090),
    "dashboard-login": LOGIN,
    "exporter-otlp": _to(MONITORING, [EXPORTER], 4318),
    "spark-servlet": _to(DRIVER, [MONITORING], 4040),
}
