"""kubectl, as a person would call it: the same command, its errors as sentences."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import PipelineError

Object = dict[str, Any]
KINDS_WITH_PODS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "PodTemplate")


class KubectlError(PipelineError):
    """kubectl failed; the message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Calls of kubectl in one namespace (none: as the objects say), on the cluster that KUBECONFIG names."""

    namespace: str = ""
    timeout_s: float = 60.0

    def __call__(self, *arguments: str, given: str | None = None, timeout_s: float | None = None) -> str:
        """What it prints on stdout. Raises KubectlError, also where it takes longer than the timeout."""
        where = ["--namespace", self.namespace] if self.namespace else []
        command = [self.path(), *where, *arguments]
        wait_s = timeout_s or self.timeout_s
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, text=True, timeout=wait_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl {arguments[0]}: no end within {wait_s:.0f} s") from None
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments[:3])}: {_end_of(done.stderr or done.stdout)}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What it prints, read as JSON."""
        return json.loads(self(*arguments, "-o", "json"))

    @staticmethod
    def path() -> str:
        """Where kubectl is. Raises KubectlError where there is none."""
        found = shutil.which("kubectl")
        if found is None:
            raise KubectlError("kubectl is not on the PATH; see https://kubernetes.io/docs/tasks/tools")
        return found

    def rendered(self, folder: Path) -> list[Object]:
        """The objects of a kustomization."""
        return [one for one in yaml.safe_load_all(self("kustomize", str(folder))) if one]

    @staticmethod
    def rendered_file(file: Path) -> list[Object]:
        """The objects of one manifest."""
        return [one for one in yaml.safe_load_all(file.read_text("utf-8")) if one]


def _end_of(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-6:])[:1500] or "it said nothing"


def as_list(objects: list[Object]) -> str:
    """Objects as kubectl reads them from stdin."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def name_of(one: Object) -> str:
    """`Kind/name`."""
    return f"{one['kind']}/{one['metadata']['name']}"


def pod_template(one: Object) -> Object | None:
    """The template of the pods that an object makes; None where it makes none."""
    if one["kind"] not in KINDS_WITH_PODS:
        return None
    if one["kind"] == "PodTemplate":
        return one["template"]  # type: ignore[no-any-return]
    spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
    return spec["template"]  # type: ignore[no-any-return]
