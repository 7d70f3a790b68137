"""The registry of models: what is stored comes back whole, and nothing else is ever read."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.models.manifest import Manifest, ModelFile
from spark_jobs.forecast.models.registry import MANIFEST, POINTER, Registry

AT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
FEATURES = ("lag_1", "lag_2", "hour")


def manifest(version: str = "v1", **changes: object) -> Manifest:
    made = Manifest(
        version=version,
        created_at=AT,
        features=FEATURES,
        horizons_s=(60, 300),
        served_horizons_s=(60,),
        window_s=60,
        data={"first": AT - timedelta(days=2), "last": AT, "n_series": 3, "source": "documents"},
        n_rows=1234,
        scores={"60": {"mae_w": 1.5, "naive_mae_w": 2.0, "ratio": 0.75, "n": 400}},
        verdict="promoted",
        reason="better than naive",
        libraries={"pyspark": "4.0.4"},
        files={},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def model_folder(where: Path) -> Path:
    """What Spark ML leaves behind, as to names and kinds."""
    files = {
        "300/metadata/part-00000": b"{}",
        "300/metadata/_SUCCESS": b"",
        "300/metadata/.part-00000.crc": b"crc",
        "300/data/part-00000-ab12.snappy.parquet": b"PAR1" + bytes(range(256)) * 40 + b"PAR1",
        "forest.json": b'{"levels": [0.1, 0.5]}',
    }
    for name, data in files.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return where


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "registry"))


@pytest.fixture
def stored(registry: Registry, tmp_path: Path) -> Path:
    """The folder of version v1 in the registry."""
    registry.add(model_folder(tmp_path / "made"), manifest())
    return tmp_path / "registry" / "v1"


def test_empty_registry_has_no_versions_and_nobody_serves(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.serving() is None


def test_what_is_stored_comes_back_whole(registry: Registry, stored: Path, tmp_path: Path) -> None:
    made = model_folder(tmp_path / "again")
    folder = registry.fetch("v1", tmp_path / "cache")
    names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    assert (
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == names
    )
    assert all((folder / name).read_bytes() == (made / name).read_bytes() for name in names)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["v1"]


def test_manifest_comes_back_as_it_was(registry: Registry, stored: Path) -> None:
    found = registry.manifest("v1")
    assert found == manifest(files=found.files)
    assert len(found.files) == 5


def test_version_never_changes(registry: Registry, stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="already"):
        registry.add(model_folder(tmp_path / "other"), manifest(reason="again"))


def test_version_without_manifest_is_none(registry: Registry, stored: Path) -> None:
    (stored / MANIFEST).unlink()
    assert registry.versions() == []
    with pytest.raises(ModelError, match="no model v1"):
        registry.manifest("v1")


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-1]), id="truncated"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes() + b"x"), id="longer"),
        pytest.param(lambda file: file.write_bytes(b"X" + file.read_bytes()[1:]), id="one byte changed"),
        pytest.param(lambda file: file.unlink(), id="missing"),
    ],
)
def test_harmed_file_is_refused_and_leaves_no_copy(
    harm: Callable[[Path], object], registry: Registry, stored: Path, tmp_path: Path
) -> None:
    harm(stored / "300/data/part-00000-ab12.snappy.parquet")
    with pytest.raises(ModelError, match="part-00000-ab12"):
        registry.fetch("v1", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_harmed_copy_is_fetched_again(registry: Registry, stored: Path, tmp_path: Path) -> None:
    folder = registry.fetch("v1", tmp_path / "cache")
    (folder / "forest.json").write_bytes(b"{}")
    (folder / "planted.pkl").write_bytes(b"x")
    again = registry.fetch("v1", tmp_path / "cache")
    assert (again / "forest.json").read_bytes() == b'{"levels": [0.1, 0.5]}'
    assert not (again / "planted.pkl").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda text: text[: len(text) // 2], "damaged", id="truncated"),
        pytest.param(lambda text: b"", "damaged", id="empty"),
        pytest.param(lambda text: b"[" * 200_000, "damaged", id="nested too deep"),
        pytest.param(lambda text: b"\x80\x04\x95", "damaged", id="a pickle"),
        pytest.param(lambda text: b"[]", "damaged", id="another shape"),
        pytest.param(
            lambda text: text.replace(b'"n_rows": 1234', b'"n_rows": 9999'), "hash", id="a number changed"
        ),
        pytest.param(
            lambda text: text.replace(b'"format": 1', b'"format": 2'), "format 2", id="another format"
        ),
    ],
)
def test_harmed_manifest_is_refused(
    change: Callable[[bytes], bytes], says: str, registry: Registry, stored: Path, tmp_path: Path
) -> None:
    file = stored / MANIFEST
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ModelError, match=says):
        registry.fetch("v1", tmp_path / "cache")


def test_folder_copied_under_another_name_is_refused(registry: Registry, stored: Path) -> None:
    stored.rename(stored.with_name("v2"))
    with pytest.raises(ModelError, match="v1"):
        registry.manifest("v2")


def test_pickle_beside_the_model_is_never_copied(registry: Registry, stored: Path, tmp_path: Path) -> None:
    (stored / "300/model.pkl").write_bytes(pickle.dumps({"a": 1}))
    folder = registry.fetch("v1", tmp_path / "cache")
    assert not list(folder.rglob("*.pkl"))


@pytest.mark.parametrize(
    "name", ["model.pkl", "model.joblib", "a.py", "a.json.sh", "model", "weights.onnx.exe"]
)
def test_file_that_spark_does_not_write_is_not_stored(name: str, registry: Registry, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "made")
    (folder / name).write_bytes(b"x")
    with pytest.raises(ModelError, match="none that Spark ML writes"):
        registry.add(folder, manifest())
    assert registry.versions() == []


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "a/../../x.json",
        "/etc/x.json",
        "a//x.json",
        "./x.json",
        "a\\x.json",
        "manifest.json",
        "x.pkl",
        "",
    ],
)
def test_manifest_that_names_other_files_is_refused(
    name: str, registry: Registry, stored: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "x.json"
    outside.write_bytes(b"1")
    (stored / MANIFEST).write_bytes(manifest(files={name: ModelFile("0" * 64, 1)}).to_json())
    with pytest.raises(ModelError, match="none that Spark ML writes"):
        registry.fetch("v1", tmp_path / "cache")
    assert outside.read_bytes() == b"1"


def test_link_is_not_stored(registry: Registry, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "made")
    (folder / "other.json").symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match="link"):
        registry.add(folder, manifest())


@pytest.mark.parametrize("version", ["", "none", "../v1", "a/b", "a|b", ".hidden", "x" * 81, "a b"])
def test_name_that_is_no_version_is_refused(version: str, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="version"):
        registry.add(model_folder(tmp_path / "made"), manifest(version))
    with pytest.raises(ModelError, match="version"):
        registry.promote(version, AT)


def test_other_features_and_windows_are_refused() -> None:
    manifest().check(FEATURES, 60)
    with pytest.raises(ModelError, match=r"other features \(different: hour, weekday\)"):
        manifest().check(("lag_1", "lag_2", "weekday"), 60)
    with pytest.raises(ModelError, match="their order"):
        manifest().check(("lag_2", "lag_1", "hour"), 60)
    with pytest.raises(ModelError, match=r"windows of 60 s, and stream\.window_s is 30"):
        manifest().check(FEATURES, 30)


def test_pointer_names_who_serves_and_who_did(registry: Registry, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        registry.add(model_folder(tmp_path / "made"), manifest(f"v{number}"))
    for version in ("v1", "v2", None, "v1"):
        registry.promote(version, AT)
    found = registry.pointer()
    assert (found.version, found.since, found.earlier) == ("v1", AT, ("v2",))
    registry.promote(None, AT)
    assert registry.serving() is None
    assert registry.pointer().earlier == ("v1", "v2")


def test_only_a_model_that_is_there_is_promoted(registry: Registry, stored: Path) -> None:
    registry.promote("v1", AT)
    with pytest.raises(ModelError, match="no model v2"):
        registry.promote("v2", AT)
    assert registry.serving() == "v1"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1, "version": "../x", "since": 1, "earlier": []}'],
)
def test_damaged_pointer_is_an_error_until_somebody_is_promoted(
    data: bytes, registry: Registry, stored: Path
) -> None:
    (stored.parent / POINTER).write_bytes(data)
    with pytest.raises(ModelError, match="joule forecast promote"):
        registry.serving()
    registry.promote("v1", AT)
    assert registry.serving() == "v1"


def test_pruning_keeps_the_newest_and_the_one_that_serves(registry: Registry, tmp_path: Path) -> None:
    for number in range(6):
        registry.add(model_folder(tmp_path / "made"), manifest(f"v{number}"))
    registry.promote("v1", AT)
    (tmp_path / "registry" / "u9").mkdir()  # an `add` that was interrupted long ago
    (tmp_path / "registry" / "v9").mkdir()  # one that is under way
    assert registry.prune(2) == ["u9", "v0", "v2", "v3"]
    assert registry.versions() == ["v5", "v4", "v1"]
    assert (tmp_path / "registry" / "v9").is_dir()


def test_registry_that_cannot_be_read_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    away = Registry(str(tmp_path / "file"))
    for call in (away.versions, away.serving, lambda: away.fetch("v1", tmp_path / "cache")):
        with pytest.raises(ModelError, match="registry"):
            call()


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket/models",
        "s3://bucket/models?access_key=key&secret_key=secret",
        "gs://bucket/models",
        "s3:///models",
    ],
)
def test_address_with_credentials_or_of_another_kind_is_refused(uri: str) -> None:
    with pytest.raises(ModelError, match="environment") as caught:
        Registry(uri)
    assert "secret@" not in str(caught.value)
    assert "=secret" not in str(caught.value)


READER = """
import sys
from spark_jobs.forecast.models.registry import Registry
registry = Registry(sys.argv[1])
seen = set()
print("reading", flush=True)
while (version := registry.serving()) != "v9":
    seen.add(version)
print(",".join(sorted(seen)))
"""


def test_pointer_is_whole_whenever_another_process_reads_it(registry: Registry, tmp_path: Path) -> None:
    for number in (1, 2, 9):
        registry.add(model_folder(tmp_path / "made"), manifest(f"v{number}"))
    registry.promote("v1", AT)
    command = [sys.executable, "-c", READER, registry.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for number in range(400):
            registry.promote(f"v{1 + number % 2}", AT)
        registry.promote("v9", AT)
        out, err = reader.communicate(timeout=60)
    assert (reader.returncode, out.strip()) == (0, "v1,v2"), err


def test_digest_of_the_manifest_does_not_depend_on_layout(stored: Path) -> None:
    text = (stored / MANIFEST).read_bytes()
    compact = json.dumps(json.loads(text)).encode()
    assert Manifest.from_json(compact, "v1") == Manifest.from_json(text, "v1")
