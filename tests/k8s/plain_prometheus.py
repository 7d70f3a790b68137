"""The Prometheus of `monitoring-plain` as its pod finds it: its files, below a folder instead of the root."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.k8s.object_policies import of_kind
from tests.k8s.rendering import Thing

Files = Mapping[str, str]


def pod_of(things: Iterable[Thing]) -> Thing:
    """What its pod is made from."""
    (found,) = (
        one for one in of_kind(list(things), "StatefulSet") if one["metadata"]["name"] == "prometheus"
    )
    spec: Thing = found["spec"]["template"]["spec"]
    return spec


def _mounted(things: Iterable[Thing], secrets: Mapping[str, Files]) -> Iterator[tuple[str, str]]:
    """Path and content of every file that it mounts; `secrets`: what is in those, by name and key."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(list(things), "ConfigMap")}
    pod = pod_of(things)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        files: Files = {}
        if "configMap" in volume:
            files = maps[volume["configMap"]["name"]]
        elif "secret" in volume:
            held = secrets[volume["secret"]["secretName"]]
            items = volume["secret"].get("items") or [{"key": key, "path": key} for key in held]
            files = {item["path"]: held[item["key"]] for item in items}
        for name, content in files.items():
            yield f"{mount['mountPath']}/{name}", content


def laid_out(things: Iterable[Thing], folder: Path, secrets: Mapping[str, Files]) -> Path:
    """Write its files below `folder`, and return its configuration, which names them there."""
    things = list(things)
    for path, content in _mounted(things, secrets):
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, "utf-8")
    (argument,) = (one for one in pod_of(things)["containers"][0]["args"] if one.startswith("--config.file="))
    config = folder / argument.partition("=")[2].lstrip("/")
    config.write_text(config.read_text("utf-8").replace(" /etc/", f" {folder}/etc/"), "utf-8")
    return config
