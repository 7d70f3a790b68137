"""Before anything is shown: the login can work, and every answer carries its headers."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from dashboard.doorkeeper import NEEDED, check
from dashboard.headers import (
    Message,
    Receive,
    SecurityHeaders,
    Send,
    content_policy,
    script_hashes,
    streamlit_page,
)
from schemas.errors import PipelineError

AUTH = dict.fromkeys(NEEDED, "x") | {"cookie_secret": "s" * 64}


def test_a_login_that_can_work_passes_and_none_needs_nothing() -> None:
    check(True, AUTH, True)
    check(False, {}, False)


@pytest.mark.parametrize("name", NEEDED)
def test_what_lacks_in_the_secrets_is_named(name: str) -> None:
    with pytest.raises(PipelineError, match=name):
        check(True, {**AUTH, name: ""}, True)
    with pytest.raises(PipelineError, match=name):
        check(True, {key: value for key, value in AUTH.items() if key != name}, True)


def test_a_secret_that_can_be_guessed_is_refused_without_saying_it() -> None:
    with pytest.raises(PipelineError, match="token_hex") as error:
        check(True, {**AUTH, "cookie_secret": "hunter2"}, True)
    assert "hunter2" not in str(error.value)


def test_a_library_that_lacks_is_named() -> None:
    with pytest.raises(PipelineError, match=r"\.\[dashboard,login\]"):
        check(True, AUTH, False)


def test_a_provider_without_the_login_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check(False, AUTH, True)
    assert "sees everything" in caplog.text


def answer(scope: Message, headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The headers of an answer that passes through."""
    sent: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(SecurityHeaders(app)(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]


def test_headers_are_added_and_stand_once() -> None:
    given = [(b"content-type", b"text/html"), (b"X-Frame-Options", b"ALLOWALL")]
    found = answer({"type": "http", "headers": []}, given)
    names = [name.lower() for name, _ in found]
    assert len(names) == len(set(names))
    assert dict(found)["x-frame-options"] == "DENY"
    assert dict(found)["content-type"] == "text/html"
    assert "strict-transport-security" not in names


@pytest.mark.parametrize(
    "scope", [{"scheme": "https"}, {"headers": [(b"x-forwarded-proto", b"https")]},
              {"headers": [(b"x-forwarded-proto", b"https, http")]}],
)  # fmt: skip
def test_over_tls_browsers_are_told_to_stay_there(scope: dict[str, Any]) -> None:
    assert dict(answer({"type": "http", **scope}, []))["strict-transport-security"] == "max-age=31536000"


def test_over_tls_cookies_are_secure_and_without_it_as_they_are() -> None:
    cookies = [(b"set-cookie", b"a=1; HttpOnly"), (b"Set-Cookie", b"b=2; Secure; Path=/"), (b"x", b"y")]
    over_tls = answer({"type": "http", "scheme": "https"}, cookies)
    assert over_tls[:3] == [
        ("set-cookie", "a=1; HttpOnly; Secure"), ("Set-Cookie", "b=2; Secure; Path=/"), ("x", "y")
    ]  # fmt: skip
    assert answer({"type": "http", "scheme": "http"}, cookies)[0] == ("set-cookie", "a=1; HttpOnly")


def test_what_is_not_http_passes_untouched() -> None:
    seen: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "websocket.accept"})

    async def send(message: Message) -> None:
        seen.append(message)

    async def receive() -> Message:
        return {}

    asyncio.run(SecurityHeaders(app)({"type": "websocket"}, receive, send))
    assert seen == [{"type": "websocket"}, {"type": "websocket.accept"}]


def test_every_inline_script_of_streamlits_page_has_its_hash_and_no_other_may_run() -> None:
    page = streamlit_page()
    inline = [
        script for script in re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) if script.strip()
    ]
    assert len(script_hashes(page)) == len(inline) >= 1
    policy = content_policy(page)
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in scripts
    assert all(digest in scripts for digest in script_hashes(page))
    assert not re.search(r"\son[a-z]+=", page)


def test_a_hash_is_what_browsers_compute() -> None:
    # The example of CSP level 3, section 8.3.
    assert script_hashes("<script>alert('Hello, world.');</script>") == [
        "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
    ]
