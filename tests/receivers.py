"""Receivers of alerts on 127.0.0.1, as real as they get: an HTTP server that can misbehave, and a mail server."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Post:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Receiver:
    """A web server. `answers` are given one after the other, then 204; a callable may do as it likes."""

    answers: list[int | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    port: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=very-secret"

    def wait(self, count: int, timeout_s: float = 20.0) -> list[Post]:
        """The posts, once there are so many."""
        until = time.monotonic() + timeout_s
        while len(self.posts) < count:
            assert time.monotonic() < until, f"{len(self.posts)} of {count} posts came"
            time.sleep(0.02)
        return self.posts


@contextmanager
def receiver(*answers: int | Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Receiver]:
    """A web server that notes each post and then answers as told."""
    made = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with made.guard:
                made.posts.append(Post(self.path, dict(self.headers), body))
                answer = made.answers.pop(0) if made.answers else 204
            if callable(answer):
                answer(self)
                return
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("Location", "https://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def hang(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Take the post and say nothing for so long."""
    return lambda _handler: time.sleep(seconds)


def drip(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer a byte at a time, so that no single read ever times out."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        until = time.monotonic() + seconds
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        try:
            while time.monotonic() < until:
                handler.wfile.write(b"a")
                time.sleep(0.05)
        except OSError:
            return

    return answer


@dataclass
class MailServer:
    """A mail server: what was said to it, and the mails that it took."""

    port: int = 0
    commands: list[str] = field(default_factory=list)
    encrypted: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    refuse: int | None = None


@contextmanager
def mail_server(context: ssl.SSLContext | None = None, refuse: int | None = None) -> Iterator[MailServer]:
    """An SMTP server that offers STARTTLS where it has a certificate; `refuse` answers RCPT with that code."""
    made = MailServer(refuse=refuse)
    loop = asyncio.new_event_loop()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _conversation(made, context, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(talk, "127.0.0.1", 0))
    made.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:

        async def end() -> None:
            server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _conversation(
    made: MailServer,
    context: ssl.SSLContext | None,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    tls = False

    async def say(text: str) -> None:
        writer.write(text.encode() + b"\r\n")
        await writer.drain()

    await say("220 sink")
    while line := (await reader.readline()).decode().strip():
        (made.encrypted if tls else made.commands).append(line)
        verb = line.split()[0].upper()
        if verb == "EHLO":
            offers = ["sink", *(["STARTTLS"] if context and not tls else ["AUTH PLAIN"])]
            for offer in offers[:-1]:
                await say(f"250-{offer}")
            await say(f"250 {offers[-1]}")
        elif verb == "STARTTLS" and context is not None:
            await say("220 go")
            transport = writer.transport
            protocol = transport.get_protocol()
            loop = asyncio.get_running_loop()
            new = await loop.start_tls(transport, protocol, context, server_side=True)
            writer._transport = new  # type: ignore[attr-defined]  # StreamWriter.start_tls is not in Python 3.10
            reader._transport = new  # type: ignore[attr-defined]
            tls = True
        elif verb == "AUTH":
            await say("235 welcome")
        elif verb == "RCPT" and made.refuse is not None:
            await say(f"{made.refuse} no")
        elif verb == "DATA":
            await say("354 go on")
            text = await reader.readuntil(b"\r\n.\r\n")
            made.mails.append(text.removesuffix(b".\r\n"))
            await say("250 taken")
        elif verb == "QUIT":
            await say("221 bye")
            return
        else:
            await say("250 ok")
