"""Each component of `k8s/components`, taken into an overlay, leaves it as sound as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s import access_policies, object_policies, pod_policies
from tests.k8s.flows import FLOWS, MORE, names
from tests.k8s.judging import errors
from tests.k8s.network import Network, name_of
from tests.k8s.rendering import K8S, Rendered, Thing, label_of, render
from tests.k8s.workloads import pods

SETS = {**object_policies.POLICIES, **access_policies.POLICIES}
# Where a component is tried: overlays, and components that it needs beside it.
ON: dict[str, tuple[str, ...]] = {
    "cert-manager": ("overlays/prod",),
    "external-secrets": ("overlays/prod",),
    "kafka-sasl-tls": ("base",),
    "mongodb-tls": ("base",),
    "embedded-servers": ("overlays/dev",),
    "prometheus-ingest/sasl-tls": ("overlays/prod", "prometheus-ingest"),
    "node-agent-privileged/sasl-tls": ("overlays/prod", "node-agent-privileged"),
    "exporter-tls/plain": ("base", "overlays/monitoring-plain", "exporter-tls"),
}


def components(root: Path = K8S / "components") -> list[str]:
    """Every component, below `k8s/components`."""
    found = []
    for path in sorted(root.rglob("kustomization.yaml")):
        if yaml.safe_load(path.read_text("utf-8"))["kind"] == "Component":
            found.append(path.parent.relative_to(root).as_posix())
    return found


@dataclass(frozen=True)
class Taken:
    """The objects with a component, and without it."""

    things: tuple[Thing, ...]
    before: tuple[Thing, ...]


Take = Callable[[str], Taken]
NAMES = components()


def overlays(name: str) -> list[str]:
    """What a component is tried on."""
    return [one for one in ON.get(name, ("base",)) if one.startswith(("base", "overlays/"))]


def _try(root: Path, name: str, *, without: bool = False) -> Rendered:
    needed = [one for one in ON.get(name, ()) if one not in overlays(name)]
    folder = root / "tried" / name.replace("/", "-") / ("without" if without else "with")
    folder.mkdir(parents=True)
    page = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"../../../{one}" for one in overlays(name)],
        "components": [f"../../../components/{one}" for one in (*needed, *([] if without else [name]))],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(page), "utf-8")
    return render(folder.relative_to(root).as_posix(), root)


@pytest.fixture(scope="module")
def taken(manifests: dict[str, Rendered], tmp_path_factory: pytest.TempPathFactory) -> Take:
    """What a component makes of the overlay that takes it in; rendered from a copy."""
    assert manifests
    root = tmp_path_factory.mktemp("components") / "k8s"
    shutil.copytree(K8S, root)
    more = [name for name in NAMES if len(ON.get(name, ())) > 1]
    with ThreadPoolExecutor(2) as pool:
        known = dict(zip(NAMES, pool.map(partial(_try, root), NAMES), strict=True))
        bare = dict(zip(more, pool.map(partial(_try, root, without=True), more), strict=True))

    def of(name: str) -> Taken:
        before = bare[name] if name in bare else manifests[overlays(name)[0]]
        assert (known[name].failure, before.failure) == ("", "")
        return Taken(known[name].things, before.things)

    return of


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_something_and_is_sound(taken: Take, name: str) -> None:
    things = taken(name).things
    assert things != taken(name).before
    assert [f"{label_of(thing)}: {said}" for thing in things for said in errors(thing)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_keeps_the_checklist(taken: Take, name: str) -> None:
    everyone = list(pods(taken(name).things))
    wrong = [
        said
        for policy in pod_policies.POLICIES
        for pod in everyone
        for said in pod_policies.broken(policy, pod)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_the_objects_keep_the_checklist(taken: Take, name: str) -> None:
    assert [said for policy in SETS.values() for said in policy(taken(name).things)] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_the_named_flows_and_no_other(taken: Take, name: str) -> None:
    network = Network(taken(name).things)
    expected = {flow for overlay in overlays(name) for flow in FLOWS[overlay]} | MORE.get(name, set())
    if name == "external-secrets":
        expected = {flow for flow in expected if flow.source != "credentials/setup"}
    expected |= names({name_of(pod) for pod in network.pods})
    found = network.flows()
    assert (sorted(expected - found, key=str), sorted(found - expected, key=str)) == ([], [])
    assert network.useless() == []
    assert all(
        network.closed(space) == {"ingress", "egress"} for space in {pod.namespace for pod in network.pods}
    )


def test_every_privileged_pod_is_alone_in_its_namespace_and_needs_to_be(taken: Take) -> None:
    for space, app in pod_policies.PRIVILEGED:
        things = taken("node-agent-privileged").things
        (pod,) = (pod for pod in pods(things) if pod.namespace == space)
        assert pod.app == app
        assert list(pod_policies.does_not_run_as_root(pod))
        (namespace,) = (
            one for one in things if one["kind"] == "Namespace" and one["metadata"]["name"] == space
        )
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_sparks_servlet_is_switched_on_by_the_file_that_the_driver_reads(taken: Take) -> None:
    data = next(
        one["data"]
        for one in taken("spark-servlet").things
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "joulestream-files")
    )
    said = dict(line.split(None, 1) for line in data["spark-servlet.conf"].splitlines())
    assert said["spark.ui.enabled"] == "true"
    assert said["spark.ui.port"] == "4040"
    assert said["spark.metrics.conf.*.sink.prometheusServlet.path"] == "/metrics/prometheus"


def _of_kafka(things: tuple[Thing, ...], namespace: str) -> dict[str, Any]:
    """What the node agent of a namespace has for Kafka: environment, mounts and volumes."""
    (pod,) = (pod for pod in pods(things) if (pod.namespace, pod.app) == (namespace, "node-agent"))
    (container,) = pod.spec["containers"]
    return {
        "env": {
            one["name"]: one["value"]
            for one in container["env"]
            if one["name"].startswith("JOULE_KAFKA_") and one["name"] != "JOULE_KAFKA_BOOTSTRAP"
        },
        "mounts": [one for one in container["volumeMounts"] if one["name"].startswith("kafka-")],
        "volumes": [one for one in pod.spec["volumes"] if one["name"].startswith("kafka-")],
    }


def test_a_privileged_agent_comes_to_kafka_as_the_ordinary_one_does(
    taken: Take, manifests: dict[str, Rendered]
) -> None:
    ordinary = _of_kafka(manifests["overlays/prod"].things, "bigdata-pipeline")
    assert ordinary["env"]["JOULE_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert _of_kafka(taken("node-agent-privileged/sasl-tls").things, "joulestream-node") == ordinary
