"""The pods that a set of objects makes: those of workloads, of Spark's pod templates and of Spark operators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.k8s.rendering import Thing, label_of

# Spark fills in what a template of its pods leaves open; this is how it names the containers.
DRIVER, EXECUTOR = "spark-kubernetes-driver", "spark-kubernetes-executor"
# Clients with TLS and a password, brokers among themselves, the controllers, and the agent of Strimzi.
STRIMZI_PORTS = (9092, 9090, 9091, 8443)


@dataclass(frozen=True)
class Pod:
    """One kind of pods: what stands in their template, and the object from which they come.

    `lasts`: it serves until it is stopped, so it needs probes. `given`: what an operator puts into a container where
    the template leaves it open, as `container.what`.
    """

    owner: Thing
    namespace: str
    metadata: Thing
    spec: Thing
    lasts: bool = True
    given: frozenset[str] = frozenset()

    @property
    def where(self) -> str:
        return label_of(self.owner)

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.metadata.get("labels", {})
        return labels

    @property
    def app(self) -> str:
        return self.labels.get("app", "?")

    @property
    def component(self) -> str:
        return self.labels.get("app.kubernetes.io/component", "?")

    @property
    def containers(self) -> list[Thing]:
        return [*self.spec.get("initContainers", ()), *self.spec.get("containers", ())]

    @property
    def serving(self) -> list[Thing]:
        """The containers that run for as long as the pod does; among the first ones those that start always."""
        first = self.spec.get("initContainers", ())
        sidecars = [one for one in first if one.get("restartPolicy") == "Always"]
        return [*sidecars, *self.spec.get("containers", ())]


def namespace_of(thing: Thing) -> str:
    return str(thing.get("metadata", {}).get("namespace", "default"))


def _template(thing: Thing, template: Thing, **more: Any) -> Pod:
    return Pod(thing, namespace_of(thing), template.get("metadata", {}), template.get("spec", {}), **more)


def _spark_gives(name: str, cores: object, memory: object) -> frozenset[str]:
    """What Spark sets in its container by its own settings: `cores` is the limit of CPUs.

    A driver must be ready before its executors are (test_overlays.py), so it has no probe that says when.
    """
    given = {f"{DRIVER}.startupProbe", f"{DRIVER}.readinessProbe"}
    given |= {f"{name}.cpu"} if cores else set()
    return frozenset(given | ({f"{name}.memory"} if memory else set()))


def _kubeflow(thing: Thing) -> Iterator[Pod]:
    for role, name in (("driver", DRIVER), ("executor", EXECUTOR)):
        part = thing["spec"][role]
        given = _spark_gives(name, part.get("coreLimit"), part.get("memory"))
        yield _template(thing, part.get("template", {}), lasts=role == "driver", given=given)


def _apache(thing: Thing) -> Iterator[Pod]:
    said = thing["spec"].get("sparkConf", {})
    for role, name in (("driver", DRIVER), ("executor", EXECUTOR)):
        cores, memory = said.get(f"spark.kubernetes.{role}.limit.cores"), said.get(f"spark.{role}.memory")
        template = thing["spec"].get(f"{role}Spec", {}).get("podTemplateSpec", {})
        yield _template(thing, template, lasts=role == "driver", given=_spark_gives(name, cores, memory))


def _strimzi(thing: Thing) -> Iterator[Pod]:
    """The brokers of a KafkaNodePool, with the labels and ports that Strimzi gives them."""
    template, labels = thing["spec"].get("template", {}), thing["metadata"].get("labels", {})
    kafka = {
        **template.get("kafkaContainer", {}),
        "name": "kafka",
        "resources": thing["spec"].get("resources", {}),
        "ports": [{"name": f"tcp-{port}", "containerPort": port} for port in STRIMZI_PORTS],
    }
    yield _by_strimzi(thing, labels.get("strimzi.io/cluster", "?"), "kafka", template.get("pod", {}), [kafka])


def _entity_operator(thing: Thing) -> Iterator[Pod]:
    """The pod in which Strimzi looks after users and topics."""
    said = thing["spec"].get("entityOperator")
    if not said:
        return
    template = said.get("template", {})
    containers = [
        {**template.get(f"{part}Container", {}), "name": part, "resources": said[part].get("resources", {})}
        for part in ("topicOperator", "userOperator")
    ]
    name = thing["metadata"]["name"]
    yield _by_strimzi(thing, name, "entity-operator", template.get("pod", {}), containers)


def _by_strimzi(thing: Thing, cluster: str, part: str, pod: Thing, containers: list[Thing]) -> Pod:
    """Strimzi brings its images, its probes and its own account."""
    own = {"strimzi.io/cluster": cluster, "strimzi.io/kind": "Kafka", "strimzi.io/name": f"{cluster}-{part}"}
    metadata = {"labels": {**pod.get("metadata", {}).get("labels", {}), **own}}
    spec = {key: value for key, value in pod.items() if key != "metadata"}
    spec |= {"containers": containers, "automountServiceAccountToken": False}
    given = frozenset(f"{one['name']}.{what}" for one in containers for what in ("probes", "image"))
    return _template(thing, {"metadata": metadata, "spec": spec}, given=given)


def pods(things: Iterable[Thing]) -> Iterator[Pod]:
    """The kinds of pods in a set of objects."""
    for thing in things:
        kind, group = thing.get("kind"), str(thing.get("apiVersion"))
        if kind in {"Deployment", "StatefulSet", "DaemonSet"}:
            yield _template(thing, thing["spec"]["template"])
        elif kind == "Job":
            yield _template(thing, thing["spec"]["template"], lasts=False)
        elif kind == "CronJob":
            yield _template(thing, thing["spec"]["jobTemplate"]["spec"]["template"], lasts=False)
        elif kind == "Pod":
            yield _template(thing, thing)
        elif kind == "PodTemplate":
            yield _template(thing, thing["template"], lasts=False)
        elif kind == "KafkaNodePool":
            yield from _strimzi(thing)
        elif kind == "Kafka":
            yield from _entity_operator(thing)
        elif kind == "SparkApplication":
            yield from _kubeflow(thing) if group.startswith("sparkoperator") else _apache(thing)
