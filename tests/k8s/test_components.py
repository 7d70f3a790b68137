"""Each component of `k8s/components`, taken into an overlay, leaves it as sound as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.k8s import access_policies, object_policies, pod_policies
from tests.k8s.flows import FLOWS, MORE, names
from tests.k8s.judging import errors
from tests.k8s.network import Network, name_of
from tests.k8s.rendering import K8S, Rendered, Thing, label_of, render
from tests.k8s.workloads import pods

SETS = {**object_policies.POLICIES, **access_policies.POLICIES}
# Where a component is tried: what it needs besides the overlay.
ON = {
    "cert-manager": ("overlays/prod",),
    "external-secrets": ("overlays/prod",),
    "kafka-sasl-tls": ("base",),
    "mongodb-tls": ("base",),
    "embedded-servers": ("overlays/dev",),
    "prometheus-ingest/sasl-tls": ("overlays/prod", "prometheus-ingest"),
}


def components(root: Path = K8S / "components") -> list[str]:
    """Every component, below `k8s/components`."""
    found = []
    for path in sorted(root.rglob("kustomization.yaml")):
        if yaml.safe_load(path.read_text("utf-8"))["kind"] == "Component":
            found.append(path.parent.relative_to(root).as_posix())
    return found


Taken = Callable[[str], tuple[Thing, ...]]
NAMES = components()


def _try(root: Path, name: str) -> Rendered:
    overlay, *before = ON.get(name, ("base",))
    folder = root / "tried" / name.replace("/", "-")
    folder.mkdir(parents=True)
    page = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"../../{overlay}"],
        "components": [f"../../components/{one}" for one in (*before, name)],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(page), "utf-8")
    return render(folder.relative_to(root).as_posix(), root)


@pytest.fixture(scope="module")
def taken(manifests: dict[str, Rendered], tmp_path_factory: pytest.TempPathFactory) -> Taken:
    """The objects of an overlay that takes a component in; rendered from a copy."""
    assert manifests
    root = tmp_path_factory.mktemp("components") / "k8s"
    shutil.copytree(K8S, root)
    with ThreadPoolExecutor(2) as pool:
        known = dict(zip(NAMES, pool.map(partial(_try, root), NAMES), strict=True))

    def of(name: str) -> tuple[Thing, ...]:
        assert known[name].failure == ""
        return known[name].things

    return of


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_something_and_is_sound(taken: Taken, manifests: dict[str, Rendered], name: str) -> None:
    things = taken(name)
    before = manifests[ON.get(name, ("base",))[0]].things
    assert things != before
    assert [f"{label_of(thing)}: {said}" for thing in things for said in errors(thing)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_keeps_the_checklist(taken: Taken, name: str) -> None:
    everyone = list(pods(taken(name)))
    wrong = [
        said
        for policy in pod_policies.POLICIES
        for pod in everyone
        for said in pod_policies.broken(policy, pod)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_the_objects_keep_the_checklist(taken: Taken, name: str) -> None:
    assert [said for policy in SETS.values() for said in policy(taken(name))] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_the_named_flows_and_no_other(taken: Taken, name: str) -> None:
    network = Network(taken(name))
    expected = FLOWS[ON.get(name, ("base",))[0]] | MORE.get(name, set())
    if name == "external-secrets":
        expected = {flow for flow in expected if flow.source != "credentials/setup"}
    expected |= names({name_of(pod) for pod in network.pods})
    found = network.flows()
    assert (sorted(expected - found, key=str), sorted(found - expected, key=str)) == ([], [])
    assert network.useless() == []
    assert all(
        network.closed(space) == {"ingress", "egress"} for space in {pod.namespace for pod in network.pods}
    )


def test_every_privileged_pod_is_alone_in_its_namespace_and_needs_to_be(taken: Taken) -> None:
    for space, app in pod_policies.PRIVILEGED:
        things = taken("node-agent-privileged")
        (pod,) = (pod for pod in pods(things) if pod.namespace == space)
        assert pod.app == app
        assert list(pod_policies.does_not_run_as_root(pod))
        (namespace,) = (
            one for one in things if one["kind"] == "Namespace" and one["metadata"]["name"] == space
        )
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_sparks_servlet_is_switched_on_by_the_file_that_the_driver_reads(taken: Taken) -> None:
    data = next(
        one["data"]
        for one in taken("spark-servlet")
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "joulestream-files")
    )
    said = dict(line.split(None, 1) for line in data["spark-servlet.conf"].splitlines())
    assert said["spark.ui.enabled"] == "true"
    assert said["spark.ui.port"] == "4040"
    assert said["spark.metrics.conf.*.sink.prometheusServlet.path"] == "/metrics/prometheus"
