"""Knocking at a server's port by hand, to say why a client library gets no answer. Sends nothing but TLS's hello.

The libraries report a failed handshake as a time-out; the reason is what a person needs.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

ALERT_WAIT_S = 1.0  # how long a server that refuses our certificate may take to say so


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
    """Whether something takes connections at `host:port`."""
    try:
        with socket.create_connection(split(address), timeout_s):
            return True
    except (OSError, ValueError):
        return False


def handshake_problem(
    address: str, context: ssl.SSLContext, timeout_s: float, wait_s: float = 0.0
) -> Exception | None:
    """What goes wrong with TLS at `host:port`; None where nothing does.

    A server refuses our certificate only after the handshake, so `wait_s` is how long we listen for that.
    """
    host, port = split(address)
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            if wait_s:
                secure.settimeout(wait_s)
                secure.recv(1)
    except TimeoutError:
        return None  # nothing was said against us
    except (OSError, ValueError) as error:
        return error
    return None


def speaks_tls(address: str, timeout_s: float) -> bool:
    """Whether the server at `host:port` answers TLS's hello, with whatever certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only asks whether it is TLS; nothing is sent
    return handshake_problem(address, context, timeout_s) is None
