"""Fixtures of all layers. `broker` and `store` are real processes on free ports, ended by their own pid."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from joulestream.local.broker import broker_service
from joulestream.local.browser import HOW, browser_paths
from joulestream.local.jars import ensure_jars
from joulestream.local.java import find_java
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import Running, running
from joulestream.local.store import find_document_server, store_service

STACK_FIXTURES = {"broker", "store", "kafka_bootstrap", "mongodb_uri", "secure"}


@dataclass(frozen=True)
class Server:
    """A server for the tests; `process` is None when the environment names one that is not ours."""

    address: str
    process: Running | None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a server is a `stack` test, said or not; without a browser its tests are left out.

    With JOULE_REQUIRE_BROWSER (in CI) they run, and fail, instead.
    """
    browserless = browser_paths() is None and not os.environ.get("JOULE_REQUIRE_BROWSER")
    for item in items:
        if browserless and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=f"no browser with its driver: {HOW}"))
        if STACK_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.stack)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Kafka broker without topics."""
    given = os.environ.get("JOULE_TEST_KAFKA_BOOTSTRAP")
    if given:
        yield Server(given, None)
        return
    folder: Path = tmp_path_factory.mktemp("broker")
    java = find_java()
    ensure_jars(java, _say)
    port = any_free()
    with running(broker_service(folder, port, any_free(), java, folder / "broker.log")) as (process,):
        yield Server(f"{HOST}:{port}", process)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real document server: the embedded one, or the MongoDB that JOULE_TEST_MONGODB_URI names."""
    given = os.environ.get("JOULE_TEST_MONGODB_URI")
    if given:
        yield Server(given, None)
        return
    folder: Path = tmp_path_factory.mktemp("store")
    port = any_free()
    with running(store_service(folder, port, find_document_server(), folder / "store.log")) as (process,):
        yield Server(f"mongodb://{HOST}:{port}", process)


@pytest.fixture
def kafka_bootstrap(broker: Server) -> str:
    """`host:port` of the broker."""
    return broker.address


@pytest.fixture
def mongodb_uri(store: Server) -> str:
    """URI of the document server."""
    return store.address
