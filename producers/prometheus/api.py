"""A Prometheus server's HTTP API: raw samples of a range, in answers of a bounded size.

A range vector selector (`metric[1h]`) gives the samples as they were scraped; `rate` and `increase` would
extrapolate (https://prometheus.io/docs/prometheus/latest/querying/api/, "Range vectors").
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from producers.prometheus.series import Series, joined, matrix
from schemas.errors import PipelineError, RetryableError
from schemas.units import BYTES_PER_MIB, MS_PER_S

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 64 * BYTES_PER_MIB
# A range query gives at most 11,000 points of a series; an hour of raw samples stays below, also at one a second.
MAX_SPAN_MS = 3_600 * MS_PER_S
MIN_SPAN_MS = 30 * MS_PER_S


class TooMuchError(RetryableError):
    """The answer is more than the server or we can hold: ask for a shorter range."""


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the token to another server."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class PrometheusApi:
    """One server. `token` is asked at each query, since tokens of a cluster are renewed in their file."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        token: Callable[[], str | None] = lambda: None,
        ca_file: Path | None = None,
    ) -> None:
        if "@" in urlsplit(url).netloc:
            raise PipelineError("prometheus.url holds a password; remove it, and use prometheus.token_file")
        self.url = url.rstrip("/")
        self._timeout_s, self._token = timeout_s, token
        try:
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise PipelineError(f"prometheus.ca_file: {ca_file} cannot be used: {error}") from None
        self._opener = build_opener(_NoRedirects, HTTPHandler, HTTPSHandler(context=context))
        self._warned = False

    def samples(self, selector: str, start_ms: int, end_ms: int) -> list[Series]:
        """Raw samples from start to end, both included.

        Raises RetryableError where the server is away, PipelineError where it refuses.
        """
        parts: list[Series] = []
        while start_ms <= end_ms:
            until_ms = min(end_ms, start_ms + MAX_SPAN_MS)
            parts += self._span(selector, start_ms, until_ms)
            start_ms = until_ms + 1
        return joined(parts)

    def _span(self, selector: str, start_ms: int, end_ms: int) -> list[Series]:
        """One query; halves of it where the answer is too much."""
        # A sample at the left end is left out by some versions: begin a millisecond before.
        query = f"{selector}[{end_ms - start_ms + 1}ms]"
        fields = {"query": query, "time": f"{end_ms / MS_PER_S:.3f}", "partial_response": "false"}
        try:
            found = matrix(self._ask(fields))
        except TooMuchError:
            if end_ms - start_ms <= MIN_SPAN_MS:
                raise
            middle_ms = (start_ms + end_ms) // 2
            return [
                *self._span(selector, start_ms, middle_ms),
                *self._span(selector, middle_ms + 1, end_ms),
            ]
        return [
            Series(s.name, s.labels, tuple(p for p in s.points if start_ms <= p[0] <= end_ms)) for s in found
        ]

    def _ask(self, fields: dict[str, str]) -> Any:
        headers = {"Accept": "application/json"}
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = Request(f"{self.url}/api/v1/query", urlencode(fields).encode(), headers)  # noqa: S310 - http(s) only
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                body = answer.read(MAX_ANSWER_BYTES + 1)
        except HTTPError as error:
            with error:
                raise _refusal(self.url, error.code, _words(error.read(4096))) from None
        except TimeoutError:  # of the answer: a server that cannot be reached is an URLError
            raise TooMuchError(
                f"Prometheus at {self.url} did not answer within {self._timeout_s:g} s; set prometheus.timeout_s higher"
            ) from None
        except (URLError, OSError, HTTPException) as error:
            raise _away(self.url, error) from None
        if len(body) > MAX_ANSWER_BYTES:
            raise TooMuchError(f"Prometheus at {self.url} answers with more than {MAX_ANSWER_BYTES} bytes")
        return self._data(body)

    def _data(self, body: bytes) -> Any:
        try:
            answer = json.loads(body)
            data, warnings = answer["data"], answer.get("warnings")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PipelineError(
                f"what answers at {self.url} is no Prometheus API; correct prometheus.url"
            ) from None
        if warnings and not self._warned:
            self._warned = True
            log.warning("Prometheus at %s warns (said once): %s", self.url, "; ".join(map(str, warnings)))
        return data


def _words(body: bytes) -> str:
    """What the server says of an error."""
    try:
        return str(json.loads(body)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip()[:120]


def _refusal(url: str, code: int, words: str) -> PipelineError:
    if code in (401, 403):
        return PipelineError(
            f"Prometheus at {url} refuses us ({code}); set prometheus.token_file to a file with a token that may query"
        )
    if "too many samples" in words or "timed out" in words or code == 413:
        return TooMuchError(f"Prometheus at {url} cannot answer so much ({code}): {words}")
    if code == 404 or 300 <= code < 400:
        return PipelineError(f"no Prometheus API at {url} ({code}); correct prometheus.url")
    if code in (400, 422):
        return PipelineError(
            f"Prometheus at {url} refuses the query ({code}): {words}; correct prometheus.match"
        )
    return RetryableError(f"Prometheus at {url} cannot answer now ({code}): {words}")


def _away(url: str, error: Exception) -> PipelineError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return PipelineError(
            f"the certificate of Prometheus at {url} is not trusted ({reason.verify_message}); set prometheus.ca_file "
            "to the certificates that it comes from"
        )
    if isinstance(reason, ssl.SSLError):
        return PipelineError(f"no TLS with Prometheus at {url} ({reason.reason}); is it https at all?")
    return RetryableError(f"no Prometheus answers at {url}: {reason}")
