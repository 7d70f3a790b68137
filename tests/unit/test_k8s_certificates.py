"""Certificates for a trial: whom they are for, whom they are of, and which of them are made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from joulestream.cluster.certificates import SECRETS, known, names_of
from joulestream.verbs import k8s
from schemas.errors import PipelineError

ROOT = Path(__file__).resolve().parents[2]
HOST = "energy.example.com"
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on PATH")


def made(*arguments: str) -> dict[str, dict[str, str]]:
    """What the verb prints: the secrets' files by the secrets' names."""
    done = CliRunner().invoke(k8s.app, ["certificates", *arguments])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)["items"]
    assert [item["type"] for item in printed] == ["kubernetes.io/tls"] * len(printed)
    found = {item["metadata"]["name"]: item["stringData"] for item in printed}
    assert len(found) == len(printed), "kubectl creates a secret once"
    return found


@pytest.fixture(scope="module")
def everything() -> dict[str, dict[str, str]]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on PATH")
    return made("--host", HOST, "--days", "3")


def certificate(files: Mapping[str, str], name: str = "tls.crt") -> x509.Certificate:
    return x509.load_pem_x509_certificate(files[name].encode())


def addresses(files: Mapping[str, str]) -> set[str]:
    extension = certificate(files).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        *extension.get_values_for_type(x509.DNSName),
        *map(str, extension.get_values_for_type(x509.IPAddress)),
    }


def asked_for(name: str) -> set[str]:
    """The addresses that cert-manager puts into the certificate of that name."""
    text = (ROOT / "k8s" / "components" / "cert-manager" / "certificates.yaml").read_text("utf-8")
    found: dict[str, Any] = next(
        one["spec"]
        for one in yaml.safe_load_all(text)
        if (one["kind"], one["metadata"]["name"]) == ("Certificate", name)
    )
    return {*found["dnsNames"], *found["ipAddresses"]}


def test_all_are_made_where_none_is_named(everything: dict[str, dict[str, str]]) -> None:
    assert set(everything) == {"kafka-tls", "mongodb-tls", "exporter-tls", "dashboard-tls"} == set(SECRETS)
    assert len({files["ca.crt"] for files in everything.values()}) == 1


@pytest.mark.parametrize("name", SECRETS)
def test_a_certificate_is_of_the_authority_beside_it_and_has_its_key(
    everything: dict[str, dict[str, str]], name: str
) -> None:
    files = everything[name]
    mine, authority = certificate(files), certificate(files, "ca.crt")
    mine.verify_directly_issued_by(authority)
    key = serialization.load_pem_private_key(files["tls.key"].encode(), password=None)
    assert key.public_key() == mine.public_key()
    assert files["tls.key"].startswith("-----BEGIN PRIVATE KEY-----"), "Kafka reads PKCS #8 only"
    assert 2.9 < (mine.not_valid_after_utc - mine.not_valid_before_utc).total_seconds() / 86400 < 3.1


@pytest.mark.parametrize("name", ["kafka-tls", "mongodb-tls", "exporter-tls"])
def test_servers_are_reached_by_the_names_that_cert_manager_gives_them(
    everything: dict[str, dict[str, str]], name: str
) -> None:
    assert addresses(everything[name]) == asked_for(name)


def test_the_dashboard_is_reached_by_its_host(everything: dict[str, dict[str, str]]) -> None:
    assert addresses(everything["dashboard-tls"]) == {HOST}


@needs_openssl
def test_only_those_that_are_named_are_made_and_each_once() -> None:
    assert set(made("exporter-tls", "exporter-tls")) == {"exporter-tls"}


def test_a_name_that_is_not_known_makes_nothing() -> None:
    with pytest.raises(PipelineError, match=r"exporter-tsl: expected some of kafka-tls, .*exporter-tls"):
        known(["exporter-tls", "exporter-tsl"])
    done = CliRunner().invoke(k8s.app, ["certificates", "exporter-tsl"])
    assert isinstance(done.exception, PipelineError)
    assert done.stdout == ""


def test_certificates_carry_every_name_that_is_asked_for() -> None:
    assert {"DNS:kafka-svc", "DNS:*.kafka-headless.here.svc", "DNS:localhost", "IP:127.0.0.1"} <= set(
        names_of("kafka-svc", "kafka-headless", "here")
    )
    assert not [name for name in names_of("stream-exporter", None, "here") if "*" in name]
