"""Databases and topics of the real servers: one database for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from conf.settings import Kafka, load_settings
from joulestream.local.topics import ensure_topics
from spark_jobs.store import Address, Db, Doc, connect, ensure_collections
from tests.contract.exporter import NOW
from tests.contract.secure import Secure, secure_servers
from tests.exporter_seed import seed_fleet


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Servers of our own that ask for passwords and certificates."""
    with secure_servers(tmp_path_factory.mktemp("secure")) as found:
        yield found


@pytest.fixture
def stream_address(mongodb_uri: str) -> Iterator[Address]:
    """A database of its own, removed afterwards."""
    made = Address.at(mongodb_uri, f"joule_test_{uuid.uuid4().hex[:12]}", 5.0)
    yield made
    with MongoClient[Doc](mongodb_uri) as client:
        client.drop_database(made.database)


# Tests tell of days long past; the server must not remove what they have written meanwhile.
KEPT_DAYS = 36_500.0
KEPT = dict.fromkeys(("forecast.retention_days", "alerts.retention_days"), KEPT_DAYS)


@pytest.fixture
def stream_db(stream_address: Address) -> Iterator[Db]:
    """The database with the contract's collections."""
    made = connect(stream_address)
    ensure_collections(made, load_settings(KEPT))
    yield made
    made.client.close()


@pytest.fixture
def seeded_db(stream_address: Address) -> Iterator[Db]:
    """A small fleet's documents; its ledgers are not those of the contract, and the exporter reads none."""
    with MongoClient[Doc](stream_address.uri, tz_aware=True) as client:
        seed_fleet(client[stream_address.database], NOW)
        yield client[stream_address.database]


@pytest.fixture
def db(mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Db]:
    """An empty database, which the verbs find through the environment."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("JOULE_MONGODB_DATABASE", name)
    with MongoClient[Doc](mongodb_uri, tz_aware=True) as client:
        yield client[name]
        client.drop_database(name)


@pytest.fixture
def kafka(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A broker with the topics, which the verbs find through the environment."""
    ensure_topics(Kafka(bootstrap=kafka_bootstrap))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", kafka_bootstrap)
    return kafka_bootstrap
