"""The strict schemas refuse what an API server would drop or refuse."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from tests.k8s.crds import definitions, shorten, without_prose
from tests.k8s.judging import KUBERNETES, errors, foreign_schema, kubernetes_schema
from tests.k8s.page import PAGE, text
from tests.k8s.rendering import Thing

DEPLOYMENT: Thing = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "x"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "x", "image": "docker.io/library/x:1"}]},
        },
    },
}
POD_TEMPLATE: Thing = {"spec": {"containers": [{"name": "x", "securityContext": {"privileged": "no"}}]}}
TOPIC: Thing = {
    "apiVersion": "kafka.strimzi.io/v1",
    "kind": "KafkaTopic",
    "metadata": {"name": "training.events"},
    "spec": {"partitions": 3, "replicas": 3, "config": {"retention.ms": 1}},
}
MONITOR: Thing = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "ServiceMonitor",
    "metadata": {"name": "x"},
    "spec": {"selector": {}, "endpoints": [{"port": "metrics", "interval": "30s"}]},
}


def apache(**spec: object) -> Thing:
    return {
        "apiVersion": "spark.apache.org/v1",
        "kind": "SparkApplication",
        "metadata": {"name": "x"},
        "spec": {"runtimeVersions": {"sparkVersion": "4.0.4"}, **spec},
    }


def kubeflow(**driver: object) -> Thing:
    spec = {"type": "Python", "sparkVersion": "4.0.4", "mainApplicationFile": "local:///x.py", "executor": {}}
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": "x"},
        "spec": {**spec, "driver": driver},
    }


def changed(thing: Thing, path: str, value: object) -> Thing:
    """A copy with another value at a dotted path."""
    copy = deepcopy(thing)
    *steps, last = path.split(".")
    inner = copy
    for step in steps:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value
    return copy


@pytest.mark.parametrize(
    "thing",
    [DEPLOYMENT, TOPIC, MONITOR, apache(), kubeflow(coreLimit="1")],
    ids=["Deployment", "KafkaTopic", "ServiceMonitor", "SparkApplication v1", "SparkApplication v1beta2"],
)
def test_what_is_right_is_accepted(thing: Thing) -> None:
    assert errors(thing) == ()


@pytest.mark.parametrize(
    ("thing", "place"),
    [
        pytest.param(changed(DEPLOYMENT, "spec.replica", 1), "spec: ", id="an unknown field"),
        pytest.param(changed(DEPLOYMENT, "spec.replicas", "1"), "spec.replicas: ", id="a text for a number"),
        pytest.param(
            changed(DEPLOYMENT, "spec.template.spec.containers.0.imag", "x"),
            "spec.template.spec.containers.0: ",
            id="an unknown field deep inside",
        ),
        pytest.param(
            changed(DEPLOYMENT, "metadata.lables", {}), "metadata: ", id="an unknown field of the metadata"
        ),
        pytest.param(
            changed(DEPLOYMENT, "apiVersion", "apps/v1beta1"), "no schema", id="a version that is gone"
        ),
        pytest.param(changed(TOPIC, "spec.partition", 1), "spec: ", id="a topic's unknown field"),
        pytest.param(
            changed(TOPIC, "spec.partitions", 0), "spec.partitions: ", id="a topic without partitions"
        ),
        pytest.param(
            changed(TOPIC, "apiVersion", "kafka.strimzi.io/v1beta2"), "no schema", id="Strimzi's old version"
        ),
        pytest.param(changed(TOPIC, "metadata.lables", {}), "metadata: ", id="a topic's metadata"),
        pytest.param(
            changed(MONITOR, "spec.endpoints.0.interval", "x"), "spec.endpoints.0.interval", id="no duration"
        ),
        pytest.param(apache(driverArg=[]), "spec: ", id="Apache's unknown field"),
        pytest.param(apache(sparkConf={"a": 1}), "spec.sparkConf.a: ", id="Apache's option that is no text"),
        pytest.param(
            apache(driverSpec={"podTemplateSpec": POD_TEMPLATE}),
            "spec.driverSpec.podTemplateSpec.spec.containers.0.securityContext.privileged: ",
            id="Apache's pod template",
        ),
        pytest.param(kubeflow(core=1), "spec.driver: ", id="Kubeflow's unknown field"),
        pytest.param(
            kubeflow(template=POD_TEMPLATE),
            "spec.driver.template.spec.containers.0.securityContext.privileged: ",
            id="Kubeflow's pod template",
        ),
    ],
)
def test_what_is_wrong_is_refused(thing: Thing, place: str) -> None:
    assert [said for said in errors(thing) if said.startswith(place)] != []


def test_a_kind_that_nobody_knows_is_refused() -> None:
    assert errors({"apiVersion": "example.org/v1", "kind": "Thing"}) != ()
    assert kubernetes_schema("example.org/v1", "Thing") is None
    assert foreign_schema("example.org/v1", "Thing") is None


def test_the_schemas_are_those_of_the_kubernetes_that_is_named() -> None:
    assert KUBERNETES.startswith("1.34")
    assert kubernetes_schema("apps/v1", "Deployment") is not None


def test_definitions_are_kept_without_their_prose() -> None:
    found = definitions()
    assert len({one["metadata"]["name"] for one in found}) == len(found)
    for one in found:
        assert shorten(one) == one
        assert '"description":"' not in json.dumps(one, separators=(",", ":"))


def test_a_property_that_is_called_description_stays() -> None:
    schema = {
        "description": "prose",
        "properties": {"description": {"type": "string", "description": "prose"}},
    }
    assert without_prose(schema) == {"properties": {"description": {"type": "string"}}}


def test_the_page_says_what_is_judged() -> None:
    assert PAGE.read_text("utf-8") == text(), "run `python -m tests.k8s.page`"
