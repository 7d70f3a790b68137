"""Debian's Prometheus scrapes the real exporter over a real store; what it answers is what the documents say."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from joulestream.local.process import Service, running
from tests.contract.certificates import Authority
from tests.e2e.scraping import DATABASE, TOKEN, Scraped, exporter_service, read, started_with
from tests.exporter_seed import seed_fleet

J_PER_KWH = 3.6e6

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


def prometheus_service(
    target: str, secure: str, ca: Path, token_file: Path, folder: Path
) -> tuple[Service, str]:
    """Debian's binary with a data folder of its own."""
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(target=target, secure=secure, ca=ca, token=token_file))
    return started_with(config, folder)


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
