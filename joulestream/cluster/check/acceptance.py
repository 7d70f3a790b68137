"""What the API server says of every overlay, and whether `restricted` lets each pod in. Nothing is left behind."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from joulestream.cluster.check.kubectl import Kubectl, KubectlError, Object, as_list, name_of, pod_template

SCRATCH = "joulestream-check"
HOME = "bigdata-pipeline"
ENFORCE = "pod-security.kubernetes.io/enforce"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one overlay: objects accepted, kinds that the cluster does not know, pods let in by policy."""

    accepted: int
    unknown: tuple[str, ...]
    pods: dict[str, int]
    errors: tuple[str, ...]

    def __str__(self) -> str:
        pods = ", ".join(f"{count} pods as {policy}" for policy, count in sorted(self.pods.items()) if count)
        unknown = f"; not on this cluster: {', '.join(self.unknown)}" if self.unknown else ""
        return f"{self.accepted} objects and {pods or 'no pods'} accepted{unknown}"


def overlays(root: Path) -> list[Path]:
    """The base and every overlay, as folders."""
    found = sorted(file.parent for file in (root / "overlays").rglob("kustomization.yaml"))
    return [root / "base", *found]


def judge(kubectl: Kubectl, objects: Sequence[Object]) -> Verdict:
    """Ask the API server about all objects of an overlay, in namespaces made for it, and remove those."""
    known = _known_kinds(kubectl)
    unknown = sorted({one["kind"] for one in objects if (one["apiVersion"], one["kind"]) not in known})
    asked = [one for one in objects if (one["apiVersion"], one["kind"]) in known]
    # An overlay that brings no namespace goes into the one of the base.
    policies = {HOME: {ENFORCE: "restricted"}} | {
        one["metadata"]["name"]: one["metadata"].get("labels", {})
        for one in asked
        if one["kind"] == "Namespace"
    }
    with _scratch(kubectl, policies) as scratch:
        moved = [_moved(one, scratch) for one in asked]
        accepted, errors = _asked(kubectl, moved)
        pods: dict[str, int] = {}
        for name, policy in scratch.values():
            mine = [
                pod for pod in map(_pod, moved) if pod is not None and pod["metadata"]["namespace"] == name
            ]
            n, refused = _asked(kubectl, mine)
            pods[policy] = pods.get(policy, 0) + n
            errors += refused
    return Verdict(accepted, tuple(unknown), pods, tuple(errors))


def refuses_privileged(kubectl: Kubectl) -> str | None:
    """None if a privileged pod is refused where pods must be restricted, else what happened."""
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "privileged", "namespace": ""},
        "spec": {"containers": [{"name": "a", "image": "a:1", "securityContext": {"privileged": True}}]},
    }
    with _scratch(kubectl, {HOME: {ENFORCE: "restricted"}}) as scratch:
        pod["metadata"]["namespace"] = scratch[HOME][0]
        _, errors = _asked(kubectl, [pod])
    if any("PodSecurity" in error for error in errors):
        return None
    return "; ".join(errors) or "a privileged pod was let in"


def _known_kinds(kubectl: Kubectl) -> set[tuple[str, str]]:
    lines = kubectl("api-resources", "--no-headers").splitlines()
    return {(words[-3], words[-1]) for words in map(str.split, lines) if len(words) >= 4}


@contextmanager
def _scratch(kubectl: Kubectl, policies: dict[str, dict[str, str]]) -> Iterator[dict[str, tuple[str, str]]]:
    """A namespace with the same policy for each of an overlay's: its name and its policy, by the overlay's name."""
    names = {
        name: (f"{SCRATCH}-{n}", labels.get(ENFORCE, "privileged"))
        for n, (name, labels) in enumerate(policies.items())
    }
    try:
        for name, labels in policies.items():
            made = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": names[name][0], "labels": labels},
            }
            kubectl("apply", "-f", "-", given=as_list([made]))
        yield names
    finally:
        for scratch, _ in names.values():
            kubectl("delete", "namespace", scratch, "--ignore-not-found", "--wait=true", timeout_s=120)


def _moved(one: Object, scratch: dict[str, tuple[str, str]]) -> Object:
    moved = copy.deepcopy(one)
    meta = moved["metadata"]
    if one["kind"] == "Namespace":
        meta["name"] = f"{scratch[meta['name']][0]}-asked"
    elif meta.get("namespace") in scratch:
        meta["namespace"] = scratch[meta["namespace"]][0]
    return moved


def _pod(one: Object) -> Object | None:
    template = pod_template(one)
    if template is None:
        return None
    spec = copy.deepcopy(template["spec"])
    # The account must exist when a pod is posted, and nothing of the overlay does here; a StatefulSet adds its volumes.
    spec["serviceAccountName"] = "default"
    claims = one["spec"].get("volumeClaimTemplates", ()) if one["kind"] == "StatefulSet" else ()
    volumes = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
    spec["volumes"] = [*spec.get("volumes", ()), *volumes]
    name = f"{one['metadata']['name']}-pod"[:60]
    where = one["metadata"].get("namespace", "default")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": where}, "spec": spec}


def _asked(kubectl: Kubectl, objects: Sequence[Object]) -> tuple[int, list[str]]:
    """How many the API server would take, and what it says of the others."""
    if not objects:
        return 0, []
    try:
        _create(kubectl, objects)
    except KubectlError as error:
        if len(objects) > 1:
            each = [_asked(kubectl, [one]) for one in objects]
            return sum(n for n, _ in each), [text for _, texts in each for text in texts]
        if "already exists" in str(error):  # cluster-wide objects of a stack that runs
            return 1, []
        return 0, [f"{name_of(objects[0])}: {error}"]
    return len(objects), []


def _create(kubectl: Kubectl, objects: Sequence[Object]) -> None:
    given = as_list(list(objects))
    kubectl(
        "create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-", given=given, timeout_s=180
    )
