"""What the stream image's entry point becomes, against what Spark's own image does with the same environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulestream.cluster.entrypoint import command_of, name_user, work_folder
from tests.documentation import ROOT

# As `org.apache.spark.deploy.k8s.features.BasicExecutorFeatureStep` of Spark 4.0 sets them.
EXECUTOR = {
    "SPARK_HOME": "/spark",
    "SPARK_CONF_DIR": "/conf",
    "JAVA_HOME": "/java",
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@stream-driver.ns.svc:7078",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "3",
    "SPARK_EXECUTOR_MEMORY": "768m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.9",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "exec-7",
    "SPARK_EXTRA_CLASSPATH": "/opt/joulestream/jars/*",
    "SPARK_JAVA_OPT_10": "-Dten=10 and a blank",
    "SPARK_JAVA_OPT_2": "-Dtwo=2",
    "SPARK_JAVA_OPT_X": "no option",
}


def test_an_executor_is_started_as_spark_asks() -> None:
    command = command_of(["executor"], EXECUTOR, "/work")
    assert command[:5] == ["/java/bin/java", "-Dtwo=2", "-Dten=10 and a blank", "-Xms768m", "-Xmx768m"]
    at = command.index("-cp")
    assert command[at + 1] == "/conf:/spark/jars/*:/opt/joulestream/jars/*:/work"
    assert command[at + 2] == "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
    given = dict(zip(command[at + 3 :: 2], command[at + 4 :: 2], strict=True))
    assert given == {
        "--driver-url": EXECUTOR["SPARK_DRIVER_URL"],
        "--executor-id": "7",
        "--cores": "3",
        "--app-id": "spark-1",
        "--hostname": "10.0.0.9",
        "--resourceProfileId": "0",
        "--podName": "exec-7",
    }


def test_a_driver_in_cluster_mode_is_a_client_in_its_own_pod() -> None:
    environment = {"SPARK_HOME": "/spark", "SPARK_DRIVER_BIND_ADDRESS": "10.0.0.8"}
    command = command_of(["driver", "--class", "X", "local:///a.py"], environment, "/")
    assert command[0] == "/spark/bin/spark-submit"
    assert "spark.driver.bindAddress=10.0.0.8" in command
    assert command[-5:] == ["--deploy-mode", "client", "--class", "X", "local:///a.py"]


def test_any_other_command_is_run_as_it_is() -> None:
    assert command_of(["python", "-m", "x", "a b"], {}, "/") == ["python", "-m", "x", "a b"]


def entrypoint(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "joulestream.cluster.entrypoint", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_process_becomes_the_command_and_has_its_exit_code() -> None:
    done = entrypoint("sh", "-c", "echo $$; exit 7")
    assert done.returncode == 7
    with subprocess.Popen(
        [sys.executable, "-m", "joulestream.cluster.entrypoint", "sh", "-c", "echo $$"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        said = process.communicate()[0]
    assert int(said) == process.pid


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "no command given"),
        (("executor",), 2, "SPARK_EXECUTOR_MEMORY is not set; Spark sets it"),
        (("no-such-program",), 127, "no-such-program cannot be run"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = entrypoint(*arguments, SPARK_HOME="/spark", JAVA_HOME="/java")
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_executor_works_where_spark_lets_it_write(tmp_path: Path) -> None:
    folder = work_folder({"SPARK_LOCAL_DIRS": f"{tmp_path},/elsewhere"})
    assert Path(folder).parent == tmp_path
    assert Path(folder).is_dir()


def test_the_executor_starts_in_that_folder(tmp_path: Path) -> None:
    """Spark copies the application's files into its working directory; the image's own cannot be written."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text('#!/bin/sh\npwd\necho "$@"\n')
    java.chmod(0o755)
    local = tmp_path / "local"
    local.mkdir()
    done = entrypoint("executor", **{**EXECUTOR, "JAVA_HOME": str(tmp_path), "SPARK_LOCAL_DIRS": str(local)})
    where, words = done.stdout.splitlines()
    assert Path(where).parent == local
    assert f":{where} org.apache.spark" in words


def test_a_user_without_a_name_gets_one_where_the_file_can_be_written(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/:/bin/sh\n")
    name_user(1_234_567, 0, passwd)
    assert passwd.read_text().splitlines()[1] == "user1234567:x:1234567:0::/tmp:/bin/sh"
    name_user(0, 0, passwd)
    assert len(passwd.read_text().splitlines()) == 2
    name_user(1_234_567, 0, tmp_path)  # cannot be written: no error, the job itself says it
