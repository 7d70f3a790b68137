"""The client of Prometheus' HTTP API, against a server of the test's own: bounded questions, clear refusals."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from conf.operations import Prometheus
from producers.prometheus import api as api_module
from producers.prometheus.api import PrometheusApi
from producers.prometheus.serving import prometheus_api
from schemas.errors import PipelineError, RetryableError

Answer = tuple[int, bytes]


def matrix(*series: dict[str, Any]) -> Answer:
    return 200, json.dumps(
        {"status": "success", "data": {"resultType": "matrix", "result": list(series)}}
    ).encode()


def error(code: int, words: str) -> Answer:
    return code, json.dumps({"status": "error", "errorType": "execution", "error": words}).encode()


class Server(ThreadingHTTPServer):
    """Keeps what it is asked."""

    def __init__(self, answer: Callable[[dict[str, str]], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = {name: values[0] for name, values in parse_qs(body).items()}
        self.server.asked.append(fields)
        self.server.tokens.append(self.headers.get("Authorization"))
        code, text = self.server.answer(fields)
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(answer: Callable[[dict[str, str]], Answer]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def samples_of(fields: dict[str, str]) -> Answer:
    """A sample a second over the range that is asked, without its left end (as from Prometheus 3 on)."""
    end_ms = round(float(fields["time"]) * 1000)
    span_ms = int(fields["query"].partition("[")[2].removesuffix("ms]"))
    times = [ms for ms in range(0, end_ms + 1, 1000) if end_ms - span_ms < ms]
    values = [[ms / 1000, str(ms / 10)] for ms in times]
    return matrix({"metric": {"__name__": "m", "zone": "package"}, "values": values})


def test_each_sample_comes_once_whatever_the_range() -> None:
    with serving(samples_of) as server:
        (series,) = PrometheusApi(server.url, 5).samples("m", 3_000, 9_000_000)
    assert series.points == tuple((ms, ms / 10) for ms in range(3_000, 9_000_001, 1000))
    assert (series.name, dict(series.labels)) == ("m", {"zone": "package"})
    assert len(server.asked) == 3


def test_an_answer_that_is_too_much_is_asked_for_in_halves() -> None:
    def answer(fields: dict[str, str]) -> Answer:
        _, body = samples_of(fields)
        few = len(json.loads(body)["data"]["result"][0]["values"]) <= 500
        return (200, body) if few else error(422, "query processing would load too many samples into memory")

    with serving(answer) as server:
        (series,) = PrometheusApi(server.url, 5).samples("m", 0, 3_000_000)
    assert series.points == tuple((ms, ms / 10) for ms in range(0, 3_000_001, 1000))


def test_an_answer_that_takes_too_long_is_asked_for_in_halves() -> None:
    def answer(fields: dict[str, str]) -> Answer:
        few = int(fields["query"].partition("[")[2].removesuffix("ms]")) < 100_000
        time.sleep(0.0 if few else 2.0)
        return samples_of(fields)

    with serving(answer) as server:
        (series,) = PrometheusApi(server.url, 1.0).samples("m", 0, 120_000)
    assert len(series.points) == 121


def test_a_server_that_hangs_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "MIN_SPAN_MS", 60_000)

    def answer(fields: dict[str, str]) -> Answer:
        time.sleep(0.3)
        return samples_of(fields)

    with serving(answer) as server, pytest.raises(RetryableError, match="did not answer within"):
        PrometheusApi(server.url, 0.1).samples("m", 0, 100_000)


def test_an_answer_beyond_our_memory_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "MAX_ANSWER_BYTES", 20_000)
    with serving(samples_of) as server:
        (series,) = PrometheusApi(server.url, 5).samples("m", 0, 3_000_000)
    assert len(series.points) == 3001
    assert len(server.asked) > 2


def test_values_that_are_no_numbers_are_missing() -> None:
    answer = matrix({"metric": {"__name__": "m"}, "values": [[1, "NaN"], [2, "+Inf"], [3, "4"]]})
    with serving(lambda _: answer) as server:
        (series,) = PrometheusApi(server.url, 5).samples("m", 0, 10_000)
    assert series.points == ((3_000, 4.0),)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(401, "no"), PipelineError, "token_file"),
        (error(403, "no"), PipelineError, "token_file"),
        (error(422, "parse error"), PipelineError, r"parse error; correct prometheus\.match"),
        (error(400, "unexpected {"), PipelineError, "unexpected {"),
        ((404, b"404 page not found"), PipelineError, r"correct prometheus\.url"),
        ((302, b""), PipelineError, r"correct prometheus\.url"),
        ((200, b"<html>"), PipelineError, r"no Prometheus API; correct prometheus\.url"),
        ((200, b'{"data": {"resultType": "vector", "result": []}}'), PipelineError, "vector"),
        ((200, b'{"data": {"resultType": "matrix", "result": [1]}}'), PipelineError, "no Prometheus API"),
        (error(503, "starting"), RetryableError, "cannot answer now"),
        (error(429, "slow down"), RetryableError, "cannot answer now"),
        (error(503, "query timed out in expression evaluation"), RetryableError, "timed out"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_says_what_to_do(answer: Answer, kind: type[PipelineError], words: str) -> None:
    with serving(lambda _: answer) as server, pytest.raises(PipelineError, match=words) as raised:
        PrometheusApi(server.url, 5).samples("m", 0, 10_000)
    assert isinstance(raised.value, RetryableError) == (kind is RetryableError)


def test_a_server_that_is_away_is_tried_again() -> None:
    with serving(samples_of) as server:
        url = server.url
    with pytest.raises(RetryableError, match="no Prometheus answers at"):
        PrometheusApi(url, 1).samples("m", 0, 10_000)


def test_plain_http_where_tls_is_expected_is_said() -> None:
    with serving(samples_of) as server, pytest.raises(PipelineError, match="is it https at all"):
        PrometheusApi(server.url.replace("http:", "https:"), 5).samples("m", 0, 10_000)


def test_a_token_is_read_from_its_file_at_each_question(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    with serving(samples_of) as server:
        client = prometheus_api(Prometheus(url=server.url, token_file=file))
        client.samples("m", 0, 1_000)
        file.write_text("two\n")
        client.samples("m", 0, 1_000)
    assert server.tokens == ["Bearer one", "Bearer two"]
    file.unlink()
    with pytest.raises(PipelineError, match="token_file"):
        client.samples("m", 0, 1_000)


def test_no_password_goes_into_an_address_and_no_address_is_said() -> None:
    with pytest.raises(PipelineError, match="token_file") as raised:
        PrometheusApi("http://me:secret@host", 1)
    assert "secret" not in str(raised.value)
    with pytest.raises(PipelineError, match="JOULE_PROMETHEUS_URL"):
        prometheus_api(Prometheus())


def test_a_file_that_holds_no_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(PipelineError, match=r"prometheus\.ca_file"):
        PrometheusApi("https://host", 1, ca_file=tmp_path / "ca.pem")


def test_a_warning_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    answer = b'{"status": "success", "warnings": ["one store is away"], "data": {"resultType": "matrix", "result": []}}'
    with serving(lambda _: (200, answer)) as server:
        client = PrometheusApi(server.url, 5)
        assert client.samples("m", 0, 1_000) == client.samples("m", 0, 1_000) == []
    assert [record.message.endswith("one store is away") for record in caplog.records] == [True]
