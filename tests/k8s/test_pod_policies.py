"""Each pod policy sees the fault that it is for, put into a real pod of the manifests that keeps it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from conf.settings import Settings
from joulestream.local import services
from joulestream.local.broker import broker_service
from joulestream.local.java import Java
from joulestream.local.store import DocumentServer, store_service
from tests.k8s.pod_policies import DRAIN_S, POLICIES, broken
from tests.k8s.rendering import Thing
from tests.k8s.workloads import pods

ThingsOf = Callable[[str], tuple[Thing, ...]]
Change = Callable[[Thing], object]


def _container(spec: Thing) -> Thing:
    container: Thing = spec["containers"][0]
    return container


def _context(spec: Thing) -> Thing:
    context: Thing = _container(spec)["securityContext"]
    return context


def _env(name: str, value: str) -> Change:
    return lambda spec: _container(spec).setdefault("env", []).append({"name": name, "value": value})


def _from_secret(spec: Thing) -> None:
    reference = {"secretKeyRef": {"name": "mongodb-credentials", "key": "reader-password"}}
    _container(spec)["env"].append({"name": "X", "valueFrom": reference})


def _sidecar(spec: Thing) -> None:
    spec["initContainers"] = [
        {**deepcopy(_container(spec)), "name": "beside", "restartPolicy": "Always", "livenessProbe": {}}
    ]


def _first(spec: Thing) -> None:
    spec["initContainers"] = [{**deepcopy(_container(spec)), "name": "first", "resources": {}}]


def _token_volume(spec: Thing) -> None:
    spec["volumes"].append({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})


def _image(name: str) -> Change:
    return lambda spec: _container(spec).update(image=name)


FAULTS: list[tuple[str, str, Change]] = [
    ("has_requests_and_limits", "no limits", lambda spec: _container(spec)["resources"].pop("limits")),
    (
        "has_requests_and_limits",
        "no memory asked for",
        lambda s: _container(s)["resources"]["requests"].pop("memory"),
    ),
    ("has_requests_and_limits", "an unbounded first container", _first),
    ("has_probes", "no startup probe", lambda spec: _container(spec).pop("startupProbe")),
    ("has_probes", "no readiness probe", lambda spec: _container(spec).pop("readinessProbe")),
    (
        "has_probes",
        "a liveness probe that asks nothing",
        lambda spec: _container(spec)["livenessProbe"].pop("httpGet"),
    ),
    ("has_probes", "a sidecar without one", _sidecar),
    (
        "probes_have_time",
        "the default",
        lambda spec: _container(spec)["livenessProbe"].pop("timeoutSeconds"),
    ),
    (
        "probes_have_time",
        "too little",
        lambda spec: _container(spec)["readinessProbe"].update(timeoutSeconds=2),
    ),
    ("does_not_run_as_root", "root", lambda spec: spec["securityContext"].update(runAsUser=0)),
    ("does_not_run_as_root", "root in the container", lambda spec: _context(spec).update(runAsUser=0)),
    ("does_not_run_as_root", "group 0", lambda spec: spec["securityContext"].update(runAsGroup=0)),
    ("does_not_run_as_root", "not said", lambda spec: spec["securityContext"].pop("runAsNonRoot")),
    ("has_read_only_root", "writable", lambda spec: _context(spec).update(readOnlyRootFilesystem=False)),
    ("has_read_only_root", "not said", lambda spec: _context(spec).pop("readOnlyRootFilesystem")),
    ("drops_all_capabilities", "keeps them", lambda spec: _context(spec).pop("capabilities")),
    (
        "drops_all_capabilities",
        "adds one",
        lambda spec: _context(spec)["capabilities"].update(add=["SYS_ADMIN"]),
    ),
    ("cannot_gain_privileges", "not said", lambda spec: _context(spec).pop("allowPrivilegeEscalation")),
    ("cannot_gain_privileges", "privileged", lambda spec: _context(spec).update(privileged=True)),
    ("cannot_gain_privileges", "host network", lambda spec: spec.update(hostNetwork=True)),
    ("cannot_gain_privileges", "host port", lambda spec: _container(spec)["ports"][0].update(hostPort=80)),
    (
        "cannot_gain_privileges",
        "a host's folder",
        lambda s: s["volumes"].append({"name": "h", "hostPath": {}}),
    ),
    ("has_seccomp", "none", lambda spec: spec["securityContext"].pop("seccompProfile")),
    ("has_seccomp", "unconfined", lambda spec: _context(spec).update(seccompProfile={"type": "Unconfined"})),
    ("carries_no_token", "not said", lambda spec: spec.pop("automountServiceAccountToken")),
    ("carries_no_token", "mounted", lambda spec: spec.update(automountServiceAccountToken=True)),
    ("carries_no_token", "as a volume", _token_volume),
    ("has_no_literal_secret", "a password", _env("JOULE_MONGODB_PASSWORD", "hunter2")),
    ("has_no_literal_secret", "a password as a file's name", _env("JOULE_MONGODB_PASSWORD_FILE", "hunter2")),
    ("has_no_literal_secret", "a token", _env("JOULE_EXPORTER_TOKEN", "abc")),
    (
        "has_no_literal_secret",
        "an address with one",
        _env("JOULE_MONGODB_URI", "mongodb://joe:hunter2@mongodb/"),
    ),
    ("has_no_literal_secret", "in the environment", _from_secret),
    (
        "has_no_literal_secret",
        "a whole secret",
        lambda spec: _container(spec)["envFrom"].append({"secretRef": {"name": "mongodb-credentials"}}),
    ),
    (
        "has_no_literal_secret",
        "in the arguments",
        lambda spec: _container(spec)["command"].append("--store=mongodb://joe:hunter2@mongodb/"),
    ),
    ("has_pinned_images", "no tag", _image("docker.io/joulestream/dashboard")),
    ("has_pinned_images", "latest", _image("docker.io/joulestream/dashboard:latest")),
    ("has_pinned_images", "no registry", _image("joulestream/dashboard:0.1.0")),
    ("has_pinned_images", "half a digest", _image("docker.io/joulestream/dashboard@sha256:abc")),
    ("has_time_to_stop", "not said", lambda spec: spec.pop("terminationGracePeriodSeconds")),
    ("has_time_to_stop", "as long as it takes", lambda spec: spec.update(terminationGracePeriodSeconds=10)),
    (
        "has_time_to_stop",
        "a hook that takes it all",
        lambda spec: _container(spec).update(lifecycle={"preStop": {"sleep": {"seconds": 25}}}),
    ),
    ("has_no_service_links", "not said", lambda spec: spec.pop("enableServiceLinks")),
    ("has_no_service_links", "on", lambda spec: spec.update(enableServiceLinks=True)),
]


def dashboard(things: tuple[Thing, ...]) -> Thing:
    """A copy of the dashboard's Deployment, to be broken."""
    found = [one for one in things if one["kind"] == "Deployment" and one["metadata"]["name"] == "dashboard"]
    return deepcopy(found[0])


@pytest.mark.parametrize(
    ("policy", "change"),
    [pytest.param(policy, change, id=f"{policy}: {fault}") for policy, fault, change in FAULTS],
)
def test_a_fault_is_seen(things_of: ThingsOf, policy: str, change: Change) -> None:
    thing = dashboard(things_of("base"))
    (pod,) = pods([thing])
    assert broken(policy, pod) == []
    change(pod.spec)
    assert broken(policy, pod) != []
    assert all(said.startswith("Deployment/dashboard: ") for said in broken(policy, pod))


@pytest.mark.parametrize("label", ["app", "app.kubernetes.io/name", "app.kubernetes.io/component"])
def test_a_missing_label_is_seen(things_of: ThingsOf, label: str) -> None:
    thing = dashboard(things_of("base"))
    (pod,) = pods([thing])
    assert broken("has_recommended_labels", pod) == []
    del pod.labels[label]
    assert broken("has_recommended_labels", pod) == [f"Deployment/dashboard: no label {label}"]


def test_another_projects_label_is_seen(things_of: ThingsOf) -> None:
    (pod,) = pods([dashboard(things_of("base"))])
    pod.labels["app.kubernetes.io/part-of"] = "something-else"
    assert broken("has_recommended_labels", pod) != []


def test_a_pod_that_speaks_with_the_api_server_has_an_account_of_its_own(things_of: ThingsOf) -> None:
    things = [deepcopy(one) for one in things_of("base") if one["metadata"]["name"] == "energy-streaming-job"]
    (pod,) = pods(things)
    assert broken("carries_no_token", pod) == []
    pod.spec.pop("serviceAccountName")
    assert broken("carries_no_token", pod) != []


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.org:5000/joulestream/stream:0.1.0",
        "docker.io/library/mongo:7.0",
        f"docker.io/joulestream/stream@sha256:{'0' * 64}",
        f"docker.io/joulestream/stream:0.1.0@sha256:{'0' * 64}",
    ],
)
def test_tags_and_digests_are_both_good(things_of: ThingsOf, image: str) -> None:
    (pod,) = pods([dashboard(things_of("base"))])
    pod.spec["containers"][0]["image"] = image
    assert broken("has_pinned_images", pod) == []


def test_a_task_needs_no_probes_and_a_server_does(things_of: ThingsOf) -> None:
    server: dict[str, Any] = dashboard(things_of("base"))
    template = server["spec"]["template"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        del template["spec"]["containers"][0][probe]
    task = {"kind": "Job", "metadata": {"name": "task"}, "spec": {"template": template}}
    assert [len(broken("has_probes", pod)) for pod in pods([server, task])] == [3, 0]


def test_the_time_to_stop_is_the_one_of_the_local_stack(tmp_path: Path) -> None:
    java, settings, log = Java(tmp_path, 21, "here"), Settings(data_dir=tmp_path), tmp_path / "log"
    server = DocumentServer("any", "any", tmp_path / "server")
    known = {
        "kafka": broker_service(tmp_path, 1, 2, java, log),
        "mongodb": store_service(tmp_path, 1, server, log),
        "energy-streaming-job": services.stream_service(settings, java, log),
        "node-agent": services.agent_service(settings, log),
        "alerts": services.alerts_service(settings, log),
        "dashboard": services.dashboard_service(settings, log),
        "trainer": services.demo_service(settings, log),
        "reconcile": services.reconcile_service(settings, java, log),
        "retrain": services.retrain_service(settings, java, log),
    }
    assert {name: service.stop_timeout_s for name, service in known.items()} == DRAIN_S


def test_every_policy_is_seen_to_fail() -> None:
    assert {policy for policy, _, _ in FAULTS} | {"has_recommended_labels"} == set(POLICIES)
