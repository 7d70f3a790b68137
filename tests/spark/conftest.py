"""One Spark session for all tests of this folder."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from conf.settings import load_settings
from joulestream.local.jars import ensure_jars
from joulestream.local.java import find_java
from spark_jobs.session import spark_session
from tests.conftest import _say

# py4j leaves its sockets to the garbage collector.
PY4J = (
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the session is a `spark` test, said or not."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)
            for harmless in PY4J:
                item.add_marker(pytest.mark.filterwarnings(harmless))


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The jobs' own session."""
    java = find_java()
    ensure_jars(java, _say)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", str(java.home))
        session = spark_session("tests", load_settings({"stream.master": "local[2]"}))
        yield session
        session.stop()
        gc.collect()  # here, where its sockets are no test's fault
