"""A real exporter and Debian's Prometheus on 127.0.0.1, each with files of its own."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.settings import load_settings
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import Service, python
from joulestream.local.services import page_away
from tests.contract.certificates import Certificate

TOKEN = "scrape-token-of-the-test"
DATABASE = "joule_test_prometheus"


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


def started_with(config: Path, folder: Path) -> tuple[Service, str]:
    """Prometheus with this configuration and a data folder below `folder`, and its address."""
    port = any_free()
    url = f"http://{HOST}:{port}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    service = Service(
        name="prometheus",
        command=[*command, f"--web.listen-address={HOST}:{port}"],
        log=folder / "prometheus.log",
        port=port,
        ready=lambda: page_away(f"{url}/-/ready"),
        ready_timeout_s=30,
    )
    return service, url
