"""Checkpoints in an S3-compatible store: what Spark is told, which jars it gets, and what people are told."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.settings import ConfigError, load_settings
from joulestream.cluster.submit import start_of
from joulestream.images import staging
from joulestream.images.catalogue import image
from joulestream.local import jars
from spark_jobs import io, session
from spark_jobs.object_store import DIRECT, JAR_SET, MANAGER, jars_dir, jars_of, options_of

PLACE = "s3a://bucket/checkpoints"
HADOOP = "spark.hadoop.fs.s3a"
KEYS = {"AWS_ACCESS_KEY_ID": "the-key-id", "AWS_SECRET_ACCESS_KEY": "the-secret"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `jars` with Kafka's, and beside it `s3`."""
    for name in ("jars/spark-sql-kafka.jar", "s3/hadoop-aws.jar", "s3/bundle.jar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def settings(folder: Path, place: str | None = PLACE, **stream: str) -> Any:
    given = {f"stream.{key}": value for key, value in stream.items()}
    return load_settings({"stream.jars_dir": folder / "jars", "stream.checkpoint_dir": place, **given})


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_server_of_ones_own_is_asked_by_path(variable: str) -> None:
    options = options_of({variable: "https://minio:9000"})
    assert options[f"{HADOOP}.endpoint"] == "https://minio:9000"
    assert options[f"{HADOOP}.path.style.access"] == "true"
    assert options[f"{HADOOP}.endpoint.region"] == "us-east-1"


def test_the_variable_for_s3_goes_before_the_one_for_all_services() -> None:
    options = options_of({"AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_S3": "https://s3"})
    assert options[f"{HADOOP}.endpoint"] == "https://s3"


def test_aws_itself_needs_no_address() -> None:
    assert not {f"{HADOOP}.endpoint", f"{HADOOP}.endpoint.region"} & options_of({}).keys()
    assert options_of({"AWS_ENDPOINT_URL": "", "AWS_REGION": "eu-west-1"})[f"{HADOOP}.endpoint.region"] == (
        "eu-west-1"
    )
    assert options_of({"AWS_DEFAULT_REGION": "eu-west-2"})[f"{HADOOP}.endpoint.region"] == "eu-west-2"


def test_executors_are_told_of_the_file_and_no_option_holds_a_key() -> None:
    options = options_of({**KEYS, "AWS_SHARED_CREDENTIALS_FILE": "/run/keys", "AWS_PROFILE": "joule"})
    assert options["spark.executorEnv.AWS_SHARED_CREDENTIALS_FILE"] == "/run/keys"
    assert options["spark.executorEnv.AWS_PROFILE"] == "joule"
    assert not [word for word in KEYS.values() if word in str(options)]


def test_only_checkpoints_in_s3_get_its_options_and_jars(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    here, there = settings(folder, None), settings(folder)
    assert not [key for key in session.options_of(here) if "s3a" in key]
    assert f"{HADOOP}.aws.credentials.provider" in session.options_of(there)
    assert MANAGER not in session.options_of(there)
    assert jars_of(here) == []
    assert [Path(jar).name for jar in jars_of(there)] == ["bundle.jar", "hadoop-aws.jar"]
    assert session._own_options(there)["spark.jars"].count(".jar") == 3
    assert session._own_options(here)["spark.jars"].count(".jar") == 1


def test_where_the_jars_were_not_fetched_spark_starts_without_them(folder: Path) -> None:
    for jar in (folder / "s3").iterdir():
        jar.unlink()
    assert jars_of(settings(folder)) == []


def test_the_jars_are_fetched_for_such_checkpoints_only(folder: Path) -> None:
    assert jars.sets_for(settings(folder, None)) == jars.SETS
    assert jars.sets_for(settings(folder)) == (*jars.SETS, JAR_SET)
    assert {jar.artifact for jar in jars.pinned(sets=(JAR_SET,))} == {
        "hadoop-aws",
        "bundle",
        "spark-hadoop-cloud_2.13",
    }
    assert JAR_SET not in {jar.set for jar in jars.pinned()}
    assert {path.parent for path in jars.jar_paths(JAR_SET)} == {jars_dir(load_settings())}


def test_in_the_image_they_come_behind_sparks_own_classes(folder: Path) -> None:
    """The SDK's jar holds an old SLF4J: before Spark's own, there would be no logs."""
    start = start_of("stream", [], settings(folder, master="spark://m:7077"), {}, {})
    words = shlex.split(start.environment["PYSPARK_SUBMIT_ARGS"])
    assert f"spark.jars=local://{folder}/s3/bundle.jar,local://{folder}/s3/hadoop-aws.jar" in words
    assert not [word for word in words if "extraClassPath" in word and "s3" in word]
    start = start_of("stream", [], settings(folder, None, master="spark://m:7077"), {}, {})
    assert "spark.jars=" not in start.environment["PYSPARK_SUBMIT_ARGS"]


@pytest.mark.parametrize(
    ("before", "has_class", "after"),
    [(None, True, DIRECT), (None, False, None), ("mine", True, "mine")],
    ids=["there", "not there", "told otherwise"],
)
def test_files_are_written_without_renaming_where_spark_can(
    monkeypatch: pytest.MonkeyPatch, before: str | None, has_class: bool, after: str | None
) -> None:
    found = {} if before is None else {MANAGER: before}
    conf = SimpleNamespace(get=found.get, set=found.__setitem__)
    spark: Any = SimpleNamespace(conf=conf)
    monkeypatch.setattr(session, "_has_class", lambda _spark, name: has_class and name == DIRECT)
    session._write_directly(spark)
    assert found.get(MANAGER) == after


def test_keys_in_the_address_are_refused_and_not_repeated(folder: Path) -> None:
    with pytest.raises(ConfigError, match="AWS_SHARED_CREDENTIALS_FILE") as error:
        settings(folder, "s3a://the-key-id:the-secret@bucket/x")
    assert not [word for word in KEYS.values() if word in str(error.value)]
    # The container of an account of Azure's is no login.
    assert settings(folder, "abfss://data@account.dfs.core.windows.net/x").checkpoint_root.startswith("abfss")


@pytest.mark.parametrize(
    ("place", "why", "remedy"),
    [
        (PLACE, "ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found", "set `s3`"),
        (PLACE, "AccessDeniedException: (Status Code: 403)", "credentials may read, write, list and delete"),
        ("s3://bucket/x", 'No FileSystem for scheme "s3"', "write it as s3a://"),
        ("/data", "Permission denied", "make it writable for this user"),
    ],
)
def test_the_remedy_is_one_for_the_place(place: str, why: str, remedy: str) -> None:
    said: Any = SimpleNamespace(java_exception=SimpleNamespace(toString=lambda: why))
    message = str(io._unusable(place, said))
    assert remedy in message
    assert why in message


@pytest.mark.parametrize("asked", [(), ("s3",)], ids=["no", "yes"])
def test_an_image_holds_them_where_the_build_was_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    jar = tmp_path / "cache" / "a.jar"
    jar.parent.mkdir()
    jar.touch()
    fetched: list[str] = []
    monkeypatch.setattr(staging, "fill", lambda *_: None)
    monkeypatch.setattr(staging, "find_java", lambda: None)
    monkeypatch.setattr(staging, "ensure_jars", lambda _java, _say, sets: fetched.extend(sets))
    monkeypatch.setattr(staging, "jar_paths", lambda name: [jar] if name == JAR_SET else [])
    made = replace(image("stream"), rooms=("schemas",))
    context = staging.stage(made, tmp_path, print, more_jars=asked)
    assert [path.name for path in (context / "s3").iterdir()] == (["a.jar"] if asked else [])
    assert fetched == ["spark", *asked]
