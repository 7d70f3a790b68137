"""Each policy over a set of objects sees the fault that it is for, put into the real manifests, which keep it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.k8s import access_policies, object_policies
from tests.k8s.rendering import Thing

ThingsOf = Callable[[str], tuple[Thing, ...]]
POLICIES = {**object_policies.POLICIES, **access_policies.POLICIES}
META = {
    "namespace": "bigdata-pipeline",
    "labels": {
        "app.kubernetes.io/name": "x",
        "app.kubernetes.io/component": "x",
        "app.kubernetes.io/part-of": "joulestream",
    },
}
SPREAD: Thing = {"topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1}]}


class Manifests:
    """A copy of the objects of `base`, to be broken."""

    def __init__(self, things: tuple[Thing, ...]) -> None:
        self.things = [deepcopy(thing) for thing in things]

    def get(self, kind: str, name: str) -> Thing:
        return next(one for one in self.things if (one["kind"], one["metadata"]["name"]) == (kind, name))

    def drop(self, kind: str, name: str) -> None:
        self.things.remove(self.get(kind, name))

    def add(self, version: str, kind: str, name: str, **fields: object) -> None:
        self.things.append(
            {"apiVersion": version, "kind": kind, "metadata": {**deepcopy(META), "name": name}, **fields}
        )

    def pod(self, kind: str, name: str) -> Thing:
        spec: Thing = self.get(kind, name)["spec"]["template"]["spec"]
        return spec


def _secret(m: Manifests) -> None:
    m.add("v1", "Secret", "x", stringData={"password": "hunter2"})


def _budget(m: Manifests, app: str, **amount: object) -> None:
    m.add("policy/v1", "PodDisruptionBudget", "x", spec={"selector": {"matchLabels": {"app": app}}, **amount})


def _scaled(m: Manifests, name: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    m.add("autoscaling/v2", "HorizontalPodAutoscaler", "x", spec={"scaleTargetRef": target})


def _several(m: Manifests, spread: Thing | None = None) -> None:
    m.get("Deployment", "dashboard")["spec"]["replicas"] = 2
    m.pod("Deployment", "dashboard").update(spread or {})


def _rule(m: Manifests, **changes: list[str]) -> None:
    m.get("Role", "stream-driver")["rules"][0].update(changes)


def _port(m: Manifests, name: str) -> None:
    m.get("Service", name)["spec"]["ports"][0]["targetPort"] = 1234


FAULTS: list[tuple[str, str, Callable[[Manifests], object]]] = [
    ("objects_have_labels", "none", lambda m: m.get("Service", "dashboard")["metadata"].pop("labels")),
    (
        "objects_have_labels",
        "no component",
        lambda m: m.get("ConfigMap", "joulestream-config")["metadata"]["labels"].pop(
            "app.kubernetes.io/component"
        ),
    ),
    (
        "objects_name_their_namespace",
        "none",
        lambda m: m.get("Deployment", "dashboard")["metadata"].pop("namespace"),
    ),
    (
        "namespaces_enforce_pod_security",
        "nothing",
        lambda m: m.get("Namespace", "bigdata-pipeline")["metadata"].pop("labels"),
    ),
    (
        "namespaces_enforce_pod_security",
        "less",
        lambda m: m.get("Namespace", "bigdata-pipeline")["metadata"]["labels"].update(
            {"pod-security.kubernetes.io/enforce": "privileged"}
        ),
    ),
    ("no_secret_in_git", "a secret", _secret),
    (
        "no_secret_in_git",
        "a password as a setting",
        lambda m: m.get("ConfigMap", "joulestream-config")["data"].update(JOULE_MONGODB_PASSWORD="hunter2"),
    ),
    (
        "no_secret_in_git",
        "an address with a password",
        lambda m: m.get("ConfigMap", "joulestream-config")["data"].update(
            X="mongodb://joe:hunter2@mongodb:27017"
        ),
    ),
    (
        "selectors_match",
        "another pod",
        lambda m: m.get("Deployment", "dashboard")["spec"]["selector"]["matchLabels"].update(app="x"),
    ),
    (
        "selectors_match",
        "others too",
        lambda m: m.get("Deployment", "dashboard")["spec"].update(
            selector={"matchLabels": {"app.kubernetes.io/part-of": "joulestream"}}
        ),
    ),
    ("services_have_endpoints", "no pod", lambda m: m.drop("StatefulSet", "kafka")),
    ("services_have_endpoints", "no such port", lambda m: _port(m, "mongodb")),
    ("references_exist", "no ConfigMap", lambda m: m.drop("ConfigMap", "joulestream-config")),
    ("references_exist", "no files", lambda m: m.drop("ConfigMap", "joulestream-files")),
    ("references_exist", "no claim", lambda m: m.drop("PersistentVolumeClaim", "stream-data")),
    ("references_exist", "no account", lambda m: m.drop("ServiceAccount", "dashboard")),
    (
        "references_exist",
        "an unknown secret",
        lambda m: m.pod("Deployment", "dashboard")["volumes"].append(
            {"name": "s", "secret": {"secretName": "x"}}
        ),
    ),
    (
        "references_exist",
        "another service",
        lambda m: m.get("StatefulSet", "kafka")["spec"].update(serviceName="x"),
    ),
    (
        "references_exist",
        "an unknown certificate",
        lambda m: m.get("Ingress", "dashboard")["spec"]["tls"][0].update(secretName="x"),
    ),
    (
        "keys_exist",
        "no such password",
        lambda m: m.pod("Deployment", "dashboard")["volumes"][0]["secret"]["items"][0].update(key="x"),
    ),
    ("volumes_fit", "a mount without volume", lambda m: m.pod("Deployment", "dashboard")["volumes"].pop()),
    (
        "volumes_fit",
        "a volume without mount",
        lambda m: m.pod("Deployment", "dashboard")["containers"][0]["volumeMounts"].pop(),
    ),
    (
        "volumes_fit",
        "without bound",
        lambda m: m.pod("Deployment", "dashboard")["volumes"][-1].update(emptyDir={}),
    ),
    (
        "probes_name_ports",
        "another port",
        lambda m: m.pod("Deployment", "dashboard")["containers"][0]["readinessProbe"]["httpGet"].update(
            port=1
        ),
    ),
    ("roles_are_small", "any verb", lambda m: _rule(m, verbs=["*"])),
    ("roles_are_small", "any resource", lambda m: _rule(m, resources=["*"])),
    ("roles_are_small", "any group", lambda m: _rule(m, apiGroups=["*"])),
    ("roles_are_small", "reads secrets", lambda m: _rule(m, resources=["pods", "secrets"])),
    ("roles_are_small", "makes roles", lambda m: _rule(m, resources=["roles"], verbs=["create"])),
    ("roles_are_small", "goes into pods", lambda m: _rule(m, resources=["pods/exec"], verbs=["create"])),
    (
        "roles_are_small",
        "the whole cluster",
        lambda m: m.add("rbac.authorization.k8s.io/v1", "ClusterRole", "x", rules=[]),
    ),
    ("bindings_are_used", "no such role", lambda m: m.drop("Role", "stream-driver")),
    ("bindings_are_used", "bound to nobody", lambda m: m.drop("RoleBinding", "stream-driver")),
    (
        "bindings_are_used",
        "a token without a right",
        lambda m: m.pod("Deployment", "dashboard").update(automountServiceAccountToken=True),
    ),
    ("bindings_are_used", "no pod runs so", lambda m: m.drop("Deployment", "energy-streaming-job")),
    (
        "bindings_are_used",
        "a group",
        lambda m: m.get("RoleBinding", "stream-driver")["subjects"].append({"kind": "Group", "name": "all"}),
    ),
    (
        "accounts_carry_no_token",
        "not said",
        lambda m: m.get("ServiceAccount", "dashboard").pop("automountServiceAccountToken"),
    ),
    ("budgets_let_nodes_drain", "no pod", lambda m: _budget(m, "x", minAvailable=1)),
    ("budgets_let_nodes_drain", "all of them", lambda m: _budget(m, "dashboard", minAvailable=1)),
    ("budgets_let_nodes_drain", "none may go", lambda m: _budget(m, "dashboard", maxUnavailable=0)),
    ("copies_outlive_a_node", "neither", lambda m: _several(m)),
    ("copies_outlive_a_node", "no budget", lambda m: _several(m, SPREAD)),
    (
        "copies_outlive_a_node",
        "on one node",
        lambda m: (_several(m), _budget(m, "dashboard", minAvailable=1)),
    ),
    ("copies_outlive_a_node", "as many as it takes", lambda m: _scaled(m, "dashboard")),
    ("autoscalers_own_their_replicas", "nothing there", lambda m: _scaled(m, "x")),
    ("autoscalers_own_their_replicas", "set back", lambda m: _scaled(m, "dashboard")),
    ("ingresses_are_encrypted", "no certificate", lambda m: m.get("Ingress", "dashboard")["spec"].pop("tls")),
    ("ingresses_are_encrypted", "no service", lambda m: m.drop("Service", "dashboard")),
    (
        "services_stay_inside",
        "a node's port",
        lambda m: m.get("Service", "mongodb")["spec"].update(type="NodePort"),
    ),
    (
        "scheduled_work_ends",
        "twice at a time",
        lambda m: m.get("CronJob", "reconcile")["spec"].pop("concurrencyPolicy"),
    ),
    (
        "scheduled_work_ends",
        "never",
        lambda m: m.get("CronJob", "reconcile")["spec"]["jobTemplate"]["spec"].pop("activeDeadlineSeconds"),
    ),
]


@pytest.mark.parametrize(
    ("policy", "change"),
    [pytest.param(policy, change, id=f"{policy}: {fault}") for policy, fault, change in FAULTS],
)
def test_a_fault_is_seen(things_of: ThingsOf, policy: str, change: Callable[[Manifests], object]) -> None:
    manifests = Manifests(things_of("base"))
    assert list(POLICIES[policy](manifests.things)) == []
    change(manifests)
    assert list(POLICIES[policy](manifests.things)) != []


def test_a_budget_and_an_autoscaler_that_fit_are_fine(things_of: ThingsOf) -> None:
    manifests = Manifests(things_of("base"))
    deployment = manifests.get("Deployment", "dashboard")["spec"]
    _several(manifests, SPREAD)
    _budget(manifests, "dashboard", minAvailable=1)
    for policy in ("budgets_let_nodes_drain", "copies_outlive_a_node"):
        assert list(POLICIES[policy](manifests.things)) == []
    del deployment["replicas"]
    _scaled(manifests, "dashboard")
    assert list(POLICIES["autoscalers_own_their_replicas"](manifests.things)) == []


def test_every_policy_is_seen_to_fail() -> None:
    assert {policy for policy, _, _ in FAULTS} == set(POLICIES)


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        ({}, True),
        (None, False),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchLabels": {"a": "1", "b": "1"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_label_selectors_are_those_of_kubernetes(selector: Thing | None, taken: bool) -> None:
    assert object_policies.selects(selector, {"a": "1"}) is taken
