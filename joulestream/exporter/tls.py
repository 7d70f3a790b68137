"""The exporter's certificate: optional, and read again when its files change: a renewed one needs no restart."""

from __future__ import annotations

import logging
import socket
import ssl
from pathlib import Path

from conf.operations import Exporter
from schemas.errors import PipelineError

log = logging.getLogger(__name__)


class Certificate:
    """Encrypts connections with the certificate in two files (PEM). Raises PipelineError where they are none."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self._seen: tuple[tuple[int, int], ...] = ()
        self._context = self._read()

    @classmethod
    def of(cls, settings: Exporter) -> Certificate | None:
        """The one that the settings name; None where connections are not to be encrypted."""
        if settings.cert_file is None or settings.key_file is None:
            return None
        return cls(settings.cert_file, settings.key_file)

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """The connection, encrypted. Hands are shaken when it is first read, by whoever reads."""
        if self._stamps() != self._seen:
            try:
                self._context = self._read()
                log.info("the certificate %s was renewed", self._cert)
            except PipelineError as error:
                log.warning("%s; the one before is used on", error)
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def _read(self) -> ssl.SSLContext:
        self._seen = self._stamps()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._cert, self._key)
        except OSError as error:  # ssl.SSLError is one
            why = getattr(error, "reason", None) or error.strerror or str(error)
            raise PipelineError(
                f"exporter.cert_file {self._cert} and exporter.key_file {self._key} cannot be used ({why}): give a "
                "certificate in PEM and the key that belongs to it, not encrypted"
            ) from None
        return context

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        """When each file was written, and which one it is; nothing for one that is not there."""
        found = []
        for path in (self._cert, self._key):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime_ns, status.st_ino))
        return tuple(found)
