"""What Spark's JVMs say in pods: the files of the ConfigMap, read by a real driver and a real executor."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from conf.logs import JVM_FILE, JVM_VARIABLE
from conf.settings import load_settings
from joulestream.cluster import config
from joulestream.cluster.submit import EXECUTOR_CONF, start_of
from joulestream.local.java import find_java
from joulestream.local.ports import HOST
from joulestream.local.process import ROOT, end_group
from tests.e2e.standalone import spark_home

pytestmark = pytest.mark.spark

MASTER = "k8s://https://kubernetes.default.svc"
JVM_SAYS = "WARNING: Using incubator modules: jdk.incubator.vector"
SAID = 'a "quoted" line\nand another ${env:HOME}'
# The driver says something, and a task fails on the executor, with a stack trace on both.
JOB = f"""
from conf import logs
from conf.settings import load_settings
logs.begin()
logs.configure(load_settings())
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.sparkContext._jvm.org.apache.logging.log4j.LogManager.getLogger("of.the.test").warn({SAID!r})
spark.range(0, 1, 1, 1).selectExpr("raise_error('boom')").collect()
"""


# Less than a pod has, and ports that are free here.
HERE = (
    f"spark.driver.host={HOST}",
    f"spark.driver.bindAddress={HOST}",
    "spark.executor.cores=1",
    "spark.executor.memory=512m",
    "spark.driver.port=0",
    "spark.driver.blockManager.port=0",
    "spark.blockManager.port=0",
    "spark.task.maxFailures=1",
)


def home_of(folder: Path) -> Path:
    """Spark's own folder, with a place beside it where executors may write."""
    folder.mkdir()
    for name in ("bin", "jars"):
        (folder / name).symlink_to(spark_home() / name)
    return folder


def lines_of(text: str) -> list[dict[str, Any]]:
    """Each line as the object that it is."""
    return [json.loads(line) for line in text.splitlines() if line != JVM_SAYS]


@pytest.fixture(scope="module")
def logs_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What driver and executor wrote, with the files of the ConfigMap and the options of the driver's pod."""
    folder = tmp_path_factory.mktemp("jvm-logs")
    files, jars = folder / "files", folder / "jars"
    for made in (files, jars):
        made.mkdir()
    (jars / "spark-sql-kafka.jar").touch()
    for name, text in config.files().items():
        (files / name).write_text(text)
    settings = load_settings({"logs.format": "json", "stream.jars_dir": jars, "stream.master": MASTER})
    start = start_of("stream", [], settings, {"SPARK_CONF_DIR": str(files)}, {})
    words = shlex.split(start.environment["PYSPARK_SUBMIT_ARGS"])
    for_executors = next(word for word in words if word.startswith(f"spark.executorEnv.{JVM_VARIABLE}="))
    options = [for_executors.replace(EXECUTOR_CONF, str(files)), *HERE]
    conf = [part for option in options for part in ("--conf", option)]
    home = home_of(folder / "spark")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("JOULE_", "SPARK_"))},
        **{key: value for key, value in start.environment.items() if key == JVM_VARIABLE},
        "PYSPARK_SUBMIT_ARGS": shlex.join(["--master", "local-cluster[1,1,512]", *conf, "pyspark-shell"]),
        "PYTHONPATH": str(ROOT),
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(files),
        "SPARK_LOCAL_IP": HOST,
        "JAVA_HOME": str(find_java().home),
        "JOULE_LOGS_FORMAT": "json",
        "JOULE_DATA_DIR": str(folder),
    }
    log = folder / "driver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", JOB], env=environment, cwd=folder, stderr=output, start_new_session=True
        )
    try:
        assert process.wait(250) == 1, log.read_text()
    finally:
        end_group(process.pid, 0, process)
    return {"driver": log.read_text(), "executor": executors_words(home)}


def executors_words(home: Path) -> str:
    """What the executor wrote. A worker, which Kubernetes has none of, copies it to this file: above it the worker
    says what it started, and when it ends the executor it may write its last buffer twice."""
    (written,) = (home / "work").glob("app-*/*/stderr")
    own = written.read_text().partition("=" * 40 + "\n\n")[2].splitlines(keepends=True)
    return "".join(takewhile(lambda line: "RECEIVED SIGNAL TERM" not in line, own))


def test_every_line_of_driver_and_executor_is_an_object_with_our_fields(logs_of: dict[str, str]) -> None:
    now = datetime.now(timezone.utc)
    for text in logs_of.values():
        found = lines_of(text)
        assert found
        for line in found:
            assert line.keys() - {"error"} == {"time", "level", "logger", "message"}
            assert line["level"] in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
            assert timedelta(0) <= now - datetime.fromisoformat(line["time"]) < timedelta(minutes=10)


def test_what_is_said_in_java_has_the_names_of_python(logs_of: dict[str, str]) -> None:
    (line,) = [line for line in lines_of(logs_of["driver"]) if line["logger"] == "of.the.test"]
    assert (line["level"], line["message"]) == ("WARNING", SAID)


def test_a_stack_trace_is_a_field_of_its_line(logs_of: dict[str, str]) -> None:
    errors = [line for line in lines_of(logs_of["executor"]) if "boom" in line.get("error", "")]
    assert errors
    assert errors[0]["level"] == "ERROR"
    assert "\n\tat org.apache.spark" in errors[0]["error"]


def test_text_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "spark-sql-kafka.jar").touch()
    (tmp_path / JVM_FILE.name).touch()
    for form, files in (("text", tmp_path), ("json", tmp_path / "without")):
        settings = load_settings({"logs.format": form, "stream.jars_dir": tmp_path, "stream.master": MASTER})
        start = start_of("stream", [], settings, {"SPARK_CONF_DIR": str(files)}, {})
        assert JVM_VARIABLE not in start.environment
        assert (JVM_VARIABLE in start.environment["PYSPARK_SUBMIT_ARGS"]) == (form == "json")
