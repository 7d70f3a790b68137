"""What the manifests have Python run is there, and takes these arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conf.logs import JVM_FILE
from joulestream.cluster import health
from joulestream.cluster.credentials import KEYS
from joulestream.cluster.submit import EXECUTOR_CONF, JOBS
from tests.k8s.rendering import Thing, kustomizations
from tests.k8s.workloads import pods

ThingsOf = Callable[[str], tuple[Thing, ...]]
NAMES = kustomizations()
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def commands(container: Thing) -> Iterator[list[str]]:
    """Command lines of a container: its own and those of its probes."""
    yield [*container.get("command", ()), *container.get("args", ())]
    for probe in PROBES:
        yield container.get(probe, {}).get("exec", {}).get("command", [])


def calls(things: tuple[Thing, ...]) -> Iterator[tuple[str, list[str]]]:
    """Every `python -m MODULE ARGUMENT…`: module and arguments."""
    for pod in pods(things):
        for words in (words for container in pod.containers for words in commands(container)):
            if words[:2] == ["python", "-m"]:
                yield words[2], words[3:]


def takes(module: str, arguments: list[str]) -> bool:
    """Whether one of our commands knows what it is told; others are taken as they are."""
    first = arguments[0] if arguments else ""
    if module == "joulestream.cluster.health":
        alive = arguments[1:] == ["--alive"] and first in health.ALIVE
        number = first == "port" and len(arguments) == 2 and arguments[1].isdecimal()
        return alive or number or (len(arguments) == 1 and first in health.CHECKS)
    if module == "joulestream.cluster.submit":
        return first in ("", *JOBS)
    if module == "joulestream.cluster.credentials":
        return set(arguments) <= set(KEYS)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_what_a_pod_runs_is_there_and_takes_its_arguments(things_of: ThingsOf, name: str) -> None:
    for module, arguments in calls(things_of(name)):
        assert importlib.util.find_spec(module) is not None, module
        assert takes(module, arguments), (module, arguments)


def test_there_are_probes_of_both_kinds(things_of: ThingsOf) -> None:
    found = {tuple(arguments) for module, arguments in calls(things_of("base")) if module.endswith(".health")}
    assert {("stream",), ("stream", "--alive"), ("alerts",), ("alerts", "--alive"), ("agent",)} <= found


@pytest.mark.parametrize(
    "wrong",
    [
        ("joulestream.cluster.health", ["wine"]),
        ("joulestream.cluster.health", ["store", "--alive"]),
        ("joulestream.cluster.health", []),
        ("joulestream.cluster.submit", ["strean"]),
        ("joulestream.cluster.credentials", ["nothing"]),
    ],
    ids=str,
)
def test_arguments_that_a_command_does_not_take_are_seen(wrong: tuple[str, list[str]]) -> None:
    assert not takes(*wrong)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("base", "overlays"))])
def test_executors_find_the_jvms_logging_where_they_are_told_to_look(things_of: ThingsOf, name: str) -> None:
    things = things_of(name)
    held: dict[str, Any] = {
        one["metadata"]["name"]: one["data"] for one in things if one["kind"] == "ConfigMap" and "data" in one
    }
    for pod in pods(things):
        if pod.component != "executor":
            continue
        (container,) = pod.spec["containers"]
        (volume,) = [one["name"] for one in container["volumeMounts"] if one["mountPath"] == EXECUTOR_CONF]
        (config,) = [one["configMap"]["name"] for one in pod.spec["volumes"] if one["name"] == volume]
        assert JVM_FILE.name in held[config]
