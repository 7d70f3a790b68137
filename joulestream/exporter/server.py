"""The HTTP side: `/metrics`, `/healthz` and `/readyz`, behind a bearer token where one is set."""

from __future__ import annotations

import hmac
import logging
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joulestream.exporter.collector import Collector
from joulestream.exporter.exposition import page
from joulestream.exporter.tls import Certificate
from schemas.errors import PipelineError

log = logging.getLogger(__name__)

TEXT = "text/plain; charset=utf-8"
# Longest that a client may take to say what it wants (s), and most that may ask at one time.
CLIENT_S = 10.0
MOST_CLIENTS = 32
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Server(ThreadingHTTPServer):
    """Serves one collector. Raises PipelineError where the address cannot be had."""

    daemon_threads = True
    request_queue_size = MOST_CLIENTS

    def __init__(
        self,
        host: str,
        port: int,
        collector: Collector,
        token: str | None,
        certificate: Certificate | None = None,
    ) -> None:
        self.collector, self.token, self.certificate = collector, token, certificate
        self.clients = threading.BoundedSemaphore(MOST_CLIENTS)
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise PipelineError(
                f"the exporter cannot listen on {host}:{port} ({error}); set JOULE_EXPORTER_HOST to an address "
                "of this machine and JOULE_EXPORTER_PORT to a free port"
            ) from None

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection, encrypted where there is a certificate; who is silent keeps its own thread waiting."""
        connection, address = super().get_request()
        if self.certificate is None:
            return connection, address
        return self.certificate.wrap(connection), address

    def handle_error(self, request: object, client_address: object) -> None:
        """Say it in one line; a client that went away is no news."""
        log.debug("a request of %s failed", client_address, exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: Server
    server_version, sys_version = "joulestream", ""
    protocol_version = "HTTP/1.1"
    timeout = CLIENT_S

    def do_GET(self) -> None:
        """One of the three pages. Only what is not secret is told without a token: that the process lives."""
        if not self.server.clients.acquire(blocking=False):
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at a time\n")
            return
        try:
            self._route(self.path.partition("?")[0])
        finally:
            self.server.clients.release()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _route(self, path: str) -> None:
        allowed = self._is_allowed()
        if path == "/healthz":
            self._answer(HTTPStatus.OK, "ok\n")
        elif path == "/readyz":
            problem = self.server.collector.problem()
            said = problem if allowed else "not ready"
            status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "ok\n" if problem is None else f"{said}\n")
        elif not allowed:
            self.server.collector.refused()
            self._answer(HTTPStatus.UNAUTHORIZED, "a bearer token is needed (exporter.token)\n", TEXT)
        elif path == "/metrics":
            body, content_type = page(self.server.collector.samples(), self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, body, content_type)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz\n")

    def _is_allowed(self) -> bool:
        token = self.server.token
        if token is None:
            return True
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        # Compared in constant time; latin-1 is what http.server reads headers as.
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
        return same and scheme.lower() == "bearer"

    def _answer(self, status: HTTPStatus, body: bytes | str, content_type: str = TEXT) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def end_headers(self) -> None:
        """Every answer has these, errors included."""
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        if getattr(self, "_status", None) == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        super().end_headers()

    def send_response(self, code: int, message: str | None = None) -> None:
        self._status = code
        super().send_response(code, message)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are no news."""
        log.debug(format, *args)
