"""Debian's Prometheus with the configuration that `monitoring-plain` renders, and exporters that serve HTTPS.

The certificates are those that `joule k8s certificates` makes for a trial.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from joulestream.cluster.certificates import secrets_of
from joulestream.local.process import Service, running
from tests.contract.certificates import Certificate
from tests.e2e.scraping import DATABASE, TOKEN, Scraped, exporter_service, read, started_with
from tests.exporter_seed import seed_fleet
from tests.k8s.plain_prometheus import laid_out
from tests.k8s.rendering import compose

TARGET = "[stream-exporter:9464]"
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("prometheus", "kubectl", "openssl"))),
    reason="prometheus (Debian: apt-get install --no-install-recommends prometheus), kubectl or openssl is missing",
)


@dataclass(frozen=True)
class Watched:
    """A Prometheus, and the addresses of exporters: the right one, one of another name, one of another authority."""

    prometheus: Scraped
    right: str
    another_name: str
    another_authority: str

    def targets(self) -> dict[str, dict[str, Any]]:
        """What Prometheus says of the targets of its job, by their addresses."""
        said = json.loads(read(f"{self.prometheus.url}/api/v1/targets"))["data"]["activeTargets"]
        return {one["labels"]["instance"]: one for one in said if one["labels"]["job"] == "stream-exporter"}

    def asked(self) -> bool:
        """Whether each was scraped, whatever came of it."""
        return [one["health"] in ("up", "down") for one in self.targets().values()] == [True] * 3


def files_of(name: str) -> dict[str, str]:
    """A secret of a new authority."""
    (secret,) = secrets_of("localhost", 1, [name])
    files = secret["stringData"]
    assert isinstance(files, dict)
    return files


def exporter(uri: str, folder: Path, name: str, files: Mapping[str, str]) -> tuple[Service, str]:
    """A real exporter that shows this certificate, with the token of the test."""
    own = folder / name
    own.mkdir(parents=True)
    for key, content in files.items():
        (own / key).write_text(content, "ascii")
    (own / "token").write_text(TOKEN)
    certificate = Certificate(own / "tls.crt", own / "tls.key", own / "tls.crt")
    return exporter_service(uri, own / "token", own, certificate)


def prometheus(
    folder: Path, secrets: Mapping[str, Mapping[str, str]], targets: list[str]
) -> tuple[Service, str]:
    """As its pod runs it, on files below a folder, but for the exporters' addresses and a shorter interval."""
    done = compose(folder, ["overlays/monitoring-plain"], ["exporter-tls/plain"])
    assert done.failure == ""
    config = laid_out(done.things, folder / "root", secrets)
    text = config.read_text("utf-8")
    assert (text.count(TARGET), text.count("30s"), text.count("10s")) == (1, 2, 1)
    text = text.replace(TARGET, json.dumps(targets)).replace("30s", "2s").replace("10s", "2s")
    config.write_text(text, "utf-8")
    return started_with(config, folder)


@pytest.fixture(scope="module")
def watched(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """All at work, and every target asked at least once."""
    folder = tmp_path_factory.mktemp("plain")
    ours, another = secrets_of("localhost", 1, ["exporter-tls", "mongodb-tls"])
    right, wrong = (one["stringData"] for one in (ours, another))
    assert isinstance(right, dict)
    assert isinstance(wrong, dict)
    shown = {"right": right, "name": wrong, "authority": files_of("exporter-tls")}
    with MongoClient[dict[str, Any]](store.address, tz_aware=True) as client:
        client.drop_database(DATABASE)
        seed_fleet(client[DATABASE], datetime.now(timezone.utc))
        exporters = [exporter(store.address, folder, name, files) for name, files in shown.items()]
        targets = [target for _, target in exporters]
        secrets = {"exporter-tls": right, "exporter-token": {"token": TOKEN}}
        server, url = prometheus(folder, secrets, targets)
        with running(*(service for service, _ in exporters)), running(server):
            found = Watched(Scraped(url, targets[0], client[DATABASE]), *targets)
            found.prometheus.wait(found.asked, "a scrape of each target")
            yield found
        client.drop_database(DATABASE)


def test_the_exporter_is_scraped_by_https(watched: Watched) -> None:
    target = watched.targets()[watched.right]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["scrapeUrl"] == f"https://{watched.right}/metrics"
    assert list(watched.prometheus.ask("joulestream_store_up").values()) == [1.0]


def test_a_server_of_another_name_is_refused(watched: Watched) -> None:
    target = watched.targets()[watched.another_name]
    assert target["health"] == "down"
    assert "stream-exporter.bigdata-pipeline.svc" in target["lastError"]


def test_a_server_of_another_authority_is_refused(watched: Watched) -> None:
    target = watched.targets()[watched.another_authority]
    assert target["health"] == "down"
    assert "unknown authority" in target["lastError"] or "verif" in target["lastError"]


def test_the_rules_are_judged(watched: Watched) -> None:
    groups = json.loads(read(f"{watched.prometheus.url}/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["type"] for rule in rules} == {"alerting", "recording"}
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
