"""Debian's Prometheus scrapes the real exporter over a real store; what it answers is what the documents say."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from conf.settings import load_settings
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import Service, python, running
from joulestream.local.services import page_away
from tests.contract.certificates import Authority, Certificate
from tests.exporter_seed import seed_fleet

TOKEN = "scrape-token-of-the-test"
J_PER_KWH = 3.6e6
DATABASE = "joule_test_prometheus"

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed (Debian: apt-get install --no-install-recommends prometheus)",
)

CONFIG = """
global: {{scrape_interval: 2s, scrape_timeout: 2s}}
scrape_configs:
  - job_name: joulestream
    authorization: {{credentials_file: {token}}}
    static_configs: [{{targets: ["{target}"]}}]
  - job_name: stranger
    authorization: {{credentials: wrong}}
    static_configs: [{{targets: ["{target}"]}}]
  - job_name: encrypted
    scheme: https
    tls_config: {{ca_file: {ca}}}
    authorization: {{credentials_file: {token}}}
    static_configs: [{{targets: ["{secure}"]}}]
    metric_relabel_configs: [{{source_labels: [__name__], regex: ".*", action: drop}}]
"""


def read(url: str, **headers: str) -> bytes:
    """What is at an address of this machine."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http, of this machine
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        body: bytes = answer.read()
        return body


@dataclass(frozen=True)
class Scraped:
    """A Prometheus that scrapes an exporter, and the documents behind it."""

    url: str
    target: str
    db: Any

    def ask(self, query: str) -> dict[tuple[str, ...], float]:
        """The result of an instant query, by the labels' values in order of their names."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        found = json.loads(read(address))["data"]["result"]
        own = ("__name__", "instance", "job")
        return {
            tuple(value for name, value in sorted(one["metric"].items()) if name not in own): float(
                one["value"][1]
            )
            for one in found
        }

    def wait(self, true: Callable[[], bool], what: str) -> None:
        """Until it is true; a test that waits for nothing fails."""
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline, f"{what} was not seen within 30 s"
            time.sleep(0.2)


def exporter_service(
    uri: str, token_file: Path, folder: Path, certificate: Certificate | None = None
) -> tuple[Service, str]:
    """As the manifests start it: environment alone, a token in a file; encrypted where there is a certificate."""
    port = any_free()
    scheme = "http" if certificate is None else "https"
    files = {"CERT": certificate.cert, "KEY": certificate.key} if certificate is not None else {}
    settings = load_settings({"data_dir": folder, "mongodb.uri": uri, "mongodb.database": DATABASE})
    env = settings.environment() | {
        "JOULE_EXPORTER_PORT": str(port),
        "JOULE_EXPORTER_EVERY_S": "1",
        "JOULE_EXPORTER_TOKEN_FILE": str(token_file),
        "JOULE_KAFKA_BOOTSTRAP": f"{HOST}:1",
        "JOULE_LOGS_FORMAT": "json",
        **{f"JOULE_EXPORTER_{name}_FILE": str(path) for name, path in files.items()},
    }
    service = Service(
        name="exporter",
        command=python("joulestream.exporter"),
        log=folder / f"exporter-{scheme}.log",
        env=env,
        port=port,
        ready=lambda: page_away(f"{scheme}://{HOST}:{port}/readyz"),
        ready_timeout_s=30,
    )
    return service, f"{HOST}:{port}"


def prometheus_service(
    target: str, secure: str, ca: Path, token_file: Path, folder: Path
) -> tuple[Service, str]:
    """Debian's binary with a data folder of its own."""
    port = any_free()
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(target=target, secure=secure, ca=ca, token=token_file))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    url = f"http://{HOST}:{port}"
    service = Service(
        name="prometheus",
        command=[*command, f"--web.listen-address={HOST}:{port}"],
        log=folder / "prometheus.log",
        port=port,
        ready=lambda: page_away(f"{url}/-/ready"),
        ready_timeout_s=30,
    )
    return service, url


@pytest.fixture(scope="module")
def scraped(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """All three at work, and at least one scrape done."""
    folder = tmp_path_factory.mktemp("scrape")
    token_file = folder / "token"
    token_file.write_text(TOKEN + "\n")
    with MongoClient[dict[str, Any]](store.address, tz_aware=True) as client:
        client.drop_database(DATABASE)
        seed_fleet(client[DATABASE], datetime.now(timezone.utc))
        exporter, target = exporter_service(store.address, token_file, folder)
        authority = Authority(folder / "tls")
        encrypted, secure = exporter_service(store.address, token_file, folder, authority.issue("exporter"))
        prometheus, url = prometheus_service(target, secure, authority.ca, token_file, folder)
        with running(exporter, encrypted), running(prometheus):
            found = Scraped(url, target, client[DATABASE])
            found.wait(lambda: bool(found.ask("joulestream_store_up")), "a scrape")
            yield found
        for log in folder.glob("exporter-*.log"):
            assert TOKEN not in log.read_text()
        client.drop_database(DATABASE)


def test_prometheus_has_what_the_documents_say(scraped: Scraped) -> None:
    runs = list(scraped.db.training_run_summary.find())
    users = {run["user_id"] for run in runs}
    energy_j = {
        (user,): J_PER_KWH * sum(run["energy_kwh"] for run in runs if run["user_id"] == user)
        for user in users
    }
    assert scraped.ask("joulestream_user_stored_energy_joules") == pytest.approx(energy_j)
    (co2e_g,) = scraped.ask("joulestream_stored_co2e_grams").values()
    assert co2e_g == pytest.approx(1000 * sum(run["emissions_kg"] for run in runs))
    accepted = {
        (account["query"],): float(account["accepted"]) * 3
        for account in scraped.db.stream_accounts.find({"partition": 0})
    }
    assert scraped.ask("sum by (query) (joulestream_query_accepted_messages_total)") == accepted
    rejected = "sum(joulestream_query_rejected_messages_total) == sum(joulestream_query_consumed_messages_total) - sum("
    rest = "joulestream_query_accepted_messages_total) - sum(joulestream_query_duplicate_messages_total)"
    assert scraped.ask(rejected + rest), "consumed is accepted, rejected and duplicate"
    assert scraped.ask("joulestream_store_up") == {(): 1.0}
    assert scraped.ask("joulestream_kafka_up") == {(): 0.0}
    assert scraped.ask("joulestream_query_lag_messages") == {}, "what is not known is absent"


def test_the_wrong_token_is_a_target_that_is_down(scraped: Scraped) -> None:
    ask: Callable[[], dict[tuple[str, ...], float]] = lambda: scraped.ask('up{job="stranger"}')  # noqa: E731
    scraped.wait(lambda: bool(ask()), "the second target")
    assert list(ask().values()) == [0.0]
    assert list(scraped.ask('up{job="joulestream"}').values()) == [1.0]
    scraped.wait(
        lambda: sum(scraped.ask("joulestream_exporter_refused_requests_total").values()) >= 1,
        "a refused request",
    )


def test_it_is_scraped_over_tls_too(scraped: Scraped) -> None:
    samples: Callable[[], dict[tuple[str, ...], float]] = lambda: scraped.ask(  # noqa: E731
        'scrape_samples_scraped{job="encrypted"} > 0'
    )
    scraped.wait(lambda: bool(samples()), "a scrape over TLS")
    assert list(scraped.ask('up{job="encrypted"}').values()) == [1.0]


def test_a_run_that_grows_is_an_increase(scraped: Scraped) -> None:
    grown = "joulestream_user_energy_joules_total{user='katherine'}"
    (before,) = scraped.ask(grown).values()
    scraped.db.training_run_summary.update_one({"_id": "vit-small"}, {"$inc": {"energy_kwh": 0.25}})
    scraped.wait(lambda: sum(scraped.ask(grown).values()) > before, "the growth")
    assert list(scraped.ask(grown).values()) == pytest.approx([before + 0.25 * J_PER_KWH])
    assert scraped.ask("increase(joulestream_user_energy_joules_total{user='katherine'}[1m]) > 0")


def test_promtool_finds_nothing_wrong(scraped: Scraped) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: it comes with prometheus)")
    body = read(f"http://{scraped.target}/metrics", Authorization=f"Bearer {TOKEN}")
    done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
