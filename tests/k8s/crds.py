"""The definitions of foreign resources that the overlays use, without their prose.

`python -m tests.k8s.crds shorten FILE.yaml…` makes the files under `schemas/` from definitions as their projects
publish them; `python -m tests.k8s.crds list` prints all as one YAML stream for `kubectl apply --server-side -f -`, so
that a cluster without the operators can judge the overlays by `--dry-run=server`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "schemas"
_PROSE = ("description", "example")


def definitions() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions under `schemas/`."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def without_prose(schema: Any) -> Any:
    """The same schema without its descriptions and examples; a property of that name stays."""
    if isinstance(schema, list):
        return [without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: without_prose(inner) for name, inner in value.items()}
        elif key not in _PROSE or not isinstance(value, str):
            kept[key] = without_prose(value)
    return kept


def shorten(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition with what the API server needs to judge a resource, and nothing else."""
    spec = definition["spec"]
    keep = ("group", "names", "scope")
    versions = [
        {
            "name": version["name"],
            "served": version["served"],
            "storage": version["storage"],
            "schema": without_prose(version["schema"]),
            "subresources": version.get("subresources", {}),
        }
        for version in spec["versions"]
    ]
    metadata: dict[str, Any] = {"name": definition["metadata"]["name"]}
    approval = {
        key: value
        for key, value in definition["metadata"].get("annotations", {}).items()
        if key == "api-approved.kubernetes.io"
    }
    if approval:
        metadata["annotations"] = approval
    return {
        "apiVersion": definition["apiVersion"],
        "kind": definition["kind"],
        "metadata": metadata,
        "spec": {**{key: spec[key] for key in keep}, "versions": versions},
    }


def main(arguments: Sequence[str]) -> int:
    """`list`, or `shorten` and the files to read."""
    verb, files = (arguments[0] if arguments else ""), arguments[1:]
    if verb == "list":
        sys.stdout.write(yaml.safe_dump_all(definitions(), sort_keys=False))
        return 0
    if verb != "shorten" or not files:
        sys.stderr.write("usage: python -m tests.k8s.crds list | shorten FILE.yaml...\n")
        return 2
    for file in files:
        short = shorten(yaml.safe_load(Path(file).read_text("utf-8")))
        target = FOLDER / f"{short['metadata']['name']}.json"
        target.write_text(json.dumps(short, separators=(",", ":")) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
