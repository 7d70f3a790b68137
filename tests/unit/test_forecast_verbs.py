"""joule forecast models, promote and the process that trains: exit codes, sentences, and nothing changed in vain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from joulestream.verbs.forecast import app
from schemas.errors import PipelineError
from spark_jobs.forecast.learning.lock import BusyError, alone
from spark_jobs.forecast.models.features import FEATURES
from spark_jobs.forecast.models.manifest import Manifest
from spark_jobs.forecast.models.registry import POINTER, Registry
from tests.unit.test_forecast_registry import AT, manifest, model_folder


def fitting(version: str = "v1", **changes: object) -> Manifest:
    """A manifest that fits the stream of today."""
    return manifest(version, **{"features": tuple(FEATURES), **changes})


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with two models, in a data folder of its own; the document store is away."""
    for name in [name for name in os.environ if name.startswith("JOULE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JOULE_MONGODB_URI", "mongodb://127.0.0.1:1")
    monkeypatch.setenv("JOULE_MONGODB_TIMEOUT_S", "0.2")
    made = Registry(str(tmp_path / "data" / "models"))
    for version in ("v1", "v2"):
        made.add(model_folder(tmp_path / "made"), fitting(version))
    return made


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `joule forecast …`; an error is a sentence, as `joule` prints it."""
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, PipelineError):
        return 1, result.stdout, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_models_are_listed_with_what_became_of_them(registry: Registry) -> None:
    registry.promote("v1", AT)
    code, out, _ = call("models", "--json")
    found = json.loads(out)
    assert (code, found["serving"], found["problem"]) == (0, "v1", None)
    assert [(model["version"], model["state"]) for model in found["models"]] == [
        ("v2", "kept"),
        ("v1", "serving"),
    ]
    code, out, _ = call("models")
    assert "0.750" in out
    assert "naive serves" not in out


def test_a_damaged_pointer_is_told_beside_the_list(registry: Registry) -> None:
    (Path(registry.uri) / POINTER).write_bytes(b"{")
    code, out, err = call("models")
    assert code == 0
    assert "v1" in out
    assert "joule forecast promote VERSION" in err
    assert call("promote", "v1")[0] == 0
    assert registry.serving() == "v1"


def test_old_models_are_deleted_on_request(registry: Registry) -> None:
    code, _, err = call("models", "--prune", "1")
    assert code == 0
    assert "deleted: v1" in err
    assert registry.versions() == ["v2"]


def test_a_model_is_promoted_and_taken_back(registry: Registry) -> None:
    code, _, err = call("promote", "v2")
    assert (code, registry.serving()) == (0, "v2")
    assert "model v2 serves" in err
    assert "not up to date" in err  # the document store is away
    code, out, _ = call("promote", "none", "--json")
    assert (code, json.loads(out)) == (0, {"serving": None, "before": "v2"})
    assert registry.serving() is None


def test_a_model_that_cannot_serve_is_not_promoted(registry: Registry, tmp_path: Path) -> None:
    registry.promote("v1", AT)
    made = model_folder(tmp_path / "made")
    registry.add(made, fitting("useless", served_horizons_s=(), reason="it loses"))
    registry.add(made, fitting("window", window_s=30))
    registry.add(made, manifest("features"))
    # A copy that is right does not make up for it.
    registry.fetch("v2", tmp_path / "data" / "cache" / "models")
    (Path(registry.uri) / "v2" / "forest.json").write_bytes(b"{}")
    for version, says in (
        ("useless", "at no horizon"),
        ("window", "windows of 30 s"),
        ("features", "other features"),
        ("v2", "damaged"),
        ("v9", "no model v9"),
    ):
        code, _, err = call("promote", version)
        assert (code, registry.serving()) == (1, "v1")
        assert says in err


def retrain(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spark_jobs.forecast.retrain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def few_minutes(path: Path) -> Path:
    """A node's power over ten minutes."""
    at = pd.date_range("2026-03-01", periods=600, freq="s", tz="UTC")
    frame = {"node_id": "n", "run_id": "r", "architecture": "a", "observed_at": at, "power_w": 100.0}
    pd.DataFrame(frame).to_parquet(path)
    return path


def test_too_little_data_is_a_sentence_and_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    registry.promote("v1", AT)
    before = sorted(path for path in Path(registry.uri).rglob("*"))
    done = retrain("--data", str(few_minutes(tmp_path / "few.parquet")))
    found = json.loads(done.stdout)
    assert (done.returncode, found["version"], found["promoted"]) == (4, None, False)
    assert "found 10 windows to learn from, expected at least 200" in found["reason"]
    assert sorted(path for path in Path(registry.uri).rglob("*")) == before
    assert registry.serving() == "v1"


@pytest.mark.parametrize(
    ("write", "says"),
    [
        pytest.param(lambda path: path.write_bytes(b"x"), "Parquet", id="no Parquet"),
        pytest.param(lambda path: pd.DataFrame({"a": [1]}).to_parquet(path), "node_id", id="other columns"),
    ],
)
def test_file_of_another_shape_is_an_error(
    write: object, says: str, registry: Registry, tmp_path: Path
) -> None:
    assert callable(write)
    write(tmp_path / "file.parquet")
    done = retrain("--data", str(tmp_path / "file.parquet"))
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_store_that_is_away_is_an_error(registry: Registry) -> None:
    done = retrain()
    assert done.returncode == 1
    assert "document store does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_one_training_at_a_time(registry: Registry, tmp_path: Path) -> None:
    few = str(few_minutes(tmp_path / "few.parquet"))
    with alone(tmp_path / "data"):
        done = retrain("--data", few)
        assert (done.returncode, done.stdout) == (1, "")
        assert "another training runs" in done.stderr
        scheduled = retrain("--data", few, "--scheduled")
        assert (scheduled.returncode, json.loads(scheduled.stdout)["promoted"]) == (0, False)
        with pytest.raises(BusyError), alone(tmp_path / "data"):
            pass
    with alone(tmp_path / "data"):
        pass


def test_scheduled_training_waits_until_the_newest_model_is_old_enough(
    registry: Registry, tmp_path: Path
) -> None:
    few = str(few_minutes(tmp_path / "few.parquet"))
    due = json.loads(retrain("--data", few, "--scheduled").stdout)
    assert "expected at least 200" in due["reason"]
    young = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=5)
    registry.add(model_folder(tmp_path / "made"), fitting("v3", created_at=young))
    done = retrain("--data", few, "--scheduled")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (0, "the newest model is not old enough")
    assert json.loads(retrain("--data", few).stdout)["version"] is None
