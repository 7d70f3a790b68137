"""Alerts as signed HTTP posts. The address may hold a token, so nothing here ever says it.

The signature is HMAC-SHA256 over `{timestamp}.{body}`; a receiver computes it with the same secret, compares in
constant time, and refuses old timestamps, which makes a recorded post worthless. Redirects are not followed: a
signed body goes where the settings say, or nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from joulestream import __version__
from joulestream.alerting.delivery import as_json
from joulestream.alerting.delivery.deadline import deadline
from schemas.errors import PipelineError, RetryableError

SIGNATURE = "X-Joulestream-Signature"
TIMESTAMP = "X-Joulestream-Timestamp"
KEY = "Idempotency-Key"
# Too early or too often (RFC 9110, 8470, 6585), and all errors of the server: a later try may succeed.
PASSING = frozenset({408, 425, 429})


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of the signature's header."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


class Webhook:
    """Posts alerts as JSON. Raises PipelineError on an address that is none."""

    def __init__(
        self, url: str, secret: str | None, timeout_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _no_address() from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _no_address()
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, port or (443 if self._tls else 80)
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
        self._target = path + (f"?{quote(parts.query, safe='/%:@!$&()*+,;=?-._~')}" if parts.query else "")
        self._user = None
        if parts.username is not None:
            both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._user = "Basic " + base64.b64encode(both.encode()).decode()
        self._secret, self._timeout_s, self._clock = secret, timeout_s, clock

    def deliver(self, alert: Mapping[str, Any], key: str) -> None:
        """Post an alert; any answer 2xx is success."""
        body = as_json(alert)
        try:
            status = self._post(body, self._headers(body, key))
        except (OSError, http.client.HTTPException) as error:
            # Only the kind of error: its text may name the address.
            how = f" within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else ""
            raise RetryableError(f"the webhook does not answer{how} ({type(error).__name__})") from None
        if 200 <= status < 300:
            return
        if status in PASSING or status >= 500:
            raise RetryableError(f"the webhook answers {status}")
        if 300 <= status < 400:
            raise PipelineError(
                f"the webhook answers {status}; redirects are not followed, give the final address"
            )
        raise PipelineError(f"the webhook answers {status}; correct alerts.webhook_url or its receiver")

    def _headers(self, body: bytes, key: str) -> dict[str, str]:
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"joulestream/{__version__}",
            KEY: quote(key, safe="|:@/+"),
            TIMESTAMP: timestamp,
        }
        if self._user is not None:
            headers["Authorization"] = self._user
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, timestamp, body)
        return headers

    def _post(self, body: bytes, headers: Mapping[str, str]) -> int:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            with deadline(self._timeout_s, lambda: connection.sock) as expired:
                try:
                    connection.sock = self._connect(connection)
                    connection.request("POST", self._target, body, dict(headers))
                    status = connection.getresponse().status
                except (OSError, http.client.HTTPException, ValueError):
                    if expired.is_set():
                        raise TimeoutError from None
                    raise
                if expired.is_set():  # we broke it off amid its headers
                    raise TimeoutError
                return status
        finally:
            connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), self._timeout_s)
        if not self._tls:
            return plain
        try:
            tls = ssl.create_default_context().wrap_socket(
                plain, server_hostname=self._host, do_handshake_on_connect=False
            )
        except OSError:
            plain.close()
            raise
        connection.sock = tls  # from here on the deadline can break it
        tls.do_handshake()
        return tls


def _no_address() -> PipelineError:
    return PipelineError("alerts.webhook_url is no http:// or https:// address; correct it")
