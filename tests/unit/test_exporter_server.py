"""The HTTP side, with parts that are made up: token, headers, health, and no more pages than there are."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import pytest

from conf.settings import load_settings
from joulestream.exporter import service
from joulestream.exporter.collector import Collector
from joulestream.exporter.looks import Part
from joulestream.exporter.samples import Sample, Samples
from joulestream.exporter.server import SECURITY_HEADERS, Server
from schemas.errors import PipelineError

HOST = "127.0.0.1"
TOKEN = "a-token"


class Stream:
    """The store's part: there, or away."""

    def __init__(self) -> None:
        self.away = False

    def __call__(self) -> Sequence[Sample]:
        if self.away:
            raise PipelineError("db:27017 does not answer; start it")
        out = Samples()
        out.add("query_up", 1.0, query="node")
        return out.found


@contextmanager
def serving(stream: Stream, token: str | None) -> Iterator[int]:
    collector = Collector([Part("stream", stream, 0.0, clock=lambda: 0.0)], frozenset({"stream"}), 5.0)
    server = Server(HOST, 0, collector, token)
    with service.serving(server):
        yield server.server_address[1]


def ask(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    with closing(http.client.HTTPConnection(HOST, port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers


def test_metrics_are_served_as_text() -> None:
    with serving(Stream(), None) as port:
        status, body, headers = ask(port, "/metrics")
        assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
        assert 'joulestream_query_up{query="node"} 1.0' in body
        assert ask(port, "/metrics", "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer a-token2",
        "Basic a-token",
        "a-token",
        "Bearer a-tok\xe9n",
    ],
)
def test_without_the_right_token_there_is_nothing_to_read(given: str) -> None:
    with serving(Stream(), TOKEN) as port:
        for path in ("/metrics", "/", "/debug", "/metrics/../metrics"):
            status, body, headers = ask(port, path, **({"Authorization": given} if given else {}))
            assert status == 401
            assert headers["WWW-Authenticate"] == "Bearer"
            assert "joulestream_" not in body
            assert TOKEN not in body


def test_the_right_token_opens_and_refusals_are_counted() -> None:
    with serving(Stream(), TOKEN) as port:
        ask(port, "/metrics")
        status, body, _ = ask(port, "/metrics", Authorization=f"bearer {TOKEN}")
        assert status == 200
        assert "joulestream_exporter_refused_requests_total 1.0" in body


def test_ready_says_why_not_but_to_strangers_only_that_it_is_not() -> None:
    stream = Stream()
    with serving(stream, TOKEN) as port:
        assert ask(port, "/readyz")[:2] == (200, "ok\n")
        stream.away = True
        known = ask(port, "/readyz", Authorization=f"Bearer {TOKEN}")
        assert known[:2] == (503, "db:27017 does not answer; start it\n")
        assert ask(port, "/readyz")[:2] == (503, "not ready\n")
        assert ask(port, "/healthz")[:2] == (200, "ok\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/debug/pprof", 404),
        ("POST", "/metrics", 501),
        ("DELETE", "/metrics", 501),
        ("GET", "/metrics", 200),
    ],
)
def test_every_answer_has_the_security_headers(method: str, path: str, status: int) -> None:
    with serving(Stream(), None) as port:
        found, _, headers = ask(port, path, method)
        assert found == status
        assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "python" not in headers["Server"].lower()


def test_a_client_that_says_nothing_keeps_nobody_else_waiting() -> None:
    with serving(Stream(), None) as port:
        silent = [socket.create_connection((HOST, port)) for _ in range(64)]
        try:
            assert ask(port, "/metrics")[0] == 200
        finally:
            for one in silent:
                one.close()


def test_an_address_that_is_taken_is_one_sentence_that_names_the_settings() -> None:
    with (
        serving(Stream(), None) as port,
        pytest.raises(PipelineError, match="JOULE_EXPORTER_PORT to a free port"),
    ):
        Server(HOST, port, Collector([]), None)


def test_the_token_is_not_shown_by_the_settings() -> None:
    assert TOKEN not in repr(load_settings({"exporter.token": TOKEN}))
