"""Which pods reach which, computed from the NetworkPolicies of a set of objects.

As Kubernetes has it: a pod that no policy selects for a direction is open in it; one that is selected may do what any
of its policies allows; a connection needs the leave of both ends. An `ipBlock` is taken to cover every pod too, since
it may; the other end still has to allow it.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.k8s.object_policies import of_kind, selects
from tests.k8s.rendering import Thing
from tests.k8s.workloads import Pod, namespace_of, pods

# Stands for every port that nobody names.
OTHER = 1
Port = tuple[int | str, str]


@dataclass(frozen=True, order=True)
class Flow:
    """`source` may open connections to `target` at `port`: pods as `app/component`, others as the policy has them."""

    source: str
    target: str
    port: int | str
    protocol: str = "TCP"


class Network:
    """The pods and policies of a set of objects."""

    def __init__(self, things: Sequence[Thing]) -> None:
        self.pods = list(pods(things))
        self.policies = list(of_kind(things, "NetworkPolicy"))
        self._known: dict[tuple[str, int], list[Thing] | None] = {}
        self.namespaces = {
            thing["metadata"]["name"]: {
                "kubernetes.io/metadata.name": thing["metadata"]["name"],
                **thing["metadata"].get("labels", {}),
            }
            for thing in of_kind(things, "Namespace")
        }

    def flows(self) -> set[Flow]:
        """Every connection that is allowed, between pods and with what is outside."""
        found = set()
        for target in self.pods:
            for port in self._ports(target):
                for source in self.pods:
                    if self._allows("egress", source, target, target, port) and self._allows(
                        "ingress", target, source, target, port
                    ):
                        found.add(Flow(name_of(source), name_of(target), *port))
        for pod in self.pods:
            found |= {Flow(name_of(pod), peer, *port) for peer, port in self._outside("egress", pod)}
            found |= {Flow(peer, name_of(pod), *port) for peer, port in self._outside("ingress", pod)}
        return found

    def closed(self, namespace: str) -> set[str]:
        """The directions in which every pod of a namespace may do only what is named."""
        return {
            direction
            for policy in self.policies
            if namespace_of(policy) == namespace and not _names_some(policy["spec"].get("podSelector"))
            for direction in _directions(policy)
        }

    def useless(self) -> list[str]:
        """Policies that select no pod."""
        return [
            policy["metadata"]["name"]
            for policy in self.policies
            if _names_some(policy["spec"].get("podSelector"))
            and not any(_takes(policy, pod) for pod in self.pods)
        ]

    def _ports(self, target: Pod) -> Iterator[Port]:
        own = {
            (port["containerPort"], port.get("protocol", "TCP"))
            for container in target.serving
            for port in container.get("ports", ())
        }
        said = {
            (entry["port"], entry.get("protocol", "TCP"))
            for policy in self.policies
            for direction in ("ingress", "egress")
            for rule in policy["spec"].get(direction) or ()
            for entry in rule.get("ports", ())
            if isinstance(entry.get("port"), int)
        }
        yield from sorted(own | said | {(OTHER, "TCP"), (OTHER, "UDP")}, key=str)

    def _rules(self, direction: str, pod: Pod) -> list[Thing] | None:
        """The rules for a direction of a pod; None where nothing closes it."""
        key = (direction, id(pod))
        if key not in self._known:
            chosen = [one for one in self.policies if _takes(one, pod) and direction in _directions(one)]
            rules = [rule for policy in chosen for rule in (policy["spec"].get(direction) or ())]
            self._known[key] = rules if chosen else None
        return self._known[key]

    def _allows(self, direction: str, pod: Pod, other: Pod, target: Pod, port: Port) -> bool:
        rules = self._rules(direction, pod)
        if rules is None:
            return True
        side = "to" if direction == "egress" else "from"
        return any(
            _covers(rule, port, target)
            and (not rule.get(side) or any(self._is(peer, other, pod.namespace) for peer in rule[side]))
            for rule in rules
        )

    def _is(self, peer: Thing, pod: Pod, home: str) -> bool:
        if "ipBlock" in peer:
            return True
        if "namespaceSelector" in peer:
            labels = self.namespaces.get(pod.namespace, {"kubernetes.io/metadata.name": pod.namespace})
            inside = selects(peer["namespaceSelector"], labels)
        else:
            inside = pod.namespace == home
        return inside and ("podSelector" not in peer or selects(peer["podSelector"], pod.labels))

    def _outside(self, direction: str, pod: Pod) -> Iterator[tuple[str, Port]]:
        """The peers of a pod's rules that are not pods of ours, each with its ports."""
        rules = self._rules(direction, pod)
        if rules is None:
            yield "anywhere", ("any", "TCP")
            return
        side = "to" if direction == "egress" else "from"
        for rule in rules:
            ports = [_said(entry) for entry in rule.get("ports", ())]
            for peer in rule.get(side) or [{"anywhere": True}]:
                name = self._stranger(peer)
                if name:
                    yield from ((name, port) for port in ports or [("any", "TCP")])

    def _stranger(self, peer: Thing) -> str:
        if "anywhere" in peer:
            return "anywhere"
        if "ipBlock" in peer:
            return f"ip {peer['ipBlock']['cidr']}"
        spaces = peer.get("namespaceSelector")
        if spaces is None:
            return ""
        if spaces.get("matchLabels", {}).get("kubernetes.io/metadata.name") in self.namespaces:
            return ""
        return f"namespace {_text(spaces)}" + (
            f" pod {_text(peer['podSelector'])}" if "podSelector" in peer else ""
        )


def name_of(pod: Pod) -> str:
    """`app/component`."""
    return f"{pod.app}/{pod.component}"


def _names_some(selector: Thing | None) -> bool:
    """Whether a selector names anything; without a name it takes all."""
    return bool(selector and (selector.get("matchLabels") or selector.get("matchExpressions")))


def _text(selector: Thing) -> str:
    said = [f"{key}={value}" for key, value in sorted(selector.get("matchLabels", {}).items())]
    said += [
        f"{rule['key']} {rule['operator']} {rule.get('values', '')}"
        for rule in selector.get("matchExpressions", ())
    ]
    return ",".join(said) or "*"


def _directions(policy: Thing) -> set[str]:
    said = policy["spec"].get("policyTypes")
    if said is None:
        return {"ingress", "egress"} if policy["spec"].get("egress") else {"ingress"}
    return {direction.lower() for direction in said}


def _takes(policy: Thing, pod: Pod) -> bool:
    return namespace_of(policy) == pod.namespace and selects(
        policy["spec"].get("podSelector", {}), pod.labels
    )


def _covers(rule: Thing, port: Port, target: Pod) -> bool:
    """Whether a rule's ports hold a port of the target."""
    if not rule.get("ports"):
        return True
    number, protocol = port
    for entry in rule["ports"]:
        if entry.get("protocol", "TCP") != protocol:
            continue
        said: Any = entry.get("port")
        if said is None or said == number or (isinstance(said, str) and number in _named(target, said)):
            return True
        if isinstance(said, int) and isinstance(number, int) and said <= number <= entry.get("endPort", said):
            return True
    return False


def _said(entry: Thing) -> Port:
    """A rule's port as it is written down."""
    port = entry.get("port", "any")
    return (f"{port}-{entry['endPort']}" if "endPort" in entry else port, entry.get("protocol", "TCP"))


def _named(target: Pod, name: str) -> set[int]:
    return {
        port["containerPort"]
        for container in target.serving
        for port in container.get("ports", ())
        if port.get("name") == name
    }
