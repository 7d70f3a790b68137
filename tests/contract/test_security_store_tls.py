"""The document store over TLS: certificates that are wrong, certificates that it asks for, certificates that change."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo.errors import ServerSelectionTimeoutError

from conf.mongo_trouble import mongo_refusal
from conf.sections import MongoDB
from conf.settings import env_name
from conf.trouble import Refused
from dashboard.store import Store, StoreAway
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import ROOT, Service, running
from joulestream.local.store import find_document_server, store_away, store_service
from spark_jobs.store import Address, Patience, connect, server_errors
from tests.contract.certificates import Authority, Certificate

pytestmark = pytest.mark.stack
ELSEWHERE = "192.0.2.7"  # an address that nobody has (RFC 5737)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Stores:
    """One server for each way in which its certificate is good or bad, and whose certificates there are."""

    authority: Authority
    stranger: Authority
    ports: Mapping[str, int]
    ours: Certificate
    expired: Certificate
    strange: Certificate

    def mongodb(self, server: str, **changes: Any) -> MongoDB:
        """The settings for a server: trust in the authority, no certificate of ours, and changes."""
        uri = SecretStr(f"mongodb://{HOST}:{self.ports[server]}")
        given = {"uri": uri, "ca_file": self.authority.ca, "timeout_s": 0.5, **changes}
        return MongoDB(**{name: value for name, value in given.items() if value is not None})


def server(folder: Path, port: int, certificate: Certificate, *more: str) -> Service:
    """A document server with this certificate; it is ready whether or not its certificate is good."""
    uri = f"mongodb://{HOST}:{port}/?tls=true&tlsAllowInvalidCertificates=true"
    reach = MongoDB(uri=SecretStr(uri), cert_file=certificate.both)
    files = ("--tls-cert-file", str(certificate.cert), "--tls-key-file", str(certificate.key))
    log = folder.with_suffix(".log")
    return store_service(folder, port, find_document_server(), log, (*files, *more), reach)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """The servers, ended with the module."""
    folder = tmp_path_factory.mktemp("stores")
    authority, stranger = Authority(folder / "ours"), Authority(folder / "others", "others")
    good = authority.issue("server")
    # The mutual server looks at itself with its own certificate, which comes from the authority that it asks for.
    asks = ("--tls-ca-file", str(authority.ca), "--tls-require-client-cert")
    certificates: dict[str, tuple[Certificate, tuple[str, ...]]] = {
        "good": (good, ()),
        "expired": (authority.issue("old", until=-DAY), ()),
        "early": (authority.issue("new", since=DAY), ()),
        "elsewhere": (authority.issue("elsewhere", host=ELSEWHERE), ()),
        "mutual": (good, asks),
    }
    ports = {name: any_free() for name in certificates}
    services = [
        server(folder / name, ports[name], certificate, *more)
        for name, (certificate, more) in certificates.items()
    ]
    with running(*services):
        yield Stores(
            authority,
            stranger,
            ports,
            authority.issue("joule"),
            authority.issue("late", until=-DAY),
            stranger.issue("joule"),
        )


LET_IN: dict[str, Callable[[Stores], MongoDB]] = {
    "its certificate is good": lambda s: s.mongodb("good"),
    "it asks for no certificate, and gets one": lambda s: s.mongodb("good", cert_file=s.ours.both),
    "it asks for a certificate, and gets one": lambda s: s.mongodb("mutual", cert_file=s.ours.both),
}
REFUSED: dict[str, tuple[Callable[[Stores], MongoDB], tuple[str, ...]]] = {
    "expired": (
        lambda s: s.mongodb("expired"),
        ("its certificate has expired", "renew it on the server"),
    ),
    "not yet valid": (
        lambda s: s.mongodb("early"),
        ("its certificate is not valid yet", "compare the clocks"),
    ),
    "another host": (
        lambda s: s.mongodb("elsewhere"),
        (f"its certificate is not for '{HOST}'", "use an address that it names"),
    ),
    "another authority": (
        lambda s: s.mongodb("good", ca_file=s.stranger.ca),
        ("comes from no authority in", "set mongodb.ca_file"),
    ),
    "no authority given": (
        lambda s: s.mongodb("good", ca_file=None, tls=True),
        ("comes from no authority that we know", "set mongodb.ca_file"),
    ),
    "none of ours": (
        lambda s: s.mongodb("mutual"),
        ("asks for a certificate of ours", "set mongodb.cert_file"),
    ),
    "ours expired": (
        lambda s: s.mongodb("mutual", cert_file=s.expired.both),
        ("refuses our certificate", "late.both.pem", "it has expired", "mongodb.cert_file"),
    ),
    "ours unknown": (
        lambda s: s.mongodb("mutual", cert_file=s.strange.both),
        ("refuses our certificate", "none of its authorities", "mongodb.cert_file"),
    ),
}
# Mains that open the store, with what they are told on their command line; one of each kind for our own certificate.
PROCESSES: dict[str, tuple[str, ...]] = {
    "stream": ("spark_jobs.stream",),
    "alerts": ("joulestream.alerting",),
    "audit": ("joulestream", "audit"),
    "counts": ("joulestream.cluster.counts",),
    "health check": ("joulestream.cluster.health", "store"),
}
STARTED = [("expired", name) for name in PROCESSES] + [
    ("ours expired", "stream"),
    ("ours expired", "health check"),
]


@pytest.mark.parametrize("how", LET_IN)
def test_a_store_lets_us_in(stores: Stores, how: str) -> None:
    mongodb = LET_IN[how](stores)
    assert store_away(mongodb) is None
    db = connect(Address(mongodb))
    with db.client:
        assert db.command("ping")["ok"] == 1
    with Store(mongodb) as store:
        store.ping()


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_a_certificate_is_told_with_its_remedy(stores: Stores, case: str) -> None:
    make, words = REFUSED[case]
    mongodb = make(stores)
    db = connect(Address(mongodb))
    with db.client, pytest.raises(Refused) as refused, server_errors("the document store", mongodb):
        db.list_collection_names()
    with Store(mongodb) as store, pytest.raises(StoreAway) as page:
        store.ping()
    for text in (str(refused.value), str(page.value), store_away(mongodb, 0.5) or ""):
        assert "\n" not in text
        for word in words:
            assert word in text


@pytest.mark.parametrize("case", ["none of ours", "ours expired", "ours unknown"])
def test_why_our_certificate_is_refused_is_asked_where_the_driver_only_saw_the_end(
    stores: Stores, case: str
) -> None:
    make, words = REFUSED[case]
    mongodb = make(stores)
    seen = f"{HOST}:{stores.ports['mutual']}: EOF occurred in violation of protocol (_ssl.c:2427)"
    told = f"{seen}, servers: [<ServerDescription ('{HOST}', {stores.ports['mutual']}) server_type: Unknown>]"
    refused = mongo_refusal(ServerSelectionTimeoutError(told), mongodb)
    for word in words:
        assert word in str(refused)
    assert (
        mongo_refusal(ServerSelectionTimeoutError(told), stores.mongodb("mutual", cert_file=stores.ours.both))
        is None
    )


@pytest.fixture(scope="module")
def ended(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[int, str]]:
    """Mains at a store with an expired certificate, and at one that refuses ours: exit code and words."""
    started = {}
    for case, name in STARTED:
        mongodb = REFUSED[case][0](stores)
        given = {key: getattr(mongodb, key) for key in mongodb.model_fields_set - {"uri"}}
        env = {env_name(f"mongodb.{key}"): str(value) for key, value in given.items()}
        env |= {"JOULE_MONGODB_URI": mongodb.uri.get_secret_value()}
        folder = tmp_path_factory.mktemp("process")
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *PROCESSES[name]],
                stdout=output,
                stderr=output,
                env={**os.environ, **env, "JOULE_DATA_DIR": str(folder)},
                cwd=ROOT,
            )
        started[case, name] = (process, log)
    try:
        return {key: (process.wait(120), log.read_text()) for key, (process, log) in started.items()}
    finally:
        for process, _ in started.values():
            process.kill()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("case", "name"), STARTED, ids=str)
def test_a_process_says_what_is_wrong_with_the_certificate_in_one_line_and_ends(
    ended: dict[tuple[str, str], tuple[int, str]], case: str, name: str
) -> None:
    code, text = ended[case, name]
    lines = [line for line in text.splitlines() if "the document store at" in line]
    assert code == 1, text
    assert len(lines) == 1, text
    assert "Traceback" not in text
    for word in REFUSED[case][1]:
        assert word in lines[0]


def test_who_has_worked_goes_on_when_the_server_has_a_new_certificate(tmp_path: Path) -> None:
    authority, next_one = Authority(tmp_path / "old"), Authority(tmp_path / "new", "next")
    files = authority.issue("server")
    port = any_free()
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(authority.ca.read_bytes() + next_one.ca.read_bytes())
    service = server(tmp_path / "store", port, files, "--tls-ca-file", str(trusted))
    uri = SecretStr(f"mongodb://{HOST}:{port}")
    mongodb = MongoDB(uri=uri, ca_file=trusted, cert_file=files.both, timeout_s=5)
    patience = Patience(mongodb=mongodb, longest_s=0.2)
    renewals = {
        "by the same authority": authority.issue("renewed"),
        "by the next authority": next_one.issue("renewed"),
    }
    with running(service) as (first,), connect(Address(mongodb)).client as client:
        kept = client["joule"]["kept"]  # the client is the same one from here to the end
        kept.insert_one({"_id": "first"})
        first.stop()
        for count, (how, renewed) in enumerate(renewals.items(), 2):
            for new, old in ((renewed.cert, files.cert), (renewed.key, files.key)):
                shutil.copyfile(new, old)
            with running(service):
                assert ssl.get_server_certificate((HOST, port)).strip() == renewed.cert.read_text().strip()
                patience(partial(kept.insert_one, {"_id": how}))
                assert kept.count_documents({}) == count
