"""Each client library is told the same of a server, and secrets stay hidden."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from kafka import KafkaProducer
from pymongo import MongoClient

from conf.clients import kafka_options, mongo_options, spark_kafka_options
from conf.sections import Kafka, MongoDB
from conf.settings import ConfigError, load_settings

SECRET = 'hunter2 "quoted" back\\slash'


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    return file


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    file = tmp_path / "a.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    return file


def test_plain_settings_need_nothing_but_an_address() -> None:
    assert dict(kafka_options(Kafka(bootstrap="a:1,b:2"))) == {"bootstrap_servers": ["a:1", "b:2"]}
    assert dict(spark_kafka_options(Kafka(bootstrap="a:1,b:2"))) == {"kafka.bootstrap.servers": "a:1,b:2"}
    assert "username" not in mongo_options(MongoDB())


def test_a_password_comes_from_a_file_and_is_quoted_for_java(password_file: Path, pem: Path) -> None:
    kafka = Kafka(
        security_protocol="SASL_SSL",
        username="ann",
        password_file=password_file,
        ca_file=pem,
        cert_file=pem,
        key_file=pem,
    )
    ours, java = kafka_options(kafka), spark_kafka_options(kafka)
    assert ours["sasl_plain_password"] == SECRET
    jaas = java["kafka.sasl.jaas.config"]
    quoted = re.fullmatch(
        r'org\.apache\.\S+\.ScramLoginModule required username="ann" password="(.*)";', jaas
    )
    assert quoted is not None
    assert re.sub(r"\\(.)", r"\1", quoted[1]) == SECRET
    assert java["kafka.ssl.truststore.type"] == java["kafka.ssl.keystore.type"] == "PEM"
    assert set(ours) <= set(KafkaProducer.DEFAULT_CONFIG)
    for text in map(repr, (kafka, ours, java, str(ours), f"{java}")):
        assert "hunter2" not in text


def test_the_store_is_told_of_user_and_certificates(password_file: Path, pem: Path) -> None:
    options = mongo_options(MongoDB(username="ann", password_file=password_file, ca_file=pem, cert_file=pem))
    assert options["password"] == SECRET
    assert (options["authSource"], options["tls"], options["tlsCAFile"]) == ("admin", True, str(pem))
    assert "hunter2" not in repr(options)
    assert "host" in inspect.signature(MongoClient).parameters


def test_the_file_wins_and_is_what_a_child_process_is_told(
    password_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_MONGODB_USERNAME", "ann")
    monkeypatch.setenv("JOULE_MONGODB_PASSWORD", "old")
    monkeypatch.setenv("JOULE_MONGODB_PASSWORD_FILE", str(password_file))
    settings = load_settings()
    assert settings.mongodb.password is not None
    assert settings.mongodb.password.get_secret_value() == SECRET
    told = settings.environment()
    assert told["JOULE_MONGODB_PASSWORD_FILE"] == str(password_file)
    assert "JOULE_MONGODB_PASSWORD" not in told


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"KAFKA_PASSWORD_FILE": "/not/there"}, "kafka.password_file: /not/there cannot be read"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_PASSWORD": "hunter2"}, "needs kafka.username"),
        ({"KAFKA_CA_FILE": "/a.pem"}, "uses no certificate"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CERT_FILE": "/a.pem"}, "go together"),
        ({"MONGODB_USERNAME": "ann"}, "go together"),
        ({"MONGODB_TLS": "false", "MONGODB_CA_FILE": "/a.pem"}, "remove one"),
    ],
)
def test_what_does_not_fit_is_said_without_the_secret(
    variables: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(f"JOULE_{name}", value)
    with pytest.raises(ConfigError) as error:
        load_settings()
    assert says in str(error.value)
    assert "hunter2" not in str(error.value)


def test_an_empty_secret_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("JOULE_MONGODB_URI_FILE", str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"mongodb\.uri_file: .*empty"):
        load_settings()
