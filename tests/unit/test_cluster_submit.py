"""How a job starts in its container."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from conf.settings import Settings, load_settings
from joulestream.cluster import submit
from joulestream.cluster.submit import given_options, start_of
from schemas.errors import PipelineError

K8S = "k8s://https://kubernetes.default.svc"
POD = {"POD_NAME": "driver-0", "POD_NAMESPACE": "ns", "POD_IP": "10.1.2.3"}


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    (tmp_path / "spark-sql-kafka-0-10_2.13-4.0.4.jar").touch()
    return tmp_path


def settings(jars: Path, **stream: str) -> Settings:
    return load_settings(
        {"stream.jars_dir": jars, **{f"stream.{key}": value for key, value in stream.items()}}
    )


def options(start: submit.Start) -> dict[str, str]:
    words = shlex.split(start.environment["PYSPARK_SUBMIT_ARGS"])
    pairs = [words[i + 1].partition("=") for i, word in enumerate(words) if word == "--conf"]
    return {key: value for key, _, value in pairs}


def test_a_local_master_is_the_job_itself(jars: Path) -> None:
    start = start_of("stream", ["x"], settings(jars, master="local[2]"), {}, {"spark.master": K8S})
    assert start.command == [sys.executable, "-m", "spark_jobs.stream", "x"]
    assert start.environment == {"JOULE_STREAM_MASTER": "local[2]", "SPARK_LOCAL_IP": "127.0.0.1"}


@pytest.mark.parametrize("stated", [True, False], ids=["by setting", "by spark-defaults.conf"])
def test_on_a_cluster_this_process_is_the_driver(jars: Path, stated: bool) -> None:
    """So that it gets SIGTERM, and the container has its exit code."""
    given = {} if stated else {"spark.master": K8S}
    start = start_of(
        "reconcile", ["--repair"], settings(jars, **({"master": K8S} if stated else {})), POD, given
    )
    assert start.command == [sys.executable, "-m", "spark_jobs.reconcile", "--repair"]
    words = shlex.split(start.environment["PYSPARK_SUBMIT_ARGS"])
    assert words[:4] == ["--master", K8S, "--deploy-mode", "client"]
    assert words[-1] == "pyspark-shell"


def test_the_pod_says_of_itself_what_no_file_can_know(jars: Path) -> None:
    found = options(start_of("stream", [], settings(jars, master=K8S), POD, {}))
    assert found["spark.kubernetes.driver.pod.name"] == "driver-0"
    assert found["spark.kubernetes.namespace"] == "ns"
    assert found["spark.driver.host"] == "10.1.2.3"
    assert found["spark.executor.extraClassPath"] == f"{jars}/*"
    assert found["spark.python.daemon.module"] == "spark_jobs.workers"


def test_what_spark_defaults_says_stands(jars: Path) -> None:
    given = {"spark.driver.host": "stream-driver.ns.svc", "spark.driver.memory": "3g"}
    found = options(start_of("stream", [], settings(jars, master=K8S), POD, given))
    assert not given.keys() & found.keys()


def test_outside_kubernetes_nothing_is_said_of_pods(jars: Path) -> None:
    found = options(start_of("stream", [], settings(jars, master="spark://m:7077"), POD, {}))
    assert not [key for key in found if "kubernetes" in key]


def test_no_secret_is_on_the_command_line(jars: Path) -> None:
    made = settings(jars, master=K8S, auth_secret="tell-nobody")
    start = start_of("stream", [], made, POD, {})
    assert "tell-nobody" not in str(start)


def test_missing_jars_and_unknown_jobs_are_said(tmp_path: Path, jars: Path) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(PipelineError, match="holds no spark-sql-kafka jar"):
        start_of("stream", [], settings(empty, master=K8S), {}, {})
    with pytest.raises(PipelineError, match="there is no job x; give one of stream, reconcile, retrain"):
        start_of("x", [], settings(jars), {}, {})


def test_options_are_read_as_spark_reads_them(tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("# no\nspark.a   1 2\nspark.b=x=y\n\nspark.empty\n")
    assert given_options({"SPARK_CONF_DIR": str(tmp_path)}) == {"spark.a": "1 2", "spark.b": "x=y"}
    assert given_options({"SPARK_CONF_DIR": str(tmp_path / "none")}) == {}
