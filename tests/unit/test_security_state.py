"""`joule up` on servers with passwords: what it keeps, what verbs find, and what it refuses to start."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from conf.settings import SECTIONS, ConfigError, Settings, env_name, secret_variables
from joulestream import context
from joulestream.alerting.delivery.command import SECRETS
from joulestream.local import plan, store
from joulestream.local.java import Java
from joulestream.local.state import StackState, write_state
from joulestream.local.supervisor import Supervisor

JAVA = Java(Path("/java"), 17, "test")
URI = "mongodb://u:hunter2@127.0.0.1:1/?tls=true&tlsCertificateKeyFilePassword=hunter2"
BARE = "mongodb://127.0.0.1:1/?tls=true"


@pytest.fixture(autouse=True)
def _no_servers_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOULE_KAFKA_BOOTSTRAP", "JOULE_MONGODB_URI", "JOULE_DATA_DIR", "JOULE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_the_state_of_a_stack_holds_no_secret(tmp_path: Path) -> None:
    wishes = plan.Wishes(tmp_path, kafka_bootstrap="127.0.0.1:1", mongodb_uri=URI)
    supervisor = Supervisor(plan.make_plan(wishes, JAVA, None, None), threading.Event(), lambda text: None)
    supervisor._write("ready")
    supervisor._watchdog.close()
    text = (tmp_path / "state.json").read_text()
    assert BARE in text
    assert "hunter2" not in text


def running_on(folder: Path, uri: str) -> None:
    """A state file of a stack that runs (in this process)."""
    me = psutil.Process()
    write_state(folder, StackState(str(folder), "ready", me.pid, me.create_time(), "127.0.0.1:1", uri))


def test_a_verb_has_the_user_of_the_settings_for_the_stacks_store(tmp_path: Path) -> None:
    (tmp_path / "joulestream.toml").write_text(f'[mongodb]\nuri = "{URI}"\n')
    running_on(tmp_path, BARE)
    assert context.context(tmp_path).settings.mongodb.uri.get_secret_value() == URI
    running_on(tmp_path, "mongodb://elsewhere:2")
    found = context.context(tmp_path).settings.mongodb.uri.get_secret_value()
    assert found == "mongodb://elsewhere:2"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, "no kafka.bootstrap is given"),
        ({"MONGODB_TLS": "true"}, "no mongodb.uri"),
        ({"MONGODB_USERNAME": "u", "MONGODB_PASSWORD": "hunter2"}, "no mongodb.uri"),
    ],
)
def test_servers_of_our_own_know_neither_tls_nor_users(
    variables: dict[str, str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"JOULE_{name}", value)
    with pytest.raises(ConfigError, match=says) as error:
        plan.given_servers(plan.Wishes(tmp_path))
    assert "hunter2" not in str(error.value)
    named = plan.Wishes(tmp_path, kafka_bootstrap="k:1", mongodb_uri="mongodb://m")
    assert plan.given_servers(named) == ("k:1", "mongodb://m")


def test_a_store_named_by_a_file_is_a_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uri").write_text(f"{URI}\n")
    monkeypatch.setenv("JOULE_MONGODB_URI_FILE", str(tmp_path / "uri"))
    assert plan.given_servers(plan.Wishes(tmp_path)) == (None, URI)


@pytest.mark.parametrize(
    ("uri", "bare"),
    [
        (URI, BARE),
        ("mongodb://u@h", "mongodb://h"),
        ("mongodb://h1,h2/db?x=1", "mongodb://h1,h2/db?x=1"),
        ("mongodb+srv://u:p%40q@h/?authMechanismProperties=TOKEN:hunter2&x=1", "mongodb+srv://h/?x=1"),
    ],
)
def test_an_address_is_kept_without_user_and_secrets(uri: str, bare: str) -> None:
    assert store.without_user(uri) == bare
    assert "hunter2" not in store.without_password(uri)


def test_a_program_of_the_users_inherits_no_secret() -> None:
    hidden = [
        env_name(f"{section}.{key}")
        for section in SECTIONS
        for key, field in type(getattr(Settings(), section)).model_fields.items()
        if "Secret" in str(field.annotation)
    ]
    assert {"JOULE_KAFKA_PASSWORD", "JOULE_MONGODB_PASSWORD", "JOULE_MONGODB_URI"} < set(hidden)
    assert set(hidden) <= SECRETS
    assert set(secret_variables()) == SECRETS
