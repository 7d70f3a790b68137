"""Pods reach what they need and nothing else, as the NetworkPolicies of each overlay say."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.k8s.flows import FLOWS, STORE_CLIENTS, names
from tests.k8s.network import OTHER, Flow, Network, name_of
from tests.k8s.object_policies import of_kind
from tests.k8s.rendering import Thing, kustomizations

ThingsOf = Callable[[str], tuple[Thing, ...]]
NAMES = kustomizations()


@pytest.mark.parametrize("name", NAMES)
def test_the_named_flows_are_open_and_no_other(things_of: ThingsOf, name: str) -> None:
    assert name in FLOWS, f"write the flows of {name} down in tests/k8s/flows.py"
    network = Network(things_of(name))
    expected = FLOWS[name] | names({name_of(pod) for pod in network.pods})
    found = network.flows()
    assert {"missing": sorted(expected - found, key=str), "too many": sorted(found - expected, key=str)} == {
        "missing": [],
        "too many": [],
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_namespace_with_pods_is_closed_first(things_of: ThingsOf, name: str) -> None:
    network = Network(things_of(name))
    spaces = {pod.namespace for pod in network.pods}
    assert {space: network.closed(space) for space in spaces} == {
        space: {"ingress", "egress"} for space in spaces
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_takes_a_pod(things_of: ThingsOf, name: str) -> None:
    assert Network(things_of(name)).useless() == []


def _policy(things: list[Thing], name: str) -> Thing:
    return next(one for one in of_kind(things, "NetworkPolicy") if one["metadata"]["name"] == name)


def _open(things: list[Thing]) -> None:
    things.remove(_policy(things, "default-deny"))
    things.remove(_policy(things, "mongodb"))


def _all_clients(things: list[Thing]) -> None:
    for name in ("mongodb", "kafka"):
        _policy(things, name)["spec"]["ingress"][0].pop("from")
        _policy(things, f"{name}-clients")["spec"]["podSelector"] = {}


FAULTS: list[tuple[str, Callable[[list[Thing]], object]]] = [
    (
        "nothing is closed",
        lambda things: [things.remove(one) for one in list(of_kind(things, "NetworkPolicy"))],
    ),
    ("the store is open", _open),
    (
        "anyone may come to the store",
        lambda things: _policy(things, "mongodb")["spec"]["ingress"].append({"ports": [{"port": 27017}]}),
    ),
    ("any port of the store", lambda things: _policy(things, "mongodb")["spec"]["ingress"][0].pop("ports")),
    ("any pod may go to Kafka and the store", _all_clients),
    (
        "the exporter is open to all namespaces",
        lambda things: _policy(things, "stream-exporter")["spec"]["ingress"][0].update(
            {"from": [{"namespaceSelector": {}}]}
        ),
    ),
    ("the driver goes anywhere", lambda t: _policy(t, "kubernetes-api")["spec"]["egress"][0].pop("ports")),
    ("a flow is missing", lambda things: things.remove(_policy(things, "kafka-clients"))),
    ("names cannot be asked for", lambda things: things.remove(_policy(things, "dns"))),
]


@pytest.mark.parametrize("change", [pytest.param(change, id=fault) for fault, change in FAULTS])
def test_a_fault_changes_the_flows(things_of: ThingsOf, change: Callable[[list[Thing]], object]) -> None:
    things = [deepcopy(thing) for thing in things_of("base")]
    before = Network(things).flows()
    change(things)
    assert Network(things).flows() != before


def test_an_open_store_is_seen_with_every_pod_that_could_come(things_of: ThingsOf) -> None:
    things = [deepcopy(thing) for thing in things_of("base")]
    policy = _policy(things, "mongodb")["spec"]
    policy["ingress"] = [{}]
    _policy(things, "mongodb-clients")["spec"]["egress"] = [{}]
    found = {flow for flow in Network(things).flows() if flow.target == "mongodb/store"}
    assert Flow("anywhere", "mongodb/store", "any") in found
    assert {flow.source for flow in found if flow.port == OTHER} == set(STORE_CLIENTS)


def test_a_policy_without_a_pod_is_seen(things_of: ThingsOf) -> None:
    things = [deepcopy(thing) for thing in things_of("base")]
    _policy(things, "dashboard")["spec"]["podSelector"]["matchLabels"]["app"] = "dashbord"
    assert Network(things).useless() == ["dashboard"]


def test_a_missing_default_is_seen(things_of: ThingsOf) -> None:
    things = [deepcopy(thing) for thing in things_of("base")]
    things.remove(_policy(things, "dns"))
    _policy(things, "default-deny")["spec"]["policyTypes"] = ["Ingress"]
    assert Network(things).closed("bigdata-pipeline") == {"ingress"}


def pod(app: str, namespace: str = "one", **ports: int) -> Thing:
    said = [{"name": name, "containerPort": port} for name, port in ports.items()]
    labels = {"app": app, "app.kubernetes.io/component": "x"}
    return {
        "kind": "Pod",
        "metadata": {"name": app, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": app, "ports": said}]},
    }


def space(name: str, **labels: str) -> Thing:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def policy(app: str | None, namespace: str = "one", **spec: object) -> Thing:
    selector = {"matchLabels": {"app": app}} if app else {}
    return {
        "kind": "NetworkPolicy",
        "metadata": {"name": str(app), "namespace": namespace},
        "spec": {"podSelector": selector, **spec},
    }


def reach(things: list[Thing], source: str, target: str) -> set[int | str]:
    flows = Network(things).flows()
    return {flow.port for flow in flows if (flow.source, flow.target) == (f"{source}/x", f"{target}/x")}


A, B = pod("a"), pod("b", web=80, debug=81)


@pytest.mark.parametrize(
    ("policies", "ports"),
    [
        pytest.param([], {OTHER, 80, 81}, id="without policies all is open"),
        pytest.param([policy("b", policyTypes=["Ingress"])], set(), id="no rule, no way in"),
        pytest.param([policy("b")], set(), id="a policy without types is one for what comes in"),
        pytest.param(
            [policy("a", policyTypes=["Ingress"])], {OTHER, 80, 81}, id="closed for what comes in only"
        ),
        pytest.param([policy("a", policyTypes=["Egress"])], set(), id="no rule, no way out"),
        pytest.param([policy("b", ingress=[{}])], {OTHER, 80, 81}, id="an empty rule lets all in"),
        pytest.param([policy("b", ingress=[{"ports": [{"port": "web"}]}])], {80}, id="a port by its name"),
        pytest.param(
            [policy("b", ingress=[{"ports": [{"port": 80, "endPort": 81}]}])], {80, 81}, id="a range"
        ),
        pytest.param(
            [policy("b", ingress=[{"ports": [{"port": 80, "protocol": "UDP"}]}])], {80}, id="over UDP"
        ),
        pytest.param(
            [policy("b", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "c"}}}]}])],
            set(),
            id="for another pod",
        ),
        pytest.param(
            [policy("b"), policy("b", ingress=[{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}])],
            {80},
            id="one policy is enough",
        ),
        pytest.param(
            [
                policy(None, policyTypes=["Ingress", "Egress"]),
                policy("b", ingress=[{"ports": [{"port": 80}]}]),
            ],
            set(),
            id="both ends must allow it",
        ),
        pytest.param(
            [policy("b", ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}])],
            {OTHER, 80, 81},
            id="an address may be that of a pod",
        ),
        pytest.param([policy("b", "two")], {OTHER, 80, 81}, id="a policy of another namespace"),
    ],
)
def test_reach_is_what_kubernetes_says(policies: list[Thing], ports: set[int]) -> None:
    assert reach([space("one"), A, B, *policies], "a", "b") == ports


@pytest.mark.parametrize(
    ("peer", "there"),
    [
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "one"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "y"}}}, False),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "c"}}}, False),
        ({"podSelector": {}}, False),
    ],
)
def test_pods_of_other_namespaces_come_by_their_namespace(peer: Thing, there: bool) -> None:
    other = pod("b", "two", web=80)
    things = [space("one", team="x"), space("two"), A, other, policy("b", "two", ingress=[{"from": [peer]}])]
    assert bool(reach(things, "a", "b")) is there


def test_strangers_are_named_as_the_policy_has_them() -> None:
    peers: list[Thing] = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
        {"ipBlock": {"cidr": "10.1.0.0/16"}},
    ]
    found = Network(
        [space("one"), B, policy("b", ingress=[{"from": peers, "ports": [{"port": 80}]}])]
    ).flows()
    assert Flow("namespace kubernetes.io/metadata.name=monitoring", "b/x", 80) in found
    assert Flow("ip 10.1.0.0/16", "b/x", 80) in found
