"""What the kustomizations under `k8s/` render to, once for each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.documentation import ROOT

K8S = ROOT / "k8s"
HOW = (
    "kubectl is not on PATH: install it (https://kubernetes.io/docs/tasks/tools/); "
    "the manifests are rendered by `kubectl kustomize`, which needs no cluster"
)
Thing = dict[str, Any]
# The one in C, where PyYAML has it, is ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Rendered:
    """One kustomization: its name below `k8s/`, its objects or what kubectl said instead."""

    name: str
    things: tuple[Thing, ...] = ()
    failure: str = ""


def kubectl() -> str | None:
    """Where kubectl is."""
    return shutil.which("kubectl")


def kustomizations(root: Path = K8S) -> list[str]:
    """Every folder with a kustomization that is applied as it stands, below `root`; no component, none of its parts.

    A component (`kind: Component`) only makes sense in an overlay. A part is rendered with the overlay above it.
    """
    folders = []
    for path in sorted(root.rglob("kustomization.yaml")):
        if yaml.safe_load(path.read_text("utf-8")).get("kind", "Kustomization") == "Kustomization":
            folders.append(path.parent.relative_to(root).as_posix())
    return folders


def render(name: str, root: Path = K8S) -> Rendered:
    """The objects of one kustomization."""
    command = [kubectl() or "kubectl", "kustomize", str(root / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        return Rendered(name, failure=done.stderr.strip())
    things = tuple(thing for thing in yaml.load_all(done.stdout, Loader=LOADER) if thing)
    return Rendered(name, things, done.stderr.strip())


def compose(folder: Path, resources: Iterable[str], components: Iterable[str] = ()) -> Rendered:
    """A folder of one's own that names these overlays and components of the project, as its objects."""
    here = Path(os.path.relpath(K8S.resolve(), folder.resolve()))
    page = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(here / name) for name in resources],
        "components": [str(here / "components" / name) for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(page), "utf-8")
    return render(folder.name, folder.resolve().parent)


@cache
def rendered() -> dict[str, Rendered]:
    """All kustomizations of the project by name, rendered once in this process."""
    with ThreadPoolExecutor(2) as pool:
        return {one.name: one for one in pool.map(render, kustomizations())}


def label_of(thing: Thing) -> str:
    """`Kind/name`, as kubectl prints it."""
    return f"{thing.get('kind')}/{thing.get('metadata', {}).get('name')}"
