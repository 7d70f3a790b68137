"""The registry on an S3 server over HTTP: the one that JOULE_TEST_S3_URI names, else a process of our own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from joulestream.local.ports import HOST, any_free, is_free
from joulestream.local.process import Service, running
from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.models import shelf
from spark_jobs.forecast.models.manifest import ModelFile
from spark_jobs.forecast.models.registry import POINTER, Registry
from spark_jobs.forecast.models.shelf import Shelf
from tests.unit.test_forecast_registry import AT, READER, manifest, model_folder

BUCKET = "joule-models"


@pytest.fixture(scope="module")
def s3_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of an empty bucket."""
    given = os.environ.get("JOULE_TEST_S3_URI")
    if given:
        yield given
        return
    port, folder = any_free(), tmp_path_factory.mktemp("s3")
    service = Service(
        "s3",
        [sys.executable, "-m", "tests.s3_server", str(folder), str(port)],
        folder / "s3.log",
        ready=lambda: f"port {port}" if is_free(port) else None,
        port=port,
    )
    with pytest.MonkeyPatch.context() as patch, running(service):
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        address = f"endpoint_override={HOST}:{port}&scheme=http&region=us-east-1"
        made, _ = fs.FileSystem.from_uri(f"s3://{BUCKET}/?{address}&allow_bucket_creation=true")
        made.create_dir(BUCKET)
        yield f"s3://{BUCKET}/models?{address}"


@pytest.fixture
def registry(s3_uri: str) -> Registry:
    """A registry under a prefix of its own."""
    return Registry(s3_uri.replace("/models?", f"/{uuid.uuid4().hex}/models?"))


def test_versions_and_pointer_on_s3(registry: Registry, tmp_path: Path) -> None:
    assert (registry.versions(), registry.serving()) == ([], None)
    made = model_folder(tmp_path / "made")
    for version in ("v1", "v2", "v3"):
        stored = registry.add(made, manifest(version))
        assert registry.manifest(version) == stored
    with pytest.raises(ModelError, match="already"):
        registry.add(made, manifest("v1"))
    registry.promote("v1", AT)
    registry.promote("v2", AT)
    assert (registry.serving(), registry.pointer().earlier) == ("v2", ("v1",))
    folder = registry.fetch("v2", tmp_path / "cache")
    for path in made.rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(made)).read_bytes() == path.read_bytes()
    assert registry.prune(1) == ["v1"]
    assert registry.versions() == ["v3", "v2"]
    with pytest.raises(ModelError, match="no model v1"):
        registry.manifest("v1")


def test_object_with_other_bytes_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.add(model_folder(tmp_path / "made"), manifest())
    Shelf(registry.uri).put("v1/forest.json", b'{"levels": [0.1, 0.9]}')
    with pytest.raises(ModelError, match=r"damaged: forest\.json"):
        registry.fetch("v1", tmp_path / "cache")


def test_planted_pickle_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.add(model_folder(tmp_path / "made"), manifest())
    planted = manifest(files={"model.pkl": ModelFile("0" * 64, 1)}).to_json()
    Shelf(registry.uri).put("v1/manifest.json", planted)
    with pytest.raises(ModelError, match="none that Spark ML writes"):
        registry.fetch("v1", tmp_path / "cache")


def test_damaged_pointer_on_s3(registry: Registry, tmp_path: Path) -> None:
    registry.add(model_folder(tmp_path / "made"), manifest())
    Shelf(registry.uri).put(POINTER, b"{")
    with pytest.raises(ModelError, match="joule forecast promote"):
        registry.serving()
    registry.promote("v1", AT)
    assert registry.serving() == "v1"


def test_pointer_on_s3_is_whole_whenever_another_process_reads_it(registry: Registry, tmp_path: Path) -> None:
    for number in (1, 2, 9):
        registry.add(model_folder(tmp_path / "made"), manifest(f"v{number}"))
    registry.promote("v1", AT)
    command = [sys.executable, "-c", READER, registry.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for number in range(40):
            registry.promote(f"v{1 + number % 2}", AT)
        registry.promote("v9", AT)
        out, err = reader.communicate(timeout=120)
    assert (reader.returncode, out.strip()) == (0, "v1,v2"), err


def test_bucket_that_is_not_there(s3_uri: str, tmp_path: Path) -> None:
    other = Registry(s3_uri.replace(f"s3://{BUCKET}/", "s3://not-there/"))
    assert other.serving() is None
    with pytest.raises(ModelError, match="credentials"):
        other.add(model_folder(tmp_path / "made"), manifest())


def test_s3_that_is_away_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    uri = f"s3://bucket/models?endpoint_override={HOST}:{any_free()}&scheme=http&region=us-east-1"
    away = Registry(uri)
    told = threading.Event()

    def ask() -> None:
        for call in (away.serving, away.versions, lambda: away.fetch("v1", tmp_path)):
            with pytest.raises(ModelError, match="JOULE_FORECAST_REGISTRY"):
                call()
        told.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(6 * shelf.REQUEST_S)
    assert told.is_set()
