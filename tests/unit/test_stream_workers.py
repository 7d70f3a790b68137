"""What Spark's Python workers find on their import path, and how they log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conf.settings import load_settings
from spark_jobs.session import options_of
from spark_jobs.workers import without_archives
from tests.documentation import ROOT

SAYS = """
import logging
from spark_jobs.workers import prepare
prepare()
logging.getLogger("spark_jobs.sample").info("nobody hears this")
logging.getLogger("spark_jobs.sample").warning("lost mongodb://writer:hidden@store/")
"""


def test_archives_go_where_their_packages_are_installed() -> None:
    path = ["/spark/pyspark.zip", "/spark/py4j-src.zip", "/spark/spark-core.jar", *sys.path]
    assert without_archives(path) == [entry for entry in sys.path if not entry.endswith((".zip", ".jar"))]


def test_copies_stay_where_nothing_else_holds_their_packages(tmp_path: Path) -> None:
    path = ["/spark/pyspark.zip", "/spark/py4j-src.zip", "/spark/spark-core.jar", str(tmp_path)]
    assert without_archives(path) == ["/spark/pyspark.zip", "/spark/py4j-src.zip", str(tmp_path)]


def said_by_a_worker(settings: dict[str, object]) -> str:
    """What a worker that Spark's executor starts with our options writes to standard error."""
    options = options_of(load_settings(settings))
    prefix = "spark.executorEnv."
    given = {key.removeprefix(prefix): value for key, value in options.items() if key.startswith(prefix)}
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        env=environment | {key: value for key, value in given.items() if key.startswith("JOULE_")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stderr


def test_a_worker_logs_objects_where_the_driver_does() -> None:
    (line,) = said_by_a_worker({"logs.format": "json"}).splitlines()
    said = json.loads(line)
    assert {key: said[key] for key in ("level", "logger", "message")} == {
        "level": "WARNING",
        "logger": "spark_jobs.sample",
        "message": "lost mongodb://writer:***@store/",
    }


@pytest.mark.parametrize(("level", "lines"), [("DEBUG", 1), ("WARNING", 1), ("ERROR", 0)])
def test_a_worker_says_warnings_and_no_less_than_the_settings_ask(level: str, lines: int) -> None:
    said = said_by_a_worker({"logs.format": "text", "logs.level": level}).splitlines()
    assert len(said) == lines
    assert all(line.endswith("WARNING spark_jobs.sample: lost mongodb://writer:***@store/") for line in said)
