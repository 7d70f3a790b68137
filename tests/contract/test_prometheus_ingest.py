"""Debian's own `prometheus` scrapes exporters that speak as Kepler (old and new names) and DCGM do; live, backfill and
raw samples agree, and what the stream makes of them charges each pod once."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import fsum
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any

import pytest

from conf.settings import load_settings
from joulestream.local.ports import HOST, any_free
from joulestream.local.topics import ensure_topics
from producers.ports import SystemClock
from producers.prometheus import ingest as ingest_module
from producers.prometheus import nodes
from producers.prometheus.api import PrometheusApi
from producers.prometheus.ingest import Ingest, Rules
from producers.prometheus.serving import backfill
from schemas import documents
from schemas.errors import RetryableError
from schemas.times import from_ms
from schemas.units import J_PER_KWH
from spark_jobs.sources import NODE
from tests import stream_model
from tests.kafka_topics import ends, since
from tests.prometheus_series import rise
from tests.sinks import ListSink
from tests.stream_model import World

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="no prometheus here: apt-get install --no-install-recommends prometheus",
)

CELL_MS = 1_000  # half a minute outside of this test
GAP_MS = 2_500
SCRAPES_S = 5.0
JOBS = 3

NEW = """\
kepler_node_cpu_joules_total{{node_name="n1",zone="package",path="/p"}} {package}
kepler_node_cpu_active_joules_total{{node_name="n1",zone="package",path="/p"}} {active}
kepler_node_cpu_idle_joules_total{{node_name="n1",zone="package",path="/p"}} {idle}
kepler_node_cpu_joules_total{{node_name="n1",zone="core",path="/c"}} {active}
kepler_pod_cpu_joules_total{{node_name="n1",zone="package",pod_id="1",pod_name="a",pod_namespace="ml"}} {pod}
"""
OLD = """\
kepler_node_package_joules_total{{instance="n2",mode="dynamic",package="0",source="intel_rapl"}} {active}
kepler_node_package_joules_total{{instance="n2",mode="idle",package="0",source="intel_rapl"}} {idle}
kepler_node_platform_joules_total{{instance="n2",mode="dynamic",source="acpi"}} {package}
kepler_container_package_joules_total{{container_id="1",container_namespace="ml",pod_name="b",mode="dynamic"}} {pod}
"""
GPU = (
    '{name}{{Hostname="n1",UUID="GPU-1",gpu="0",modelName="Tesla T4",pod="{pod}",namespace="ml",container="main",'
    'vgpu="{pod}"}} {value}\n'
)
CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - {{job_name: new, metrics_path: /new, static_configs: [{{targets: ["{target}"]}}]}}
  - {{job_name: old, metrics_path: /old, static_configs: [{{targets: ["{target}"], labels: {{node: n2}}}}]}}
  - job_name: dcgm
    metrics_path: /dcgm
    static_configs: [{{targets: ["{target}"], labels: {{pod: dcgm-exporter-x, namespace: gpu, container: exporter}}}}]
"""


class Exporter(BaseHTTPRequestHandler):
    """Counters that rise evenly with time: 90 W packages, 40 W of them active, 25 W of a pod; a GPU of 150 W."""

    def do_GET(self) -> None:
        s = time.monotonic()
        values = {"package": 90 * s, "active": 40 * s, "idle": 50 * s, "pod": 25 * s}
        energy, busy = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_UTIL"
        body = {
            "/new": NEW.format(**values),
            "/old": OLD.format(**values),
            "/dcgm": "".join(
                GPU.format(name=name, pod=pod, value=value)
                for pod in ("c", "d", "e")
                for name, value in ((energy, round(150_000 * s)), (busy, 60))
            ),
        }[self.path]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Scraped:
    """A server that has scraped for a while, and what was read from it meanwhile."""

    api: PrometheusApi
    start_ms: int
    end_ms: int
    live: ListSink = field(default_factory=ListSink)


def wait_scraping(url: str, process: Popen[bytes], log: Path) -> None:
    until_s = time.monotonic() + 20
    api = PrometheusApi(url, 5)
    while time.monotonic() < until_s and process.poll() is None:
        now_ms = int(time.time() * 1000)
        with suppress(RetryableError):
            if len(api.samples("up", now_ms - 20_000, now_ms)) == JOBS:
                return
        time.sleep(0.1)
    pytest.fail(f"prometheus did not come up:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Live from the first scrape on, until the exporters have been gone for longer than a gap."""
    folder = tmp_path_factory.mktemp("prometheus")
    exporters = ThreadingHTTPServer((HOST, 0), Exporter)
    serving = threading.Thread(target=exporters.serve_forever, args=(0.05,))
    serving.start()
    (folder / "p.yml").write_text(CONFIG.format(target=f"{HOST}:{exporters.server_port}"))
    port, log = any_free(), folder / "log"
    arguments = ["prometheus", f"--config.file={folder / 'p.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with pytest.MonkeyPatch.context() as patch, log.open("wb") as out:
        patch.setattr(nodes, "CELL_MS", CELL_MS)
        patch.setattr(ingest_module, "CELL_MS", CELL_MS)
        process = Popen([*arguments, f"--web.listen-address={HOST}:{port}"], stdout=out, stderr=STDOUT)
        try:
            url = f"http://{HOST}:{port}"
            wait_scraping(url, process, log)
            found = Scraped(PrometheusApi(url, 5), int(time.time() * 1000) - 30_000, 0)
            stop = threading.Event()
            live = Ingest(found.api, Rules(max_gap_ms=GAP_MS), found.live, SystemClock())
            follow = threading.Thread(target=live.follow, args=(folder / "note.json", 30_000, 0.3, stop))
            follow.start()
            time.sleep(SCRAPES_S)
            exporters.shutdown()
            exporters.server_close()
            time.sleep((GAP_MS + CELL_MS) / 1000 + 1.0)
            found.end_ms = int(time.time() * 1000)
            stop.set()
            follow.join()
            yield found
        finally:
            process.terminate()
            process.wait(20)
            exporters.server_close()
            serving.join()


def read(scraped: Scraped, start_ms: int, end_ms: int) -> ListSink:
    sink = ListSink()
    Ingest(scraped.api, Rules(max_gap_ms=GAP_MS), sink, SystemClock()).backfill(start_ms, end_ms)
    return sink


def raw_j(scraped: Scraped, selector: str, unit_j: float = 1.0) -> float:
    """What the stored samples of a series rose by, first to last."""
    found = scraped.api.samples(selector, scraped.start_ms, scraped.end_ms)
    assert all(len(series.points) >= 4 for series in found)
    assert found
    return rise(found[0]) * unit_j


def aggregates(sent: list[bytes], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The node windows that the stream makes of these messages."""
    monkeypatch.setattr(stream_model, "BASE", datetime.now(timezone.utc))  # the time of the records
    world = World(NODE, monkeypatch, partitions=1)
    world.topic.partitions[0] += sent
    process = world.start()
    while process.batch(5):
        pass
    return list(world.store[documents.NODE_WINDOWS].find())


def test_live_and_backfilled_samples_are_the_same_messages(scraped: Scraped) -> None:
    once = read(scraped, scraped.start_ms, scraped.end_ms)
    assert len(once.sent) >= 6
    assert set(once.sent) == set(scraped.live.sent)
    assert len(set(scraped.live.sent)) == len(scraped.live.sent)
    middle_ms = (scraped.start_ms + scraped.end_ms) // 2
    halves = [read(scraped, scraped.start_ms, middle_ms), read(scraped, middle_ms, scraped.end_ms)]
    assert {message for half in halves for message in half.sent} == set(once.sent)


def test_what_is_backfilled_is_on_the_broker_when_the_command_ends(
    scraped: Scraped, kafka_bootstrap: str, tmp_path: Path
) -> None:
    settings = load_settings(
        {
            "data_dir": tmp_path,
            "kafka.bootstrap": kafka_bootstrap,
            "prometheus.url": scraped.api.url,
            "prometheus.max_gap_s": GAP_MS / 1000,
        }
    )
    ensure_topics(settings.kafka)
    before = ends(kafka_bootstrap, NODE.topic)
    counts = backfill(settings, from_ms(scraped.start_ms), from_ms(scraped.end_ms))
    records = since(kafka_bootstrap, before)
    assert len(records) == counts.samples > 0
    found = {(record.key.decode(), record.value) for record in records}
    assert found == {(key, value) for _, key, value in scraped.live.sent}


def test_every_joule_that_was_scraped_is_in_the_aggregates_once(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = read(scraped, scraped.start_ms, scraped.end_ms)
    sent = [value for sink in (scraped.live, again) for _, _, value in sink.sent]
    docs = aggregates(sent, monkeypatch)
    node_j: dict[str, dict[str, float]] = {}
    pods_j: dict[str, float] = {}
    for doc in docs:
        sums = node_j.setdefault(doc["node_id"], {})
        for name in (
            "energy",
            "cpu_energy",
            "gpu_energy",
            "platform_energy",
            "attributed",
            "idle",
            "unattributed",
        ):
            sums[name] = sums.get(name, 0.0) + doc.get(f"{name}_kwh", 0.0) * J_PER_KWH
        for pod in doc["pods"]:
            pods_j[pod["pod"]] = pods_j.get(pod["pod"], 0.0) + pod["energy_kwh"] * J_PER_KWH
            assert pod["namespace"] == "ml"
    cpu_j = raw_j(scraped, 'kepler_node_cpu_joules_total{zone="package"}')
    gpu_j = raw_j(scraped, 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{exported_pod="c"}', 1e-3)
    old_j = fsum(
        raw_j(scraped, f'kepler_node_package_joules_total{{mode="{mode}"}}') for mode in ("dynamic", "idle")
    )
    platform_j = raw_j(scraped, "kepler_node_platform_joules_total")
    assert node_j["n1"]["cpu_energy"] == pytest.approx(cpu_j, rel=1e-9)
    assert node_j["n1"]["gpu_energy"] == pytest.approx(gpu_j, rel=1e-9)
    assert node_j["n1"]["energy"] == pytest.approx(cpu_j + gpu_j, rel=1e-9)
    assert node_j["n2"]["cpu_energy"] == pytest.approx(old_j, rel=1e-9)
    assert node_j["n2"]["energy"] == pytest.approx(max(old_j, platform_j), rel=1e-9)
    for sums in node_j.values():
        assert fsum(sums[name] for name in ("attributed", "idle", "unattributed")) == pytest.approx(
            sums["energy"], rel=1e-9
        )
    expected = {"a": raw_j(scraped, "kepler_pod_cpu_joules_total"), **dict.fromkeys("cde", gpu_j * 0.6 / 3)}
    expected["b"] = raw_j(scraped, "kepler_container_package_joules_total")
    assert pods_j == {pod: pytest.approx(value, rel=1e-9) for pod, value in expected.items()}
