"""The component `exporter-tls`: the exporter, its probes and its Prometheus all speak HTTPS, by one certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conf.settings import env_name
from tests.k8s.judging import errors
from tests.k8s.object_policies import of_kind
from tests.k8s.rendering import Rendered, Thing, compose, label_of

SECRETS = Path("/etc/joulestream/secrets")
PARTS = ("overlays/prod", "overlays/monitoring")


@pytest.fixture(scope="module")
def things(manifests: dict[str, Rendered], tmp_path_factory: pytest.TempPathFactory) -> tuple[Thing, ...]:
    """A folder of one's own that takes pipeline, monitoring, certificates and the component."""
    assert manifests
    done = compose(tmp_path_factory.mktemp("exporter-tls"), PARTS, ("cert-manager", "exporter-tls"))
    assert done.failure == ""
    return done.things


def named(things: tuple[Thing, ...], kind: str, name: str) -> dict[str, Any]:
    (found,) = (one["spec"] for one in of_kind(things, kind) if one["metadata"]["name"] == name)
    spec: dict[str, Any] = found
    return spec


def test_all_that_it_touches_is_sound(things: tuple[Thing, ...]) -> None:
    touched = [one for one in things if one["metadata"]["name"] in {"stream-exporter", "exporter-tls"}]
    assert {one["kind"] for one in touched} >= {"Deployment", "ServiceMonitor", "Certificate"}
    assert [f"{label_of(one)}: {said}" for one in touched for said in errors(one)] == []


def test_the_exporter_finds_its_certificate_and_key(things: tuple[Thing, ...]) -> None:
    pod = named(things, "Deployment", "stream-exporter")["template"]["spec"]
    (container,) = pod["containers"]
    said = {one["name"]: one.get("value") for one in container["env"]}
    assert Path(said[env_name("exporter.cert_file")]) == SECRETS / "exporter-tls" / "tls.crt"
    assert Path(said[env_name("exporter.key_file")]) == SECRETS / "exporter-tls" / "tls.key"
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "exporter-tls")
    assert Path(mount["mountPath"]) == SECRETS / "exporter-tls"
    (volume,) = (one["secret"] for one in pod["volumes"] if one["name"] == "exporter-tls")
    assert volume["secretName"] == "exporter-tls"
    assert {item["key"]: item["path"] for item in volume["items"]} == {
        "tls.crt": "tls.crt",
        "tls.key": "tls.key",
    }


def test_every_probe_asks_by_https(things: tuple[Thing, ...]) -> None:
    (container,) = named(things, "Deployment", "stream-exporter")["template"]["spec"]["containers"]
    probes = [container[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [probe.get("scheme") for probe in probes] == ["HTTPS"] * 3
    assert [probe["path"] for probe in probes] == ["/healthz", "/readyz", "/healthz"]


def test_prometheus_trusts_the_certificates_authority_and_knows_its_name(things: tuple[Thing, ...]) -> None:
    (endpoint,) = named(things, "ServiceMonitor", "stream-exporter")["endpoints"]
    certificate = named(things, "Certificate", "exporter-tls")
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["ca"] == {"secret": {"name": certificate["secretName"], "key": "ca.crt"}}
    assert endpoint["tlsConfig"]["serverName"] in certificate["dnsNames"]
    assert "insecureSkipVerify" not in endpoint["tlsConfig"]
    assert endpoint["authorization"]["credentials"] == {"name": "exporter-token", "key": "token"}
