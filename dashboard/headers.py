"""Security headers on every answer. Streamlit sets none of them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import resources
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_FIXED = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
# A year (RFC 6797). Browsers heed it over TLS only.
STRICT_TRANSPORT = "max-age=31536000"


def streamlit_page() -> str:
    """The page in which Streamlit's programme runs."""
    return resources.files("streamlit").joinpath("static/index.html").read_text("utf-8")


def script_hashes(page: str) -> list[str]:
    """The page's own inline scripts, by hash (CSP level 3, 2.3.1), so that no other one may run."""
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(page))
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def content_policy(page: str) -> str:
    """Content-Security-Policy: everything from here, nothing framed. Streamlit makes its styles as it goes."""
    rules = {
        "default-src": ["'self'"],
        "script-src": ["'self'", *script_hashes(page)],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "worker-src": ["'self'", "blob:"],
        "frame-src": ["'none'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in rules.items())


class SecurityHeaders:
    """ASGI middleware that adds the headers.

    Over TLS, here or at the proxy before, also `Strict-Transport-Security`, and cookies are `Secure`.
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app
        policy = ("Content-Security-Policy", content_policy(streamlit_page()))
        self._headers = [_encoded(*pair) for pair in (policy, *_FIXED)]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        more, is_tls = [*self._headers], _is_tls(scope)
        if is_tls:
            more.append(_encoded("Strict-Transport-Security", STRICT_TRANSPORT))
        ours = {name.lower() for name, _ in more}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [pair for pair in message.get("headers", ()) if pair[0].lower() not in ours]
                message["headers"] = [*(_secured(pair) if is_tls else pair for pair in given), *more]
            await send(message)

        await self._app(scope, receive, answer)


def _is_tls(scope: Message) -> bool:
    # Who forges this header makes a promise to themselves only.
    forwarded = dict(scope.get("headers", ())).get(b"x-forwarded-proto", b"")
    return scope.get("scheme") == "https" or forwarded.split(b",")[0].strip() == b"https"


def _secured(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """A cookie that browsers send over TLS only; any other header as it is."""
    name, value = pair
    if name.lower() != b"set-cookie" or b"; secure" in value.lower():
        return pair
    return name, value + b"; Secure"


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode(), value.encode()
