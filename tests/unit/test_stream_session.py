"""What Spark is told: checkpoints on this machine's disk are plain files, others are their own file system's."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from py4j.protocol import Py4JJavaError

from conf.settings import load_settings
from schemas.errors import PipelineError, RetryableError
from spark_jobs import io, session
from spark_jobs.session import is_local, options_of
from spark_jobs.sources import NODE, TRAINING, Source

MANAGER = "spark.sql.streaming.checkpointFileManagerClass"


@pytest.mark.parametrize("place", ["/data/checkpoints", "checkpoints", "file:///data/checkpoints"])
def test_folders_of_this_machine_are_local(place: str) -> None:
    assert is_local(place)


@pytest.mark.parametrize("place", ["s3a://bucket/checkpoints", "hdfs://names:9000/checkpoints"])
def test_other_file_systems_keep_sparks_own_way_to_write_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")  # the session sets it first
    assert not is_local(place)
    elsewhere = load_settings({"data_dir": tmp_path, "stream.checkpoint_dir": place})
    assert MANAGER not in options_of(elsewhere)
    assert MANAGER in options_of(load_settings({"data_dir": tmp_path}))


@pytest.mark.parametrize(
    ("source", "asked_s", "expected"),
    [
        (TRAINING, 0.0, "0 milliseconds"),
        (TRAINING, 5.0, "5000 milliseconds"),
        (NODE, 0.0, "2000 milliseconds"),
        (NODE, 5.0, "5000 milliseconds"),
    ],
)
def test_batches_of_node_samples_leave_the_machine_to_the_training_events(
    source: Source, asked_s: float, expected: str
) -> None:
    stream: Any = MagicMock()
    for step in ("outputMode", "foreachBatch", "queryName", "option", "trigger"):
        getattr(stream, step).return_value = stream
    io.write_batches(MagicMock(writeStream=stream), MagicMock(), source, "folder", asked_s)
    stream.trigger.assert_called_once_with(processingTime=expected)


@pytest.mark.parametrize(
    ("environment", "submitted"),
    [
        ({}, False),
        ({"SPARK_HOME": "/spark", "SPARK_ENV_LOADED": "1"}, False),
        ({"PYSPARK_GATEWAY_PORT": "4000"}, True),
        ({"PYSPARK_SUBMIT_ARGS": "--master spark://m:1 pyspark-shell"}, True),
    ],
    ids=["by us", "a shell of Spark's", "by spark-submit", "by the container"],
)
def test_options_of_others_are_known_by_what_spark_itself_sets(
    environment: dict[str, str], submitted: bool
) -> None:
    assert session.is_submitted(environment) == submitted


def asked_of(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], **stream: Any) -> dict[str, str]:
    """The options with which a submitted session is made, where Spark was started with `given`."""
    builder = MagicMock()
    builder.appName.return_value = builder
    builder.config.return_value = builder
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(session, "SparkSession", MagicMock(builder=builder))
    monkeypatch.setattr(session, "_given", lambda: given)
    session.spark_session("x", load_settings({f"stream.{key}": value for key, value in stream.items()}))
    return dict(call.args for call in builder.config.call_args_list)


def test_what_spark_submit_gives_stands_but_for_what_the_books_need(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "spark.sql.shuffle.partitions": "64",
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.speculation": "true",
    }
    asked = asked_of(monkeypatch, given)
    assert "spark.sql.shuffle.partitions" not in asked
    assert asked["spark.sql.session.timeZone"] == "UTC"
    assert asked["spark.speculation"] == "false"
    assert not {"spark.master", "spark.jars", "spark.driver.host", "spark.driver.memory"} & asked.keys()


def test_a_shared_secret_makes_spark_encrypt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cr3t\n")
    asked = asked_of(monkeypatch, {}, auth_secret_file=tmp_path / "secret")
    assert asked["spark.authenticate.secret"] == "s3cr3t"
    assert asked["spark.network.crypto.enabled"] == asked["spark.authenticate"] == "true"
    assert "spark.authenticate" not in asked_of(monkeypatch, {})


def test_a_user_without_a_name_is_told_before_spark_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1_234_567)
    with pytest.raises(PipelineError, match="user 1234567 has no entry in /etc/passwd"):
        session.spark_session("x", load_settings())


def test_java_has_room_for_all_that_it_compiles(tmp_path: Path) -> None:
    """Where Java compiles less hard, it takes a fifth of its usual room, and a stream fills that in minutes."""
    (tmp_path / "spark-sql-kafka-0-10.jar").touch()
    own = session._own_options(load_settings({"data_dir": tmp_path, "stream.jars_dir": tmp_path}))
    options = own["spark.driver.extraJavaOptions"].split()
    assert "-XX:TieredStopAtLevel=1" in options
    assert "-XX:ReservedCodeCacheSize=240m" in options


def test_a_master_that_does_not_answer_is_named_in_a_sentence() -> None:
    cause = MagicMock()
    cause.toString.return_value = "java.net.ConnectException: Connection refused"
    cause.getCause.return_value = None
    java = MagicMock()
    java.toString.return_value = (
        "org.apache.spark.SparkException: External scheduler cannot be instantiated\n\tat x"
    )
    java.getCause.return_value = cause
    builder = MagicMock()
    builder.getOrCreate.side_effect = Py4JJavaError("An error occurred", java)
    with pytest.raises(RetryableError) as raised:
        session._started(builder)
    assert "cannot be instantiated; java.net.ConnectException: Connection refused" in str(raised.value)
    assert "\tat x" not in str(raised.value)
    assert "master must answer" in str(raised.value)
