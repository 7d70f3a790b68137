"""The exporter over TLS: who trusts its authority reads, others do not, and a renewed certificate needs no restart."""

from __future__ import annotations

import shutil
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from conf.settings import ConfigError, load_settings
from joulestream.exporter import service
from joulestream.exporter.collector import Collector
from joulestream.exporter.server import Server
from joulestream.exporter.tls import Certificate
from schemas.errors import PipelineError
from tests.contract import certificates

HOST = certificates.HOST


@pytest.fixture
def authority(tmp_path: Path) -> certificates.Authority:
    return certificates.Authority(tmp_path / "tls")


def of(files: certificates.Certificate) -> Certificate | None:
    """As the settings name it."""
    flags = {"exporter.cert_file": files.cert, "exporter.key_file": files.key}
    return Certificate.of(load_settings(flags).exporter)


@contextmanager
def serving(certificate: Certificate | None) -> Iterator[int]:
    server = Server(HOST, 0, Collector([]), None, certificate)
    with service.serving(server):
        yield server.server_address[1]


def read(port: int, authority: certificates.Authority) -> str:
    """What a client that trusts this authority, and no other, is told."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    with urllib.request.urlopen(f"https://{HOST}:{port}/healthz", timeout=10, context=context) as answer:
        return str(answer.read().decode())


def test_who_trusts_the_authority_reads(authority: certificates.Authority, tmp_path: Path) -> None:
    stranger = certificates.Authority(tmp_path / "others", "others")
    with serving(of(authority.issue("exporter"))) as port:
        assert read(port, authority) == "ok\n"
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            read(port, stranger)


def test_nothing_is_said_in_plain_text(authority: certificates.Authority) -> None:
    with (
        serving(of(authority.issue("exporter"))) as port,
        socket.create_connection((HOST, port), 10) as plain,
    ):
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"ok" not in plain.recv(1000)


def test_a_client_that_never_shakes_hands_keeps_nobody_waiting(authority: certificates.Authority) -> None:
    with serving(of(authority.issue("exporter"))) as port:
        silent = [socket.create_connection((HOST, port)) for _ in range(8)]
        try:
            assert read(port, authority) == "ok\n"
        finally:
            for one in silent:
                one.close()


def test_a_renewed_certificate_is_shown_without_a_restart(authority: certificates.Authority) -> None:
    files, renewed = authority.issue("exporter"), authority.issue("renewed", until=timedelta(days=9))
    with serving(of(files)) as port:
        before = ssl.get_server_certificate((HOST, port))
        shutil.copyfile(renewed.key, files.key)  # the key of another certificate: half of a renewal
        assert ssl.get_server_certificate((HOST, port)) == before
        shutil.copyfile(renewed.cert, files.cert)
        assert ssl.get_server_certificate((HOST, port)).strip() == renewed.cert.read_text().strip()
        files.cert.unlink()
        assert read(port, authority) == "ok\n"


def test_without_a_certificate_it_is_http() -> None:
    assert Certificate.of(load_settings().exporter) is None
    with (
        serving(None) as port,
        urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=10) as answer,
    ):
        assert answer.read() == b"ok\n"


@pytest.mark.parametrize("broken", ["cert", "key"])
def test_files_that_are_none_are_named(authority: certificates.Authority, broken: str) -> None:
    files = authority.issue("exporter")
    getattr(files, broken).write_text("no certificate")
    with pytest.raises(PipelineError, match=r"exporter\.cert_file .*exporter\.cert\.pem .*cannot be used"):
        of(files)
    getattr(files, broken).unlink()
    with pytest.raises(PipelineError, match="No such file"):
        of(files)


@pytest.mark.parametrize("alone", ["cert_file", "key_file"])
def test_certificate_and_key_go_together(alone: str) -> None:
    with pytest.raises(ConfigError, match="go together; give both or none"):
        load_settings({f"exporter.{alone}": "/x.pem"})
