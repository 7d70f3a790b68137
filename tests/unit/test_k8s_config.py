"""The cluster's ConfigMaps, passwords, executors' template and probes, without a cluster."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from kafka.admin import ACLOperation, ResourceType
from typer.testing import CliRunner

from conf.settings import load_settings
from joulestream.cluster import config, credentials, executors, health, kafka_users, store_users
from joulestream.cluster.api import Api
from joulestream.verbs import k8s
from schemas import topics
from schemas.errors import PipelineError, RetryableError

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_the_committed_configmap_is_what_conf_says() -> None:
    assert config.PAGE.read_text("utf-8") == config.rendered(), "run: joule k8s render"


def test_the_cluster_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in config.environment().items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.kafka.bootstrap == "kafka-svc:9092"
    assert settings.checkpoint_root == "/var/lib/joulestream/checkpoints"


def test_no_secret_is_rendered() -> None:
    text = config.rendered().lower()
    assert "password" not in text
    assert "@" not in config.environment()["JOULE_MONGODB_URI"]


def test_sparks_own_options_stand_below_ours() -> None:
    text = config.files()["spark-defaults.conf"]
    assert executors.value_of(text, "spark.sql.session.timeZone") == "UTC"
    assert executors.value_of(text, "spark.kubernetes.executor.disableConfigMap") == "true"
    assert executors.value_of("a 1\n# a 2\na 3\n", "a") == "3"


# Passwords ----------------------------------------------------------------------------------------------------


def test_passwords_are_random_and_long() -> None:
    first, second = (credentials.secret("mongodb-credentials")["stringData"] for _ in range(2))
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert set(first) == {"root-password", "writer-password", "reader-password", "keyfile"}
    assert all(first[key] != second[key] and len(first[key]) >= 32 for key in first)
    assert len(first["keyfile"]) <= 1024  # MongoDB takes no longer one


class Server(BaseHTTPRequestHandler):
    """An API server that keeps what is posted, and refuses what it has."""

    kept: ClassVar[dict[str, Any]] = {}
    answer: ClassVar[int] = 201

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["metadata"]["name"]
        if self.headers["Authorization"] != "Bearer token-of-pod":
            self._say(401, {"message": "Unauthorized"})
        elif name in self.kept:
            self._say(409, {"message": f'secrets "{name}" already exists'})
        else:
            if self.answer == 201:
                self.kept[name] = body
            self._say(self.answer, {"message": "forbidden" if self.answer == 403 else "created"})

    def do_GET(self) -> None:
        self._say(200, {"template": {"metadata": {"labels": {"app": "x"}}, "spec": _SPEC}})

    def log_message(self, *_: object) -> None:
        pass

    def _say(self, code: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    Server.kept, Server.answer = {}, 201
    (tmp_path / "namespace").write_text("here")
    (tmp_path / "token").write_text("token-of-pod\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Api(f"http://127.0.0.1:{server.server_port}", tmp_path)
    server.shutdown()
    server.server_close()


def test_a_second_start_changes_no_password(api: Api) -> None:
    assert all(line.endswith("created") for line in credentials.ensure(api))
    before = json.dumps(Server.kept)
    assert all(line.endswith("left as it is") for line in credentials.ensure(api))
    assert json.dumps(Server.kept) == before
    assert set(Server.kept) == set(credentials.KEYS)


def test_only_the_secrets_that_are_named_are_made(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(credentials, "Api", lambda: api)
    assert credentials.main(["exporter-token"]) == 0
    assert set(Server.kept) == {"exporter-token"}
    assert credentials.main(["exporter-tokens"]) == 2
    assert "expected some of mongodb-credentials" in capsys.readouterr().err


def test_the_verb_prints_the_secrets_that_are_named() -> None:
    def printed(*names: str) -> dict[str, Any]:
        done = CliRunner().invoke(k8s.app, ["secrets", *names])
        assert (done.exit_code == 0) is ("wine" not in names)
        items = json.loads(done.stdout)["items"] if done.exit_code == 0 else []
        return {item["metadata"]["name"]: item["stringData"] for item in items}

    assert set(printed()) == set(credentials.KEYS)
    login = printed("grafana-login")
    assert set(login) == {"grafana-login"}
    assert len(login["grafana-login"]["password"]) >= 32
    assert printed("wine") == {}


def test_a_missing_right_says_what_to_apply(api: Api) -> None:
    Server.answer = 403
    with pytest.raises(PipelineError, match=r"403 to POST .*forbidden; apply the Role and RoleBinding"):
        credentials.ensure(api)


def test_a_busy_api_server_is_asked_again(api: Api) -> None:
    Server.answer = 503
    with pytest.raises(RetryableError):
        credentials.ensure(api)


def test_a_pod_without_a_token_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="automountServiceAccountToken"):
        credentials.ensure(Api("http://127.0.0.1:1", tmp_path))


def test_an_api_server_that_is_away_is_retried(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("here")
    (tmp_path / "token").write_text("x")
    with pytest.raises(RetryableError, match="does not answer"):
        credentials.ensure(Api("http://127.0.0.1:1", tmp_path))


# Executors ----------------------------------------------------------------------------------------------------

_SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "executor",
            "image": "registry.example.org/stream@sha256:abc",
            "resources": {"requests": {"cpu": "300m", "memory": "1792Mi"}},
        }
    ]
}
POD = {"POD_NAME": "driver-1", "POD_NAMESPACE": "here"}


def test_the_executors_are_as_the_podtemplate_says(api: Api, tmp_path: Path) -> None:
    files, folder = tmp_path / "files", tmp_path / "conf"
    files.mkdir()
    folder.mkdir()
    for name, text in config.files().items():
        (files / name).write_text(text)
    (files / "spark-production.conf").write_text("spark.executor.memory 1g\n")
    executors.write(api, files, folder, POD)
    pod = json.loads((folder / executors.POD_FILE).read_text())
    assert (pod["kind"], pod["metadata"]["labels"], pod["spec"]) == ("Pod", {"app": "x"}, _SPEC)
    text = (folder / "spark-defaults.conf").read_text()
    said = {
        key: executors.value_of(text, f"spark.{key}")
        for key in (
            "kubernetes.container.image",
            "kubernetes.driver.pod.name",
            "kubernetes.executor.request.cores",
            "driver.host",
            "executor.memory",
            "executor.memoryOverhead",
        )
    }
    assert said == {
        "kubernetes.container.image": "registry.example.org/stream@sha256:abc",
        "kubernetes.driver.pod.name": "driver-1",
        "kubernetes.executor.request.cores": "300m",
        "driver.host": "stream-driver.here.svc",
        "executor.memory": "1g",
        "executor.memoryOverhead": "768m",
    }
    for name in config.LOGGING:
        assert (folder / name).read_text() == (files / name).read_text()


def test_a_heap_that_leaves_nothing_for_python_is_refused() -> None:
    with pytest.raises(PipelineError, match="raise the first or lower the second"):
        executors.options_of({"spec": _SPEC}, "2g", POD, Path("/x"))


@pytest.mark.parametrize(
    ("quantity", "mib"), [("1792Mi", 1792), ("3Gi", 3072), ("1048576", 1), ("1.5Gi", 1536), ("1024Ki", 1)]
)
def test_memory_is_read_as_kubernetes_writes_it(quantity: str, mib: float) -> None:
    assert executors.memory_mib(quantity) == mib


@pytest.mark.parametrize("wrong", ["", "1.2.3Gi", "-1Gi", "lots"])
def test_other_words_are_no_memory(wrong: str) -> None:
    with pytest.raises(PipelineError, match="quantity of memory"):
        executors.memory_mib(wrong)


def test_files_that_are_not_mounted_are_named(api: Api, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"apply configmap\.yaml"):
        executors.write(api, tmp_path / "none", tmp_path, POD)


# Users --------------------------------------------------------------------------------------------------------


def test_producers_may_write_events_and_read_only_what_stops_them() -> None:
    may = {
        (one.resource_pattern.resource_name, one.operation)
        for one in kafka_users.acls()
        if one.principal == "User:producer"
    }
    written = {(topic, ACLOperation.WRITE) for topic in ("training.events", "node.metrics", "grid.intensity")}
    assert may == written | {(topics.RUN_CONTROL, ACLOperation.READ)}


def test_nobody_but_the_admin_may_change_topics_or_the_cluster() -> None:
    kinds = {ResourceType.TOPIC, ResourceType.GROUP}
    strong = {
        ACLOperation.ALL,
        ACLOperation.CREATE,
        ACLOperation.DELETE,
        ACLOperation.ALTER,
        ACLOperation.ALTER_CONFIGS,
    }
    assert all(one.resource_pattern.resource_type in kinds for one in kafka_users.acls())
    assert not strong & {one.operation for one in kafka_users.acls()}


def test_a_missing_password_names_the_secret(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="kafka-credentials"):
        kafka_users.passwords_in(tmp_path)
    with pytest.raises(PipelineError, match="mongodb-credentials"):
        store_users.users_of(tmp_path, "energy_emissions")


def test_the_reader_of_the_embedded_store_only_reads(tmp_path: Path) -> None:
    for name in ("root", "writer", "reader"):
        (tmp_path / f"{name}-password").write_text(f"of-{name}\n")
    users = {user["createUser"]: user for user in store_users.users_of(tmp_path, "db")}
    assert users["reader"]["roles"] == [{"role": "read", "db": "db"}]
    assert users["reader"]["pwd"] == "of-reader"


# Probes -------------------------------------------------------------------------------------------------------


def lease(age_s: float, host: str | None = None, state: str = "running") -> dict[str, Any]:
    return {
        "_id": "training",
        "host": host or os.uname().nodename,
        "state": state,
        "renewed_at": NOW - timedelta(seconds=age_s),
    }


@pytest.mark.parametrize(
    ("held", "stuck"),
    [
        (lease(5), False),
        (lease(119), False),
        (lease(121), True),
        (lease(3600, host="another"), False),
        (lease(3600, state="released"), False),
    ],
    ids=["fresh", "late", "stuck", "another's", "released"],
)
def test_only_a_lease_of_ours_that_nobody_renews_is_a_reason_to_start_again(
    held: dict[str, Any], stuck: bool
) -> None:
    assert (health.stuck([held], 20, NOW) is not None) is stuck


def evaluated(folder: Path, age_s: float) -> None:
    """The sign that alerts were evaluated so long ago."""
    sign = folder / "logs" / "alerts.ready"
    sign.parent.mkdir(exist_ok=True)
    sign.touch()
    then_s = time.time() - age_s
    os.utime(sign, (then_s, then_s))


def test_alerts_are_ready_while_their_sign_is_fresh(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path})
    assert "not been evaluated" in (health.alerts(settings) or "")
    evaluated(tmp_path, 50)
    assert health.alerts(settings) is None
    evaluated(tmp_path, 70)
    assert "ago (at most 60 s)" in (health.alerts(settings) or "")


@pytest.mark.parametrize(("store", "alive"), [(None, False), ("away", True)], ids=["answers", "away"])
def test_a_store_that_is_away_does_not_restart_the_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str | None, alive: bool
) -> None:
    monkeypatch.setattr(health, "store", lambda _: store)
    settings = load_settings({"data_dir": tmp_path})
    assert (health.alerts_alive(settings) is None) is alive
    evaluated(tmp_path, 70)
    assert health.alerts_alive(settings) is None
