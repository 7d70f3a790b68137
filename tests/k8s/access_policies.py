"""Who may do what, and how pods are moved, scaled and reached from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tests.k8s.object_policies import of_kind, selects
from tests.k8s.rendering import Thing, label_of
from tests.k8s.workloads import namespace_of, pods

Policy = Callable[[Sequence[Thing]], Iterator[str]]
# Rights over these are rights over everything else.
_POWERFUL = {
    "secrets",
    "roles",
    "rolebindings",
    "clusterroles",
    "clusterrolebindings",
    "serviceaccounts/token",
}
_HARMLESS = {"create"}


def roles_are_small(things: Sequence[Thing]) -> Iterator[str]:
    """No wildcard, nothing of the whole cluster, and no reading or changing of secrets and roles."""
    for thing in of_kind(things, "ClusterRole", "ClusterRoleBinding"):
        yield f"{label_of(thing)}: reaches over the whole cluster"
    for thing in of_kind(things, "Role", "ClusterRole"):
        for rule in thing.get("rules") or ():
            for field in ("apiGroups", "resources", "verbs"):
                if any("*" in value for value in rule.get(field, ())):
                    yield f"{label_of(thing)}: {field} has a wildcard"
            powerful = _POWERFUL & set(rule.get("resources", ()))
            if powerful - {"secrets"} or (powerful and set(rule["verbs"]) - _HARMLESS):
                yield f"{label_of(thing)}: {', '.join(rule['verbs'])} on {', '.join(sorted(powerful))}"
            if {"pods/exec", "pods/attach", "escalate", "bind", "impersonate"} & {
                *rule["resources"],
                *rule["verbs"],
            }:
                yield f"{label_of(thing)}: lets its holder act as others"


def bindings_are_used(things: Sequence[Thing]) -> Iterator[str]:
    """A role is bound to accounts that exist and that pods run as; every token has a role."""
    everyone = list(pods(things))
    run_as = {(pod.namespace, pod.spec.get("serviceAccountName", "default")) for pod in everyone}
    there = {(thing["kind"], namespace_of(thing), thing["metadata"]["name"]) for thing in things}
    bound, entitled = set(), set()
    for thing in of_kind(things, "RoleBinding"):
        role = thing["roleRef"]
        bound.add((role["kind"], namespace_of(thing), role["name"]))
        if role["kind"] == "Role" and ("Role", namespace_of(thing), role["name"]) not in there:
            yield f"{label_of(thing)}: there is no Role {role['name']}"
        for subject in thing.get("subjects", ()):
            if subject["kind"] != "ServiceAccount":
                yield f"{label_of(thing)}: gives rights to a {subject['kind']}"
            elif (subject.get("namespace", namespace_of(thing)), subject["name"]) not in run_as:
                yield f"{label_of(thing)}: no pod runs as {subject['name']}"
            entitled.add(subject["name"])
    for thing in of_kind(things, "Role"):
        if ("Role", namespace_of(thing), thing["metadata"]["name"]) not in bound:
            yield f"{label_of(thing)}: is bound to nobody"
    for pod in everyone:
        if (
            pod.spec.get("automountServiceAccountToken")
            and pod.spec.get("serviceAccountName") not in entitled
        ):
            yield f"{pod.where}: carries a token that gives it no right"


def accounts_carry_no_token(things: Sequence[Thing]) -> Iterator[str]:
    """An account gives its token to no pod that does not ask for it."""
    for thing in of_kind(things, "ServiceAccount"):
        if thing.get("automountServiceAccountToken") is not False:
            yield f"{label_of(thing)}: automountServiceAccountToken is not false"


def _replicas(things: Sequence[Thing], selector: Thing, namespace: str) -> int | None:
    """How many pods a selector takes; None where an operator or a HorizontalPodAutoscaler decides."""
    total = 0
    for pod in pods(things):
        if pod.namespace == namespace and selects(selector, pod.labels):
            count = pod.owner.get("spec", {}).get("replicas")
            if count is None:
                return None
            total += count
    return total


def budgets_let_nodes_drain(things: Sequence[Thing]) -> Iterator[str]:
    """A PodDisruptionBudget takes pods that exist, and leaves at least one that may go."""
    for thing in of_kind(things, "PodDisruptionBudget"):
        spec = thing["spec"]
        count = _replicas(things, spec["selector"], namespace_of(thing))
        if count == 0:
            yield f"{label_of(thing)}: selects no pod"
        least = spec.get("minAvailable")
        if least is not None and (least == "100%" or (isinstance(least, int) and count and least >= count)):
            yield f"{label_of(thing)}: minAvailable {least} of {count} lets no pod go"
        if spec.get("maxUnavailable") in {0, "0%"}:
            yield f"{label_of(thing)}: maxUnavailable 0 lets no pod go"


def _is_spread(spec: Thing) -> bool:
    """Whether the scheduler keeps pods of one kind apart, or tries to."""
    apart = spec.get("affinity", {}).get("podAntiAffinity", {})
    preferred = apart.get("preferredDuringSchedulingIgnoredDuringExecution", ())
    terms = [
        *spec.get("topologySpreadConstraints", ()),
        *apart.get("requiredDuringSchedulingIgnoredDuringExecution", ()),
        *(one["podAffinityTerm"] for one in preferred),
    ]
    return any(term["topologyKey"] == "kubernetes.io/hostname" for term in terms)


def copies_outlive_a_node(things: Sequence[Thing]) -> Iterator[str]:
    """What runs more than once is spread over nodes, and a PodDisruptionBudget lets it go piece by piece."""
    scaled = {
        (namespace_of(one), one["spec"]["scaleTargetRef"]["kind"], one["spec"]["scaleTargetRef"]["name"])
        for one in of_kind(things, "HorizontalPodAutoscaler")
    }
    budgets = of_kind(things, "PodDisruptionBudget")
    for pod in pods(things):
        kind, name = pod.owner["kind"], pod.owner["metadata"]["name"]
        several = pod.owner["spec"].get("replicas", 1) if kind in {"Deployment", "StatefulSet"} else 1
        if several == 1 and (pod.namespace, kind, name) not in scaled:
            continue
        if not _is_spread(pod.spec):
            yield f"{pod.where}: all of its pods may be on one node"
        if not any(
            namespace_of(one) == pod.namespace and selects(one["spec"]["selector"], pod.labels)
            for one in budgets
        ):
            yield f"{pod.where}: no PodDisruptionBudget takes its pods"


def autoscalers_own_their_replicas(things: Sequence[Thing]) -> Iterator[str]:
    """What a HorizontalPodAutoscaler scales exists, and no manifest sets its replicas back at each apply."""
    for thing in of_kind(things, "HorizontalPodAutoscaler"):
        target = thing["spec"]["scaleTargetRef"]
        found = [
            one
            for one in of_kind(things, target["kind"])
            if one["metadata"]["name"] == target["name"] and namespace_of(one) == namespace_of(thing)
        ]
        if not found:
            yield f"{label_of(thing)}: there is no {target['kind']} {target['name']}"
        for one in found:
            if "replicas" in one["spec"]:
                yield f"{label_of(one)}: sets replicas, which {label_of(thing)} decides"


def ingresses_are_encrypted(things: Sequence[Thing]) -> Iterator[str]:
    """Every host of an Ingress has a certificate, and its backend is a port of a Service."""
    services = {(namespace_of(one), one["metadata"]["name"]): one for one in of_kind(things, "Service")}
    for thing in of_kind(things, "Ingress"):
        secured = {host for entry in thing["spec"].get("tls", ()) for host in entry.get("hosts", ())}
        for rule in thing["spec"].get("rules", ()):
            if rule.get("host") not in secured:
                yield f"{label_of(thing)}: {rule.get('host', 'any host')} has no certificate"
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = services.get((namespace_of(thing), backend["name"]))
                has = {
                    value
                    for port in (service or {}).get("spec", {}).get("ports", ())
                    for value in port.values()
                }
                if not {backend["port"].get("name"), backend["port"].get("number")} & has:
                    yield f"{label_of(thing)}: no Service {backend['name']} with that port"


def services_stay_inside(things: Sequence[Thing]) -> Iterator[str]:
    """Nothing is opened on the nodes' own addresses or by a load balancer; an Ingress is the way in."""
    for thing in of_kind(things, "Service"):
        if thing["spec"].get("type", "ClusterIP") not in {"ClusterIP", "ExternalName"} or thing["spec"].get(
            "externalIPs"
        ):
            yield f"{label_of(thing)}: is reachable from outside the cluster"


def scheduled_work_ends(things: Sequence[Thing]) -> Iterator[str]:
    """A CronJob never runs twice at a time; what hangs is ended, and old runs are cleared away."""
    for thing in of_kind(things, "CronJob"):
        if thing["spec"].get("concurrencyPolicy") != "Forbid":
            yield f"{label_of(thing)}: may run twice at a time"
        if not thing["spec"]["jobTemplate"]["spec"].get("activeDeadlineSeconds"):
            yield f"{label_of(thing)}: no activeDeadlineSeconds"


POLICIES: dict[str, Policy] = {
    policy.__name__: policy
    for policy in (
        roles_are_small,
        bindings_are_used,
        accounts_carry_no_token,
        budgets_let_nodes_drain,
        copies_outlive_a_node,
        autoscalers_own_their_replicas,
        ingresses_are_encrypted,
        services_stay_inside,
        scheduled_work_ends,
    )
}
