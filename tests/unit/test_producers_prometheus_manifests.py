"""The component for Kubernetes, added to an overlay, renders, is valid and keeps the checklist of pods."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.k8s import pod_policies
from tests.k8s.judging import errors
from tests.k8s.rendering import HOW, K8S, Thing, kubectl, label_of, render
from tests.k8s.workloads import pods

pytestmark = pytest.mark.skipif(kubectl() is None, reason=HOW)
COMPONENT = K8S / "components" / "prometheus-ingest"


def rendered(folder: Path, overlay: str, *components: Path) -> tuple[Thing, ...]:
    """The objects of an overlay with components, without what the overlay has alone."""
    folder.mkdir()
    resources = os.path.relpath(K8S / "overlays" / overlay, folder)
    added = "".join(f"  - {os.path.relpath(path, folder)}\n" for path in components)
    kind = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    (folder / "kustomization.yaml").write_text(f"{kind}resources: [{resources}]\ncomponents:\n{added}")
    made = render(folder.name, folder.parent)
    assert made.failure == ""
    return tuple(thing for thing in made.things if "prometheus-ingest" in label_of(thing))


def test_the_component_adds_one_restricted_pod_and_its_flows(tmp_path: Path) -> None:
    things = rendered(tmp_path / "made", "dev", COMPONENT)
    assert {label_of(thing) for thing in things} == {
        "ServiceAccount/prometheus-ingest",
        "PersistentVolumeClaim/prometheus-ingest",
        "Deployment/prometheus-ingest",
        "NetworkPolicy/prometheus-ingest",
        "NetworkPolicy/kafka-prometheus-ingest",
    }
    assert [f"{label_of(thing)}: {said}" for thing in things for said in errors(thing)] == []
    (pod,) = pods(things)
    assert [said for policy in pod_policies.POLICIES for said in pod_policies.broken(policy, pod)] == []


def test_where_kafka_asks_for_a_password_the_pod_has_it(tmp_path: Path) -> None:
    things = rendered(tmp_path / "made", "prod", COMPONENT, COMPONENT / "sasl-tls")
    (pod,) = pods(things)
    given = {entry["name"]: entry["value"] for entry in pod.spec["containers"][0]["env"]}
    assert given["JOULE_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    mounted = {entry["mountPath"] for entry in pod.spec["containers"][0]["volumeMounts"]}
    for name in ("JOULE_KAFKA_PASSWORD_FILE", "JOULE_KAFKA_CA_FILE"):
        assert str(Path(given[name]).parent) in mounted
    assert [f"{label_of(thing)}: {said}" for thing in things for said in errors(thing)] == []
    assert [said for policy in pod_policies.POLICIES for said in pod_policies.broken(policy, pod)] == []
