"""Models in a real MLflow registry (its store of files): what began to serve, with scores and files, and no more."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path

import pytest

from joulestream.local.ports import HOST, any_free
from spark_jobs.forecast.learning import tracking
from spark_jobs.forecast.learning.tracking import NAME, SERVING, VERSION, tell_mlflow
from spark_jobs.forecast.models.manifest import Manifest
from spark_jobs.forecast.models.registry import Registry
from tests.unit.test_forecast_registry import manifest, model_folder

mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with two versions."""
    made = Registry(str(tmp_path / "registry"))
    for version in ("v1", "v2"):
        made.add(model_folder(tmp_path / "made"), manifest(version))
    return made


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {**tracking.ENVIRONMENT, "MLFLOW_ALLOW_FILE_STORE": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return f"file://{tmp_path}/mlflow"


def test_what_serves_is_there_with_its_scores_its_manifest_and_its_files(
    registry: Registry, uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tell_mlflow(uri, registry, "v1", tmp_path / "cache") is None
    assert capfd.readouterr().out == ""  # there a training prints JSON and nothing else
    assert not list(tmp_path.glob("*.db"))
    client = mlflow.MlflowClient(uri, uri)
    found = client.get_model_version_by_alias(NAME, SERVING)
    assert found.tags == {VERSION: "v1"}
    run = client.get_run(found.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"mae_w.60s": 1.5, "naive_mae_w.60s": 2.0, "ratio.60s": 0.75, "n.60s": 400.0}
    assert (run.data.params["n_rows"], run.data.params["library.pyspark"]) == ("1234", "4.0.4")
    assert run.data.tags["reason"] == "better than naive"
    folder = Path(found.source.removeprefix("file://"))
    assert Manifest.from_json((folder / "manifest.json").read_bytes(), "v1") == registry.manifest("v1")
    for path in (tmp_path / "made").rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(tmp_path / "made")).read_bytes() == path.read_bytes()


def test_the_alias_follows_and_no_version_is_logged_twice(
    registry: Registry, uri: str, tmp_path: Path
) -> None:
    client = mlflow.MlflowClient(uri, uri)
    for version in ("v1", "v2", "v1"):
        assert tell_mlflow(uri, registry, version, tmp_path / "cache") is None
        assert client.get_model_version_by_alias(NAME, SERVING).tags[VERSION] == version
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2
    assert tell_mlflow(uri, registry, None, tmp_path / "cache") is None
    assert client.get_registered_model(NAME).aliases == {}


def test_a_server_that_is_away_costs_one_warning(
    registry: Registry, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "spark_jobs"):
        problem = tell_mlflow(f"http://{HOST}:{any_free()}", registry, "v1", tmp_path / "cache")
    assert problem is not None
    assert "does not know that v1 serves" in problem
    (said,) = [record for record in caplog.records if record.name.startswith("spark_jobs")]
    assert "the model serves all the same" in said.getMessage()


def test_a_server_that_hangs_is_left_in_time(registry: Registry, uri: str, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:  # connections are taken, and nobody answers
        where = f"http://{HOST}:{silent.getsockname()[1]}"
        began = time.monotonic()
        problem = tell_mlflow(where, registry, "v1", tmp_path / "cache", 1.0)
        assert time.monotonic() - began < 5
    assert problem is not None
    assert "within 1 s" in problem


def test_nothing_is_told_where_no_server_is_named(registry: Registry, tmp_path: Path) -> None:
    assert tell_mlflow(None, registry, "v1", tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()
