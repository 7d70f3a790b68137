"""The checklist for one pod. Each policy names what breaks it; nothing means that the pod keeps it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.k8s.workloads import Pod

Policy = Callable[[Pod], Iterator[str]]

# Pods that speak with the API server, by `app` and component, and why. No other pod carries a token.
TOKENS = {
    ("energy-streaming-job", "driver"): "Spark's Kubernetes master makes executor pods and watches them",
    ("credentials", "setup"): "makes the secrets with random passwords where there are none",
}
# Pods that may not be `restricted`, by namespace and `app`, and why; the namespace is one of their own.
PRIVILEGED = {
    (
        "joulestream-node",
        "node-agent",
    ): "the energy counters of processors are hidden from ordinary containers",
}
# How long each may take to stop in good order, by its label `app` (s), as the local stack has it: a test compares.
DRAIN_S = {
    "kafka": 45.0,
    "mongodb": 30.0,
    "energy-streaming-job": 60.0,
    "node-agent": 15.0,
    "alerts": 15.0,
    "dashboard": 10.0,
    "trainer": 20.0,
    "reconcile": 30.0,
    "retrain": 30.0,
}
LEAST_PROBE_S = 5
RECOMMENDED = ("app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of")
_SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIAL|API_?KEY|PRIVATE_?KEY)", re.IGNORECASE)
_CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
_TAGGED = re.compile(
    r"^[^:@\s]+(:\d+)?(/[^:@\s]+)*(:(?P<tag>[\w][\w.-]{0,127}))?(@sha256:(?P<digest>[0-9a-f]{64}))?$"
)


def has_requests_and_limits(pod: Pod) -> Iterator[str]:
    """CPU and memory are asked for and bounded, so that no pod starves its node."""
    for container in pod.containers:
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            for resource in ("cpu", "memory"):
                given = f"{container['name']}.{resource}" in pod.given
                if resource not in resources.get(kind, {}) and not given:
                    yield f"{container['name']}: no {kind}.{resource}"


def has_probes(pod: Pod) -> Iterator[str]:
    """What serves says when it has started, when it can serve and when it hangs. Spark watches its executors."""
    for container in pod.serving if pod.lasts else ():
        if f"{container['name']}.probes" in pod.given:
            continue
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if f"{container['name']}.{probe}" in pod.given:
                continue
            if not {"exec", "httpGet", "tcpSocket", "grpc"} & set(container.get(probe, {})):
                yield f"{container['name']}: no {probe}"


def probes_have_time(pod: Pod) -> Iterator[str]:
    """A probe may take some seconds: on a busy node one second, the default, ends pods that are well."""
    for container in pod.containers:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container and container[probe].get("timeoutSeconds", 1) < LEAST_PROBE_S:
                yield f"{container['name']}: {probe} has less than {LEAST_PROBE_S} s"


def does_not_run_as_root(pod: Pod) -> Iterator[str]:
    """`runAsNonRoot` is said, and no user is 0."""
    whole = pod.spec.get("securityContext", {})
    for container in pod.containers:
        context = {**whole, **container.get("securityContext", {})}
        if context.get("runAsNonRoot") is not True:
            yield f"{container['name']}: runAsNonRoot is not true"
        if context.get("runAsUser") == 0 or context.get("runAsGroup") == 0:
            yield f"{container['name']}: runs as user or group 0"


def has_read_only_root(pod: Pod) -> Iterator[str]:
    """The image's files cannot be changed; what is written goes to volumes."""
    for container in pod.containers:
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: readOnlyRootFilesystem is not true"


def drops_all_capabilities(pod: Pod) -> Iterator[str]:
    """No capability is kept or added."""
    for container in pod.containers:
        capabilities = container.get("securityContext", {}).get("capabilities", {})
        if capabilities.get("drop") != ["ALL"]:
            yield f"{container['name']}: does not drop ALL capabilities"
        if capabilities.get("add"):
            yield f"{container['name']}: adds capabilities {capabilities['add']}"


def cannot_gain_privileges(pod: Pod) -> Iterator[str]:
    """Not privileged, no setuid, nothing of the host."""
    for container in pod.containers:
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{container['name']}: can gain privileges"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield f"{container['name']}: takes a port of the host"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield f"{name} is set"
    for volume in pod.spec.get("volumes", ()):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a folder of the host"


def has_seccomp(pod: Pod) -> Iterator[str]:
    """The runtime's filter of system calls is on for each container."""
    whole = pod.spec.get("securityContext", {}).get("seccompProfile")
    for container in pod.containers:
        profile = container.get("securityContext", {}).get("seccompProfile", whole)
        if (profile or {}).get("type") != "RuntimeDefault":
            yield f"{container['name']}: seccompProfile is not RuntimeDefault"


def carries_no_token(pod: Pod) -> Iterator[str]:
    """Only pods that speak with the API server carry its token, under an account of their own."""
    mounted = pod.spec.get("automountServiceAccountToken")
    account = pod.spec.get("serviceAccountName", "default")
    if (pod.app, pod.component) in TOKENS:
        if account == "default":
            yield "speaks with the API server as the namespace's default account"
        return
    if mounted is not False:
        yield "automountServiceAccountToken is not false"
    for volume in pod.spec.get("volumes", ()):
        sources = volume.get("projected", {}).get("sources", ())
        if any("serviceAccountToken" in source for source in sources):
            yield f"volume {volume['name']} is a token"


def has_no_literal_secret(pod: Pod) -> Iterator[str]:
    """Secrets come from files: no environment, argument or probe holds one, or names it by value."""
    for container in pod.containers:
        for variable in container.get("env", ()):
            name, value = variable["name"], str(variable.get("value", ""))
            a_path = name.endswith(("_FILE", "_FILES")) and value.startswith("/")
            if _SECRET_NAME.search(name) and value and not a_path:
                yield f"{container['name']}: {name} has a literal value"
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield f"{container['name']}: {name} puts a secret into the environment; mount it as a file"
        for source in container.get("envFrom", ()):
            if "secretRef" in source:
                yield f"{container['name']}: envFrom puts a whole secret into the environment"
        if _CREDENTIALS.search(str(container)):
            yield f"{container['name']}: an address with a password in it"


def has_recommended_labels(pod: Pod) -> Iterator[str]:
    """People and tools find a pod by `app` and the recommended labels."""
    for label in ("app", *RECOMMENDED):
        if not pod.labels.get(label):
            yield f"no label {label}"
    if pod.labels.get("app.kubernetes.io/part-of") not in (None, "joulestream"):
        yield "app.kubernetes.io/part-of is not joulestream"


def has_pinned_images(pod: Pod) -> Iterator[str]:
    """An image is named with its registry, and by tag or digest, never by what is newest."""
    for container in pod.containers:
        image = str(container.get("image", ""))
        if not image and f"{container['name']}.image" in pod.given:
            continue
        match = _TAGGED.match(image)
        if not match or (match["tag"] in {None, "latest"} and not match["digest"]):
            yield f"{container['name']}: image {image!r} has neither tag nor digest"
        elif "." not in image.split("/")[0]:
            yield f"{container['name']}: image {image!r} does not name its registry"


def has_no_service_links(pod: Pod) -> Iterator[str]:
    """Variables such as KAFKA_PORT, which the kubelet makes of Services, would be taken for settings."""
    if pod.spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false"


def has_time_to_stop(pod: Pod) -> Iterator[str]:
    """The kubelet waits longer for the end than the component takes, its hook before the stop included."""
    grace = pod.spec.get("terminationGracePeriodSeconds")
    if grace is None:
        yield "terminationGracePeriodSeconds is not said"
        return
    # An executor is stateless: what it was at is done again by another.
    drain = 0.0 if pod.component == "executor" else DRAIN_S.get(pod.app, 0.0)
    for container in pod.serving:
        hook = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if grace <= drain + hook:
            yield f"{container['name']}: {grace} s to stop, and it may take {drain + hook:g}"


POLICIES: dict[str, Policy] = {
    policy.__name__: policy
    for policy in (
        has_requests_and_limits,
        has_probes,
        probes_have_time,
        does_not_run_as_root,
        has_read_only_root,
        drops_all_capabilities,
        cannot_gain_privileges,
        has_seccomp,
        carries_no_token,
        has_no_literal_secret,
        has_recommended_labels,
        has_pinned_images,
        has_no_service_links,
        has_time_to_stop,
    )
}
# What Pod Security calls `restricted`, which a pod of PRIVILEGED is excused from.
RESTRICTED = {"does_not_run_as_root", "drops_all_capabilities", "cannot_gain_privileges"}


def broken(policy: str, pod: Pod) -> list[str]:
    """How a pod breaks a policy, each with the object's name; empty if it keeps it."""
    if policy in RESTRICTED and (pod.namespace, pod.app) in PRIVILEGED:
        return []
    return [f"{pod.where}: {what}" for what in POLICIES[policy](pod)]
