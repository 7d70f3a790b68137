"""Every overlay makes the secrets that are nobody else's to give, those of `monitoring` on top of it included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from joulestream.cluster.credentials import KEYS
from tests.k8s.object_policies import of_kind
from tests.k8s.rendering import Rendered, Thing, compose
from tests.k8s.workloads import pods

ThingsOf = Callable[[str], tuple[Thing, ...]]
OVERLAYS = [f"overlays/{name}" for name in ("dev", "local", "prod", "strimzi", "external")]
# Passwords of servers that somebody else runs, which nobody can make up.
YOURS = {"overlays/external": {"kafka-credentials", "mongodb-credentials"}}


def made(things: Iterable[Thing]) -> set[str]:
    """The secrets that the Job `credentials` makes: those that it is told, or all that it knows."""
    (job,) = (one for one in of_kind(list(things), "Job") if one["metadata"]["name"] == "credentials")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    module, *told = container["command"][2:]
    assert module == "joulestream.cluster.credentials"
    return set(told or KEYS)


def needed(things: Iterable[Thing]) -> set[str]:
    """The secrets among those that we can make which pods mount or monitors name."""
    mounted = {
        volume["secret"]["secretName"]
        for pod in pods(list(things))
        for volume in pod.spec.get("volumes", ())
        if "secret" in volume
    }
    shown = {
        endpoint["authorization"]["credentials"]["name"]
        for monitor in of_kind(list(things), "ServiceMonitor")
        for endpoint in monitor["spec"]["endpoints"]
        if "authorization" in endpoint
    }
    return (mounted | shown) & set(KEYS)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_makes_what_it_and_its_monitoring_need(
    things_of: ThingsOf, manifests: dict[str, Rendered], name: str
) -> None:
    things = things_of(name)
    watching = needed(manifests["overlays/monitoring"].things)
    assert watching == {"exporter-token", "grafana-login"}
    assert (needed(things) | watching) - YOURS.get(name, set()) <= made(things)
    assert not made(things) & YOURS.get(name, set())


@pytest.mark.parametrize("overlay", ["prod", "external"])
def test_a_vault_gives_all_that_the_job_would_make(
    manifests: dict[str, Rendered], tmp_path: Path, overlay: str
) -> None:
    assert manifests
    done = compose(tmp_path, [f"overlays/{overlay}"], ["external-secrets"])
    assert done.failure == ""
    given = {
        one["spec"]["target"]["name"]: {entry["secretKey"] for entry in one["spec"]["data"]}
        for one in of_kind(done.things, "ExternalSecret")
    }
    assert given == {name: set(keys) for name, keys in KEYS.items()}
    assert not [one for one in of_kind(done.things, "Job") if one["metadata"]["name"] == "credentials"]
