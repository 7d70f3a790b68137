"""Knocking at a server's port by hand, to say why a client library gets no answer.

The libraries report a failed handshake as a time-out; the reason is what a person needs.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Ours: what the server's must come from (None: the system's authorities), and our own with its key."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """As the client libraries make it. Raises OSError where a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ValueError where there is no port."""
    host, _, port = address.strip().rpartition(":")
    return host.strip("[]"), int(port)


def listens(address: str, timeout_s: float) -> bool:
    """Whether something takes connections at `host:port`. Sends nothing."""
    try:
        with socket.create_connection(split(address), timeout_s):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def connection(address: str, context: ssl.SSLContext | None, timeout_s: float) -> Iterator[socket.socket]:
    """An open connection, encrypted where there is a context. Raises OSError (ssl.SSLError is one)."""
    host, port = split(address)
    with socket.create_connection((host, port), timeout_s) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=host) as secure:
            yield secure


def speaks_tls(address: str, timeout_s: float) -> bool:
    """Whether the server at `host:port` answers TLS's hello, with whatever certificate; also by refusing ours."""
    try:
        with connection(address, _asking(), timeout_s):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False


def refused_certificate(address: str, timeout_s: float, cert: Path | None, key: Path | None = None) -> str:
    """TLS's words where the server at `host:port` does not take our certificate, or none; else empty.

    In TLS 1.3 they come after the client's own handshake: who has written by then may only see the connection end.
    """
    try:
        context = _asking()
        if cert is not None:
            context.load_cert_chain(cert, key)
        with connection(address, context, timeout_s) as opened:
            opened.recv(1)
    except ssl.SSLError as error:
        return str(error)
    except (OSError, ValueError):
        return ""
    return ""


def _asking() -> ssl.SSLContext:
    """For a connection over which nothing is sent: whose it is does not matter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
