"""The models that were trained, and which one serves: immutable versions and one pointer.

`{version}/` holds a model's files and its `manifest.json`, which is written last: without it there is no
version. `serving.json` is the pointer, replaced at once. Nothing is read that is not in a manifest with its
hash, and only files of the kinds that Spark ML writes: no pickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from schemas.errors import ContractError
from schemas.times import parse_time, rfc3339
from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.models.manifest import FORMAT, Manifest, ModelFile, check_files, check_version
from spark_jobs.forecast.models.shelf import NotThereError, Shelf

MANIFEST = "manifest.json"
POINTER = "serving.json"
MOST_MANIFEST_BYTES = 4 * 2**20
REMEMBERED = 50
# A reader of S3 asks for the length first and for the bytes then: between the two the pointer may be replaced.
# All pointers have the same length, so that it reads one or the other, never a part.
POINTER_BYTES = 8192


class PointerError(ModelError):
    """The pointer is there, and cannot be understood."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What the pointer says: the version that serves (None: naive forecasts) since when, and who served before."""

    version: str | None = None
    since: datetime | None = None
    earlier: tuple[str, ...] = ()


class Registry:
    """Models under a folder or `s3://` prefix. Whatever fails is a ModelError that says what to do."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._shelf = Shelf(uri)

    def add(self, folder: Path, manifest: Manifest) -> Manifest:
        """Store the model in `folder` for ever under its version; returns the manifest with the files' hashes."""
        check_version(manifest.version)
        complete = replace(manifest, files=hashes_of(folder))
        check_files(manifest.version, complete.files)
        if self._has(manifest.version):
            raise ModelError(
                f"the registry has a model {manifest.version} already, and versions never change"
            )
        for name in complete.files:
            self._shelf.upload(f"{manifest.version}/{name}", folder / name)
        self._shelf.put(f"{manifest.version}/{MANIFEST}", complete.to_json())
        return complete

    def versions(self) -> list[str]:
        """Names of the versions, the newest first; none where nothing was trained yet."""
        return [name for name in sorted(self._shelf.folders(), reverse=True) if self._has(name)]

    def manifest(self, version: str) -> Manifest:
        """What a version says of itself."""
        check_version(version)
        try:
            data = self._shelf.read(f"{version}/{MANIFEST}", MOST_MANIFEST_BYTES)
        except NotThereError:
            raise ModelError(
                f"the registry {self.uri} has no model {version}; those that there are: joule forecast models"
            ) from None
        return Manifest.from_json(data, version)

    def serving(self) -> str | None:
        """The version that serves; None where forecasts do without a batch model."""
        return self.pointer().version

    def pointer(self) -> Serving:
        """The pointer with its past."""
        try:
            data = self._shelf.read(POINTER, POINTER_BYTES)
        except NotThereError:
            return Serving()
        try:
            return _pointer(json.loads(data))
        except (ValueError, TypeError, KeyError, ContractError, ModelError):
            raise PointerError(
                f"{POINTER} in the registry {self.uri} is damaged; choose a model again: "
                "joule forecast promote VERSION"
            ) from None

    def promote(self, version: str | None, at: datetime) -> None:
        """Let a version serve from now on, or none: one atomic write of the pointer. It must be whole."""
        if version is not None:
            self.manifest(version)
        try:
            before = self.pointer()
        except PointerError:  # put right by this very write
            before = Serving()
        served = [name for name in (before.version, *before.earlier) if name not in (None, version)]
        earlier = list(dict.fromkeys(served))[:REMEMBERED]
        content = {"format": FORMAT, "version": version, "since": rfc3339(at), "earlier": earlier}
        self._shelf.put(POINTER, json.dumps(content).ljust(POINTER_BYTES - 1).encode() + b"\n")

    def fetch(self, version: str, to: Path) -> Path:
        """A copy of a version in `to`/`version` on this machine, every file checked against its hash.

        What was fetched before and is still right is not fetched again.
        """
        manifest = self.manifest(version)
        target = to / version
        if _is_copy(target, manifest.files):
            return target
        to.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=to))
        try:
            for name, file in manifest.files.items():
                sha256 = self._shelf.download(f"{version}/{name}", part / name, file.size_bytes)
                if sha256 != file.sha256:
                    raise ModelError(
                        f"model {version} is damaged: {name} is not the file that was stored (its hash differs); "
                        "choose another one: joule forecast models, joule forecast promote VERSION"
                    )
            return _move(part, target, manifest.files)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def prune(self, keep: int) -> list[str]:
        """Delete all but the newest `keep` (>= 1) versions, never the serving one; returns those deleted.

        What an interrupted `add` left behind goes too, where it is older than all that is kept.
        """
        serving = self.serving()
        kept = set(self.versions()[: max(keep, 1)]) | {serving}
        oldest = min((version for version in kept if version is not None), default="")
        folders = self._shelf.folders()
        gone = [name for name in folders if name not in kept and (self._has(name) or name < oldest)]
        for version in gone:
            self._shelf.delete(version)
        return gone

    def _has(self, version: str) -> bool:
        return self._shelf.has(f"{version}/{MANIFEST}")


def hashes_of(folder: Path) -> dict[str, ModelFile]:
    """Every file below a folder by its name there, with its hash. Raises ModelError for what is no plain file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ModelError(f"{path} is a link; a model consists of plain files")
        if path.is_file():
            found[name] = ModelFile(_sha256(path), path.stat().st_size)
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
    return digest.hexdigest()


def _is_copy(folder: Path, files: Mapping[str, ModelFile]) -> bool:
    """Whether a folder of the cache holds exactly these files."""
    try:
        return folder.is_dir() and hashes_of(folder) == files
    except (OSError, ModelError):
        return False


def _move(part: Path, target: Path, files: Mapping[str, ModelFile]) -> Path:
    """Give a complete copy its name; another process may have been faster."""
    if target.exists() and not _is_copy(target, files):
        shutil.rmtree(target)
    try:
        os.rename(part, target)
    except OSError:
        if not _is_copy(target, files):
            raise ModelError(
                f"{target} cannot be written; make room there or name another data folder"
            ) from None
    return target


def _pointer(content: Any) -> Serving:
    version, earlier = content["version"], content["earlier"]
    if content["format"] != FORMAT or not all(isinstance(name, str) for name in earlier):
        raise ValueError("another format")
    if version is not None:
        check_version(version)
    return Serving(version, parse_time(content["since"]), tuple(earlier))
