"""All long-lived processes behind TLS and passwords, with every secret that there is: none is to be seen anywhere.

One start serves all of it: `joule up` on the servers of tests/contract/secure.py, which starts the stream, the node
agent, the alerts process, the exporter, the dashboard and a training, and looks after them.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from pymongo import MongoClient

from conf.clients import kafka_options, mongo_options, spark_kafka_options
from conf.settings import Settings, load_settings, secret_variables
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import end_group
from joulestream.local.topics import ensure_topics
from schemas import documents
from spark_jobs.store import Address
from tests.contract.secure import DATABASE, KAFKA_PASSWORD, MONGO_PASSWORD, USER, Secure
from tests.contract.watched import Watched, hides

pytestmark = [pytest.mark.spark, pytest.mark.stack, pytest.mark.timeout(900)]

COMPONENTS = {"stream", "agent", "alerts", "dashboard", "exporter", "demo"}
# Of which each has a log that is not empty at this level; what the others have is looked through all the same.
TALKATIVE = {"stream", "alerts", "dashboard", "exporter"}
TOKEN, LOGIN = "exporter-hunter2", "login-hunter2-of-more-than-thirty-two-characters"
PROVIDER = f"""[auth]
redirect_uri = "http://{HOST}/oauth2callback"
cookie_secret = "{LOGIN}"
client_id = "joulestream"
client_secret = "client-hunter2"
server_metadata_url = "http://{HOST}:1/.well-known/openid-configuration"
"""
# What Java itself says when Spark starts it, before there is any logging.
JVM_SAYS = "WARNING: Using incubator modules: jdk.incubator.vector"
READY_S, ALERT_S = 400.0, 120.0


def secrets_of(secure: Secure, folder: Path) -> dict[str, str]:
    """Every secret that the settings know, given in each of the ways in which one can be given."""
    token, provider = folder / "token", folder / "secrets.toml"
    token.write_text(f"{TOKEN}\n")
    provider.write_text(PROVIDER)
    return {
        "JOULE_KAFKA_PASSWORD": KAFKA_PASSWORD,
        "JOULE_MONGODB_URI": f"mongodb://{USER}:{quote(MONGO_PASSWORD)}@{HOST}:{secure.mongo_port}/",
        "JOULE_EXPORTER_TOKEN_FILE": str(token),
        "JOULE_PROMETHEUS_TOKEN": "prometheus-hunter2",
        "JOULE_STREAM_AUTH_SECRET": "spark-hunter2",
        "JOULE_ALERTS_WEBHOOK_URL": f"http://{HOST}:{any_free()}/hook-hunter2?token=hunter2",
        "JOULE_ALERTS_WEBHOOK_SECRET": "webhook-hunter2",
        "JOULE_ALERTS_SMTP_PASSWORD": "mail-hunter2",
        "STREAMLIT_SECRETS_FILES": str(provider),
    }


class Stack(Watched):
    """`joule up` in the foreground, and the verbs that look at it."""

    def __init__(self, secure: Secure, folder: Path) -> None:
        self.data = folder / "data"
        hidden = folder / "hidden"
        hidden.mkdir()
        kafka = secure.kafka(password=KAFKA_PASSWORD, password_file=None)
        mongodb = secure.mongodb(username=None, password_file=None)
        env = {
            **os.environ,
            **secure.variables(kafka=kafka, mongodb=mongodb),
            **secrets_of(secure, hidden),
            "JOULE_DATA_DIR": str(self.data),
            "JOULE_ACCESS_LOGIN": "true",
            "JOULE_EXPORTER_CERT_FILE": str(secure.ours.cert),
            "JOULE_EXPORTER_KEY_FILE": str(secure.ours.key),
            "JOULE_ALERTS_SMTP_HOST": HOST,
            "JOULE_ALERTS_SMTP_PORT": str(any_free()),
            "JOULE_ALERTS_SMTP_USER": USER,
            "JOULE_ALERTS_MAIL_FROM": "joule@example.org",
            "JOULE_ALERTS_MAIL_TO": "someone@example.org",
            "JOULE_ALERTS_EVERY_S": "1",
            "JOULE_LOGS_LEVEL": "DEBUG",
            "JOULE_LOGS_FORMAT": "json",
        }
        super().__init__(folder / "up.log", env)

    def up(self) -> None:
        port_base = ("--port-base", str(any_free()))
        self.begin([sys.executable, "-m", "joulestream", "up", "--exporter", *port_base])

    def is_ready(self) -> bool:
        state = self.data / "state.json"
        return state.is_file() and json.loads(state.read_text())["phase"] == "ready"

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(120)
            end_group(self.process.pid, 5, self.process)


@contextmanager
def stack(secure: Secure, folder: Path) -> Iterator[Stack]:
    made = Stack(secure, folder)
    try:
        made.up()
        yield made
    finally:
        made.end()


def got(url: str, token: str | None = None, ca: Path | None = None) -> tuple[int, str]:
    """Status of an answer, and all of it."""
    context = ssl.create_default_context(cafile=ca)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http, of this machine
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310 - likewise
            return answer.status, f"{answer.headers}{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return error.code, f"{error.headers}{error.read().decode()}"


@pytest.fixture(scope="module")
def shown(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with a training that has been counted, and a budget whose alert nobody could be told of."""
    ensure_topics(secure.kafka())
    with (
        stack(secure, tmp_path_factory.mktemp("components")) as made,
        MongoClient[dict[str, Any]](**mongo_options(secure.mongodb())) as client,
    ):
        made.wait("readiness", made.is_ready, READY_S)
        made.verb("budget", "add", "--limit", "0.000001kWh", "--all", "tiny")
        db = client[DATABASE]
        made.wait("failed delivery", lambda: b"tiny" in _alerts_log(made), ALERT_S)
        assert db[documents.RUN_SUMMARY].count_documents({}) >= 1
        yield made


def _alerts_log(made: Stack) -> bytes:
    return (made.data / "logs" / "alerts.log").read_bytes()


def test_every_secret_of_the_settings_is_given_here(secure: Secure, tmp_path: Path) -> None:
    given = {name.removesuffix("_FILE") for name in secrets_of(secure, tmp_path)}
    known = {name.removesuffix("_FILE") for name in secret_variables()}
    # The address of the store holds the password here.
    assert known - given == {"JOULE_MONGODB_PASSWORD"}


def test_no_process_has_a_secret_on_its_command_line(shown: Stack) -> None:
    status = json.loads(shown.verb("status", "--json"))
    assert {one["service"] for one in status["services"]} >= COMPONENTS
    pids = {one["pid"] for one in status["services"] if one["pid"]}
    family = shown.family()
    assert pids <= {process.pid for process in family}
    seen = set()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            line = Path(f"/proc/{process.pid}/cmdline")
            words = line.read_text() if line.exists() else "\0".join(process.cmdline())
            hides("a command line", words)
            seen.add(process.pid)
    assert pids <= seen


def test_no_file_that_the_processes_write_holds_a_secret(shown: Stack) -> None:
    files = {file for file in shown.data.rglob("*") if file.is_file()}
    for file in (*files, shown.log):
        hides(str(file), file.read_text(errors="replace"))
    logs = {file.stem for file in files if file.suffix == ".log" and file.stat().st_size}
    assert logs >= TALKATIVE
    # What could be told wrong was told: the delivery that failed, with its channel.
    assert "webhook" in _alerts_log(shown).decode()


def test_each_line_of_every_log_is_an_object(shown: Stack) -> None:
    for name in ("stream", "alerts", "exporter", "agent"):
        for line in (shown.data / "logs" / f"{name}.log").read_text().splitlines():
            if line != JVM_SAYS:
                assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize(("verb", "word"), [("status", "stream"), ("doctor", "mongodb")])
def test_no_verb_shows_a_secret(shown: Stack, verb: str, word: str, flags: list[str]) -> None:
    assert word in shown.verb(verb, *flags)


def test_metrics_need_the_token_and_show_none(shown: Stack, secure: Secure) -> None:
    status = json.loads(shown.verb("status", "--json"))
    port = next(one["port"] for one in status["services"] if one["service"] == "exporter")
    page, ca = f"https://{HOST}:{port}/metrics", secure.authority.ca
    assert page in shown.log.read_text()
    code, text = got(page, ca=ca)
    assert code == 401
    assert "joulestream_" not in hides(page, text)
    code, text = got(page, TOKEN, ca)
    assert code == 200
    assert "joulestream_" in hides(page, text)


def test_the_dashboard_shows_no_secret_to_who_has_not_logged_in(shown: Stack) -> None:
    base = json.loads(shown.verb("status", "--json"))["dashboard_url"]
    for path in ("/", "/_stcore/health", "/_stcore/host-config"):
        code, text = got(base + path)
        assert code == 200
        hides(path, text)


def test_settings_and_what_is_made_of_them_hide_their_secrets_in_repr(
    shown: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shown.env.items():
        if name.startswith("JOULE_"):
            monkeypatch.setenv(name, value)
    settings: Settings = load_settings()
    things = (
        settings,
        Address.of(settings),
        kafka_options(settings.kafka),
        spark_kafka_options(settings.kafka),
        mongo_options(settings.mongodb),
        *(getattr(settings, section) for section in type(settings).model_fields),
    )
    for thing in things:
        hides(type(thing).__name__, f"{thing!r} {thing} {[thing]}")
    assert settings.kafka.password is not None
    assert settings.kafka.password.get_secret_value() == KAFKA_PASSWORD
    assert settings.exporter.token is not None
    assert settings.exporter.token.get_secret_value() == TOKEN
