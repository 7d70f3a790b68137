"""Every kustomization renders, is what Kubernetes accepts, and keeps the checklist."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.k8s import access_policies, object_policies, pod_policies
from tests.k8s.judging import errors
from tests.k8s.rendering import Rendered, Thing, kustomizations, label_of
from tests.k8s.workloads import pods

NAMES = kustomizations()
SETS = {**object_policies.POLICIES, **access_policies.POLICIES}
ThingsOf = Callable[[str], tuple[Thing, ...]]


def test_the_classic_folders_are_there() -> None:
    wanted = {
        "base",
        *(f"overlays/{name}" for name in ("dev", "prod", "external", "local", "strimzi", "monitoring")),
    }
    wanted |= {"overlays/spark-operator/kubeflow", "overlays/spark-operator/apache"}
    assert wanted - set(NAMES) == set()


@pytest.mark.parametrize("name", NAMES)
def test_kubectl_renders_it_without_a_word(manifests: dict[str, Rendered], name: str) -> None:
    assert manifests[name].failure == ""
    assert manifests[name].things


@pytest.mark.parametrize("name", NAMES)
def test_every_object_is_what_its_schema_asks_for(manifests: dict[str, Rendered], name: str) -> None:
    wrong = [f"{label_of(thing)}: {said}" for thing in manifests[name].things for said in errors(thing)]
    assert wrong == []


@pytest.mark.parametrize("policy", pod_policies.POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_pod_keeps(things_of: ThingsOf, name: str, policy: str) -> None:
    assert [said for pod in pods(things_of(name)) for said in pod_policies.broken(policy, pod)] == []


@pytest.mark.parametrize("policy", SETS)
@pytest.mark.parametrize("name", NAMES)
def test_the_objects_keep(things_of: ThingsOf, name: str, policy: str) -> None:
    assert list(SETS[policy](things_of(name))) == []


def test_every_excuse_is_needed(things_of: ThingsOf) -> None:
    """A pod that is excused from a policy exists and would break it."""
    everyone = [pod for name in NAMES for pod in pods(things_of(name))]
    excused = {(pod.app, pod.component) for pod in everyone if pod.spec.get("automountServiceAccountToken")}
    assert excused == set(pod_policies.TOKENS)
