"""OpenTelemetry: what is sent is what the page says, and an endpoint that is away costs nothing but its turn."""

from __future__ import annotations

import gzip
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from conf.settings import load_settings
from joulestream.exporter.collector import Collector
from joulestream.exporter.looks import Part
from joulestream.exporter.otlp import Sender, address, sender_of
from joulestream.exporter.samples import Buckets, Samples
from schemas.errors import PipelineError
from tests.waiting import until


class Receiver(ThreadingHTTPServer):
    """Takes what is posted to it, and decodes it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.taken: list[tuple[str, dict[str, Any], str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportMetricsServiceRequest.FromString(body)
        (resource,) = request.resource_metrics
        metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
        if self.server.status == 200:
            self.server.taken.append((self.path, metrics, self.headers.get("Authorization")))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def collector() -> Collector:
    out = Samples()
    out.add("query_consumed_messages_total", 41, query="node", topic="node.metrics", partition="2")
    out.add("energy_joules_total", 2.5)
    out.add("node_power_watts", 70.5, node="n1")
    out.add("query_batch_duration_seconds", Buckets((1.0, 2.0), (1, 3), 4, 9.5), query="node")
    return Collector([Part("stream", lambda: out.found, 0.0, clock=lambda: 0.0)], frozenset({"stream"}))


def sender(url: str) -> Sender:
    made = sender_of(
        load_settings({"exporter.otlp_endpoint": url, "exporter.otlp_every_s": 1.0}), collector()
    )
    assert made is not None
    return made


def test_what_is_sent_is_what_the_page_says() -> None:
    with receiving() as server:
        one = sender(server.url)
        one.send()
        ((path, metrics, _),) = server.taken
    assert path == "/v1/metrics"
    consumed = metrics["joulestream_query_consumed_messages_total"].sum
    assert consumed.is_monotonic
    assert consumed.data_points[0].as_double == 41
    labels = {pair.key: pair.value.string_value for pair in consumed.data_points[0].attributes}
    assert labels == {"query": "node", "topic": "node.metrics", "partition": "2"}
    # It began long before this process; the other began with it.
    assert consumed.data_points[0].start_time_unix_nano == 0
    energy = metrics["joulestream_energy_joules_total"]
    assert energy.unit == "J"
    assert energy.sum.data_points[0].start_time_unix_nano == one.started_ns
    power = metrics["joulestream_node_power_watts"]
    assert (power.unit, power.gauge.data_points[0].as_double) == ("W", 70.5)
    durations = metrics["joulestream_query_batch_duration_seconds"].histogram.data_points[0]
    assert list(durations.bucket_counts) == [1, 2, 1]
    assert list(durations.explicit_bounds) == [1.0, 2.0]
    assert (durations.count, durations.sum, durations.HasField("min")) == (4, 9.5, False)


def test_headers_of_the_usual_variable_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer abc")
    with receiving() as server:
        sender(server.url).send()
        assert server.taken[0][2] == "Bearer abc"


def test_an_endpoint_that_refuses_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as server:
        one = sender(server.url)
        server.status = 400
        one.send()
        one.send()
        server.status = 200
        one.send()
        one.send()
        assert len(server.taken) == 2
    said = [record.getMessage() for record in caplog.records if "endpoint" in record.getMessage()]
    assert ["takes no metrics" in said[0], "takes metrics again" in said[1]] == [True, True]
    assert len(said) == 2


def test_it_is_sent_every_so_often_and_once_more_at_the_end() -> None:
    with receiving() as server:
        one, stop = sender(server.url), threading.Event()
        one.every_s = 0.05
        thread = threading.Thread(target=one.run, args=(stop,))
        thread.start()
        until(lambda: len(server.taken) >= 3)
        one.every_s = 60.0
        stop.set()
        thread.join(60)
        n_taken = len(server.taken)
    assert n_taken >= 4


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://c:4318", "http://c:4318/v1/metrics"),
        ("https://c:4318/", "https://c:4318/v1/metrics"),
        ("http://c/own/path", "http://c/own/path"),
    ],
)
def test_an_address_without_path_gets_the_usual_one(given: str, meant: str) -> None:
    assert address(given) == meant


@pytest.mark.parametrize("given", ["c:4318", "grpc://c:4317", "http://"])
def test_an_address_that_is_none_is_one_sentence(given: str) -> None:
    with pytest.raises(PipelineError, match=r"otlp_endpoint is .*expected http"):
        address(given)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    with pytest.raises(PipelineError, match=r"pip install '\.\[otel\]'"):
        sender("http://127.0.0.1:1")


def test_without_an_endpoint_nothing_is_sent() -> None:
    assert sender_of(load_settings(), collector()) is None
