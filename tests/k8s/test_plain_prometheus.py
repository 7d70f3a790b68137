"""The Prometheus of `monitoring-plain`, with the component that has it ask by HTTPS and without."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.object_policies import of_kind
from tests.k8s.plain_prometheus import laid_out, pod_of
from tests.k8s.rendering import K8S, Rendered, Thing, compose, label_of

ThingsOf = Callable[[str], tuple[Thing, ...]]
PLAIN = "overlays/monitoring-plain"
ENDED = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
SECRETS = {
    "exporter-token": {"token": "x"},
    "exporter-tls": {"tls.crt": ENDED, "tls.key": "k", "ca.crt": ENDED},
}


@pytest.fixture(scope="module")
def encrypted(manifests: dict[str, Rendered], tmp_path_factory: pytest.TempPathFactory) -> tuple[Thing, ...]:
    """A folder of one's own with pipeline and Prometheus, and both parts of the component."""
    assert manifests
    folder = tmp_path_factory.mktemp("encrypted")
    done = compose(folder, ["overlays/prod", PLAIN], ["exporter-tls", "exporter-tls/plain"])
    assert done.failure == ""
    return done.things


@pytest.fixture(params=["http", "https"])
def things(
    request: pytest.FixtureRequest, things_of: ThingsOf, encrypted: tuple[Thing, ...]
) -> tuple[Thing, ...]:
    return things_of(PLAIN) if request.param == "http" else encrypted


def configuration(things: tuple[Thing, ...]) -> dict[str, Any]:
    (text,) = (
        one["data"]["prometheus.yml"]
        for one in of_kind(list(things), "ConfigMap")
        if "prometheus.yml" in one.get("data", {})
    )
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def job_of(things: tuple[Thing, ...]) -> dict[str, Any]:
    (found,) = (
        one for one in configuration(things)["scrape_configs"] if one["job_name"] == "stream-exporter"
    )
    job: dict[str, Any] = found
    return job


def test_every_rule_file_is_given_to_it(things: tuple[Thing, ...]) -> None:
    folder = K8S / "overlays" / "monitoring" / "rules"
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "prometheusrule.yaml"}
    maps = [one for one in of_kind(list(things), "ConfigMap") if "rules" in label_of(one)]
    assert [set(one["data"]) for one in maps] == [files]


def test_every_file_that_it_names_is_mounted(things: tuple[Thing, ...], tmp_path: Path) -> None:
    named = re.findall(rf"{tmp_path}(/\S+)", laid_out(things, tmp_path, SECRETS).read_text("utf-8"))
    assert len(named) >= 2
    assert [path for path in named if not list(tmp_path.glob(path.lstrip("/")))] == []


def test_promtool_reads_all_that_the_pod_mounts(things: tuple[Thing, ...], tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH: it comes with Prometheus (Debian: apt-get install prometheus)")
    config = laid_out(things, tmp_path, SECRETS)
    command = [promtool, "check", "config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = len(list((tmp_path / "etc" / "prometheus-rules").iterdir()))
    assert f"SUCCESS: {rules} rule files found" in done.stdout


def test_a_scrape_is_of_the_service_and_carries_its_token(
    things: tuple[Thing, ...], things_of: ThingsOf
) -> None:
    (target,) = (one["targets"] for one in job_of(things)["static_configs"])
    (service,) = (
        one
        for one in of_kind(list(things_of("base")), "Service")
        if one["metadata"]["name"] == "stream-exporter"
    )
    assert target == [f"stream-exporter:{service['spec']['ports'][0]['port']}"]
    token = job_of(things)["authorization"]["credentials_file"]
    assert token == "/etc/joulestream/secrets/exporter-token/token"


def test_https_is_all_that_the_component_changes(things_of: ThingsOf, encrypted: tuple[Thing, ...]) -> None:
    plain, ours = configuration(things_of(PLAIN)), configuration(encrypted)
    (job,) = (one for one in ours["scrape_configs"] if one["job_name"] == "stream-exporter")
    assert (job.pop("scheme"), job.pop("tls_config")["server_name"]) == (
        "https",
        "stream-exporter.bigdata-pipeline.svc",
    )
    assert ours == plain


def test_the_two_prometheuses_ask_for_the_same_name(
    encrypted: tuple[Thing, ...], manifests: dict[str, Rendered], tmp_path: Path
) -> None:
    assert manifests
    watched = compose(tmp_path, ["overlays/monitoring"], ["exporter-tls"]).things
    (endpoint,) = (
        one["spec"]["endpoints"][0]
        for one in of_kind(list(watched), "ServiceMonitor")
        if one["metadata"]["name"] == "stream-exporter"
    )
    ours = job_of(encrypted)
    assert (ours["scheme"], ours["tls_config"]["server_name"]) == (
        endpoint["scheme"],
        endpoint["tlsConfig"]["serverName"],
    )
    assert "insecure_skip_verify" not in ours["tls_config"]


def test_it_is_given_the_authority_and_never_the_exporters_key(encrypted: tuple[Thing, ...]) -> None:
    (volume,) = (one["secret"] for one in pod_of(encrypted)["volumes"] if one["name"] == "exporter-tls")
    assert volume["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert job_of(encrypted)["tls_config"]["ca_file"] == "/etc/joulestream/secrets/exporter-tls/ca.crt"


def test_a_changed_configuration_starts_it_anew(things_of: ThingsOf, encrypted: tuple[Thing, ...]) -> None:
    def named(things: tuple[Thing, ...]) -> str:
        (volume,) = (one["configMap"]["name"] for one in pod_of(things)["volumes"] if one["name"] == "config")
        return str(volume)

    assert named(encrypted) != named(things_of(PLAIN))
