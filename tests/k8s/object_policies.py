"""The checklist for a whole set of objects: that they fit together and give away no more than they must."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from joulestream.cluster.credentials import KEYS
from tests.k8s.pod_policies import RECOMMENDED
from tests.k8s.rendering import Thing, label_of
from tests.k8s.workloads import Pod, namespace_of, pods

Policy = Callable[[Sequence[Thing]], Iterator[str]]

# What is named by the manifests and made by somebody else: by whom.
MADE_ELSEWHERE = {
    **{("Secret", name): "the Job `credentials`, or your own secret store" for name in KEYS},
    **{
        ("Secret", name): "you, or cert-manager"
        for name in ("kafka-tls", "mongodb-tls", "exporter-tls", "dashboard-tls")
    },
    ("Secret", "dashboard-oidc"): "you: what the provider of the login told you",
    ("Secret", "mongodb-uri"): "you: the addresses of your own MongoDB",
    ("Secret", "joulestream-cluster-ca-cert"): "Strimzi",
}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass", "StorageClass"}
_LITERAL = re.compile(r"(PASSWORD|TOKEN|SECRET|CREDENTIAL|API_?KEY)$", re.IGNORECASE)
_CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@$]*:[^/\s@]+@", re.IGNORECASE)


def of_kind(things: Iterable[Thing], *kinds: str) -> Iterator[Thing]:
    """The objects of these kinds."""
    return (thing for thing in things if thing.get("kind") in kinds)


def selects(selector: Thing | None, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all, None takes none."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", ()):
        value, among = labels.get(rule["key"]), rule.get("values", ())
        holds = {
            "In": value in among,
            "NotIn": value not in among,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[rule["operator"]]:
            return False
    return True


def objects_have_labels(things: Sequence[Thing]) -> Iterator[str]:
    """Every object carries the recommended labels and belongs to this project."""
    for thing in things:
        labels = thing.get("metadata", {}).get("labels", {})
        # A namespace is the place of the components, not one of them.
        for label in RECOMMENDED if thing.get("kind") != "Namespace" else ():
            if not labels.get(label):
                yield f"{label_of(thing)}: no label {label}"
        if labels.get("app.kubernetes.io/part-of") != "joulestream":
            yield f"{label_of(thing)}: app.kubernetes.io/part-of is not joulestream"


def objects_name_their_namespace(things: Sequence[Thing]) -> Iterator[str]:
    """Nothing lands in whatever namespace is current."""
    for thing in things:
        if thing.get("kind") not in CLUSTER_WIDE and not thing.get("metadata", {}).get("namespace"):
            yield f"{label_of(thing)}: no namespace"


def namespaces_enforce_pod_security(things: Sequence[Thing]) -> Iterator[str]:
    """A namespace says which pods it admits, and warns of those that are not `restricted`."""
    for thing in of_kind(things, "Namespace"):
        labels = thing["metadata"].get("labels", {})
        level = labels.get("pod-security.kubernetes.io/enforce")
        if level not in {"restricted", "privileged"}:
            yield f"{label_of(thing)}: pod-security.kubernetes.io/enforce is {level}"
        if level == "privileged" and thing["metadata"]["name"] == "bigdata-pipeline":
            yield f"{label_of(thing)}: enforces nothing"


def no_secret_in_git(things: Sequence[Thing]) -> Iterator[str]:
    """No Secret is written down, and no ConfigMap holds what belongs into one."""
    for thing in of_kind(things, "Secret"):
        if thing.get("data") or thing.get("stringData"):
            yield f"{label_of(thing)}: holds data"
    for thing in of_kind(things, "ConfigMap"):
        for key, value in (thing.get("data") or {}).items():
            if _LITERAL.search(key) and value:
                yield f"{label_of(thing)}: {key} has a literal value"
            if _CREDENTIALS.search(value):
                yield f"{label_of(thing)}: {key} holds an address with a password"


def selectors_match(things: Sequence[Thing]) -> Iterator[str]:
    """A workload selects its own pods, and those of no other workload."""
    owned = [pod for pod in pods(things) if pod.owner["kind"] in {"Deployment", "StatefulSet", "DaemonSet"}]
    for thing in of_kind(things, "Deployment", "StatefulSet", "DaemonSet"):
        own = thing["spec"]["selector"]
        if not selects(own, thing["spec"]["template"]["metadata"].get("labels", {})):
            yield f"{label_of(thing)}: its selector does not match its own template"
        for pod in owned:
            other = pod.owner is not thing and pod.namespace == namespace_of(thing)
            if other and selects(own, pod.labels):
                yield f"{label_of(thing)}: its selector takes the pods of {pod.where}"


def _ports(pod: Pod) -> Iterator[Any]:
    for container in pod.serving:
        for port in container.get("ports", ()):
            yield port["containerPort"]
            if "name" in port:
                yield port["name"]


def services_have_endpoints(things: Sequence[Thing]) -> Iterator[str]:
    """A Service selects the pods of one workload, all of which have each of its ports."""
    everyone = list(pods(things))
    for thing in of_kind(things, "Service"):
        spec = thing["spec"]
        if spec.get("type") == "ExternalName" or not spec.get("selector"):
            continue
        ours = [
            pod
            for pod in everyone
            if pod.namespace == namespace_of(thing) and selects({"matchLabels": spec["selector"]}, pod.labels)
        ]
        if not ours:
            yield f"{label_of(thing)}: selects no pod"
        for port in spec.get("ports", ()):
            wanted = port.get("targetPort", port["port"])
            for pod in ours:
                if wanted not in set(_ports(pod)):
                    yield f"{label_of(thing)}: {pod.where} has no port {wanted}"


def _pod_references(pod: Pod) -> Iterator[tuple[str, str]]:
    spec = pod.spec
    yield "ServiceAccount", spec.get("serviceAccountName", "default")
    for pull in spec.get("imagePullSecrets", ()):
        yield "Secret", pull["name"]
    for volume in spec.get("volumes", ()):
        sources = [volume, *volume.get("projected", {}).get("sources", ())]
        for source in sources:
            for key, kind, name in (
                ("configMap", "ConfigMap", "name"),
                ("secret", "Secret", "secretName"),
                ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
            ):
                if key in source and not source[key].get("optional"):
                    yield kind, source[key].get(name) or source[key].get("name", "?")
    for container in pod.containers:
        wanted = [entry.get("valueFrom", {}) for entry in container.get("env", ())]
        wanted += container.get("envFrom", ())
        for source in wanted:
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("configMapRef", "ConfigMap")):
                if key in source:
                    yield kind, source[key]["name"]


def _object_references(thing: Thing) -> Iterator[tuple[str, str]]:
    """What an object that is no pod names."""
    if thing["kind"] == "StatefulSet":
        yield "Service", thing["spec"]["serviceName"]
    for entry in thing["spec"].get("tls", ()) if thing["kind"] == "Ingress" else ():
        yield "Secret", entry["secretName"]


def references_exist(things: Sequence[Thing]) -> Iterator[str]:
    """What is named is there, or is on the list of what is made elsewhere."""
    there = {(thing["kind"], namespace_of(thing), thing["metadata"]["name"]) for thing in things}
    found = [(pod.where, pod.namespace, set(_pod_references(pod))) for pod in pods(things)]
    found += [(label_of(thing), namespace_of(thing), set(_object_references(thing))) for thing in things]
    for where, namespace, references in found:
        for kind, name in sorted(references):
            if (kind, name) in MADE_ELSEWHERE or (kind, name) == ("ServiceAccount", "default"):
                continue
            if (kind, namespace, name) not in there:
                yield f"{where}: there is no {kind} {name} in {namespace}"


def keys_exist(things: Sequence[Thing]) -> Iterator[str]:
    """A file that a pod takes out of a ConfigMap, or out of a secret that the Job `credentials` makes, is in it."""
    has = {("Secret", name): set(keys) for name, keys in KEYS.items()}
    for thing in of_kind(things, "ConfigMap"):
        data = {*(thing.get("data") or ()), *(thing.get("binaryData") or ())}
        has["ConfigMap", thing["metadata"]["name"]] = data
    for pod in pods(things):
        for volume in pod.spec.get("volumes", ()):
            for key, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
                source = volume.get(key, {})
                for item in source.get("items", ()):
                    if item["key"] not in has.get((kind, source[name]), {item["key"]}):
                        yield f"{pod.where}: {kind} {source[name]} has no {item['key']}"


def volumes_fit(things: Sequence[Thing]) -> Iterator[str]:
    """Every mount has its volume, every volume a mount, and what lies in memory or on the node's disk a bound."""
    for pod in pods(things):
        claims = pod.owner.get("spec", {}).get("volumeClaimTemplates", ())
        named = {volume["name"] for volume in pod.spec.get("volumes", ())}
        made = {claim["metadata"]["name"] for claim in claims}
        used = {mount["name"] for one in pod.containers for mount in one.get("volumeMounts", ())}
        for name in sorted(used - named - made):
            yield f"{pod.where}: no volume {name}"
        for name in sorted((named | made) - used):
            yield f"{pod.where}: volume {name} is mounted nowhere"
        for volume in pod.spec.get("volumes", ()):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{pod.where}: volume {volume['name']} has no sizeLimit"


def probes_name_ports(things: Sequence[Thing]) -> Iterator[str]:
    """A probe asks a port that its container has."""
    for pod in pods(things):
        for container in pod.serving:
            has = {port.get("name") for port in container.get("ports", ())}
            has |= {port["containerPort"] for port in container.get("ports", ())}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                said = container.get(probe, {})
                for way in ("httpGet", "tcpSocket"):
                    if way in said and said[way]["port"] not in has:
                        yield f"{pod.where}: {container['name']}: {probe} asks port {said[way]['port']}"


POLICIES: dict[str, Policy] = {
    policy.__name__: policy
    for policy in (
        objects_have_labels,
        objects_name_their_namespace,
        namespaces_enforce_pod_security,
        no_secret_in_git,
        selectors_match,
        services_have_endpoints,
        references_exist,
        keys_exist,
        volumes_fit,
        probes_name_ports,
    )
}
