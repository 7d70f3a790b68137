"""docs/reference/kubernetes.md against the manifests and the code that it describes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from joulestream.cluster import credentials, kafka_users
from tests.documentation import ROOT, names_in, rows, section, text_of

PAGE = "docs/reference/kubernetes.md"
BASE = ROOT / "k8s" / "base"
Thing = dict[str, Any]


@cache
def things() -> tuple[tuple[str, Thing], ...]:
    """Every object of the base, with its file."""
    files = [path for path in sorted(BASE.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return tuple(
        (path.name, thing) for path in files for thing in yaml.safe_load_all(path.read_text("utf-8"))
    )


def pod_of(thing: Thing) -> Thing | None:
    """The pod's specification of a workload."""
    spec = thing if thing["kind"] == "PodTemplate" else thing.get("spec", {})
    if thing["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    pod: Thing | None = spec.get("template", {}).get("spec") if isinstance(spec, dict) else None
    return pod


def workloads() -> Iterator[tuple[str, Thing, Thing]]:
    for file, thing in things():
        pod = pod_of(thing)
        if pod is not None:
            yield file, thing, pod


def test_every_workload_is_listed_with_its_file_image_and_command() -> None:
    listed = {}
    for file, cell, image, command, _ in rows(section(text_of(PAGE), "## Workloads")):
        kind, _, name = cell.partition(" ")
        listed[kind, names_in(name)[0]] = (*names_in(file), *names_in(image), command)
    for file, thing, pod in workloads():
        key = (thing["kind"], thing["metadata"]["name"])
        said_file, said_image, command = listed.pop(key)
        container = pod["containers"][0]
        image = container["image"].removeprefix("docker.io/").removeprefix("library/").removesuffix(":0.1.0")
        assert (f"base/{file}", image) == (said_file, said_image), key
        words = " ".join(container.get("command") or container.get("args") or [])
        if words and not words.startswith("bash"):
            assert f"`{words}`" in command, key
    assert not listed, "listed, and not in k8s/base"


def test_users_of_the_store_are_those_of_the_pods() -> None:
    users = {}
    for _, cell, _, _, user in rows(section(text_of(PAGE), "## Workloads")):
        users[names_in(cell)[0]] = [name for name in names_in(user) if name in ("writer", "reader")]
    for _, thing, pod in workloads():
        env = pod["containers"][0].get("env", ())
        named = [entry["value"] for entry in env if entry["name"] == "JOULE_MONGODB_USERNAME"]
        if thing["kind"] == "PodTemplate":
            named = ["writer"]  # the driver hands it over; what is mounted must fit
            item = next(v for v in pod["volumes"] if v["name"] == "mongodb-credentials")["secret"]["items"][0]
            assert item["key"] == "writer-password"
        assert users[thing["metadata"]["name"]] == named, thing["metadata"]["name"]


def test_the_secrets_that_the_job_makes_are_listed_with_their_keys() -> None:
    listed = {
        names_in(name)[0]: set(names_in(keys))
        for name, keys, by in rows(section(text_of(PAGE), "## Secrets"))
        if by.startswith("Job")
    }
    assert listed == {name: set(keys) for name, keys in credentials.KEYS.items()}


def test_every_secret_that_a_manifest_names_is_listed() -> None:
    listed = {names_in(name)[0] for name, _, _ in rows(section(text_of(PAGE), "## Secrets"))}
    folders = [BASE, *(ROOT / "k8s" / "overlays" / name for name in ("dev", "local", "prod", "external"))]
    named = {
        found
        for folder in folders
        for path in folder.glob("*.yaml")
        for found in re.findall(r"secretName: (\S+)", path.read_text("utf-8"))
    }
    assert named, "nothing found: are secrets named otherwise now?"
    assert named <= listed


@pytest.mark.parametrize("name", sorted(kafka_users.RIGHTS))
def test_rights_in_kafka_are_those_that_are_set(name: str) -> None:
    written = {topic: {word.name.lower() for word in may} for topic, may in kafka_users.RIGHTS[name].items()}
    said: dict[str, set[str]] = {}
    for row in rows(section(text_of(PAGE), "## Rights")):
        if len(row) == 3 and names_in(row[0]) == [name] and not row[1].startswith("groups"):
            for topic in names_in(row[1]):
                said[topic] = set(row[2].split(", "))
    # Looking at a topic's configuration goes without saying for who reads it.
    assert said == {topic: may - {"describe_configs"} for topic, may in written.items()}


def test_the_services_are_listed_with_their_ports() -> None:
    listed = {
        names_in(name)[0]: {int(number) for number in re.findall(r"\d{4,5}", ports.split(".")[0])}
        for name, ports, _ in rows(section(text_of(PAGE), "## Services"))
    }
    found = {
        thing["metadata"]["name"]: {port["port"] for port in thing["spec"]["ports"]}
        for _, thing in things()
        if thing["kind"] == "Service"
    }
    assert listed == found


def _processors(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if str(quantity).endswith("m") else float(quantity)


def _gib(quantity: str) -> float:
    return float(quantity[:-2]) / (1024 if quantity.endswith("Mi") else 1)


def test_the_sizes_are_the_sum_of_the_requests() -> None:
    lasting = ("Deployment", "StatefulSet", "DaemonSet", "PodTemplate")
    requests = [
        container["resources"]["requests"]
        for _, thing, pod in workloads()
        if thing["kind"] in lasting
        for container in pod["containers"]
    ]
    processors = sum(_processors(one["cpu"]) for one in requests)
    memory = sum(_gib(one["memory"]) for one in requests)
    assert f"{processors:.2f} processors, {memory:.1f} GiB" in section(text_of(PAGE), "## Sizes")
    how_to = " ".join(text_of("docs/how-to/kubernetes.md").split())
    assert f"request {processors:.1f} processors and {memory:.1f} GiB" in how_to


def test_the_components_that_are_listed_are_there() -> None:
    cells = [name for row in rows(section(text_of(PAGE), "## Components")) for name in names_in(row[0])]
    there = {path.parent.name for path in (ROOT / "k8s" / "components").glob("*/kustomization.yaml")}
    assert set(cells) - {"k8s/components/"} == there


def test_the_walk_through_names_files_and_modules_that_are_there() -> None:
    text = text_of("docs/how-to/kubernetes.md")
    files = re.findall(r"apply -f (\S+\.yaml)", text)
    assert len(files) >= 9
    assert all((ROOT / file).is_file() for file in files)
    modules = set(re.findall(r"python -m (joulestream\.[a-z_.]+)", text))
    assert modules
    assert all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in modules)
