"""What a model says of itself: what it was trained on, how well it does, and the hash of each of its files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from schemas.errors import ContractError
from schemas.times import parse_time, rfc3339
from spark_jobs.forecast.errors import ModelError

FORMAT = 1
MOST_FILES = 5000
MOST_BYTES = 1024**3
# A version is part of documents' ids and a folder's name.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
# What Spark ML writes, and JSON; a pickle can run code when it is read, so nothing else is fetched.
_SEGMENT = re.compile(r"[A-Za-z0-9_.=-]+")
_KIND = re.compile(r"(.+\.(json|parquet|crc|txt)|part-\d{5}|_SUCCESS)")
_RETRAIN = "train a model with this version of Joulestream: joule forecast train"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of a version. It never changes once the version is stored.

    `data` describes the past that it learned from (first and last window, series, windows, where from);
    `scores` holds, per horizon (s, as text), the errors on the later part of that past. `served_horizons_s`
    are those at which it beats strong naive. `verdict` is promoted, challenger or rejected, `reason` why.
    """

    version: str
    created_at: datetime
    features: tuple[str, ...]
    horizons_s: tuple[int, ...]
    served_horizons_s: tuple[int, ...]
    window_s: int
    data: Mapping[str, Any]
    n_rows: int
    scores: Mapping[str, Mapping[str, Any]]
    verdict: str
    reason: str
    libraries: Mapping[str, str]
    files: Mapping[str, ModelFile]

    def to_doc(self) -> dict[str, Any]:
        """As a document: dates are dates. File names are no field names: they hold dots."""
        doc = {field.name: getattr(self, field.name) for field in fields(self)}
        files = [{"name": name, **asdict(file)} for name, file in sorted(self.files.items())]
        lists = {name: list(doc[name]) for name in ("features", "horizons_s", "served_horizons_s")}
        return {**doc, **lists, "format": FORMAT, "files": files}

    def to_json(self) -> bytes:
        """As stored beside the model, with the hash of its own content."""
        body = json.loads(json.dumps(self.to_doc(), default=_plain, allow_nan=False))
        return (json.dumps({**body, "digest": _digest(body)}, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, version: str) -> Manifest:
        """Read back what `to_json` wrote. Raises ModelError where it is not that, or of another format."""
        where = f"the manifest of model {version}"
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise ModelError(f"{where} is damaged (no JSON object); {_RETRAIN}") from None
        digest, found = body.pop("digest", None), body.pop("format", None)
        if found != FORMAT:
            raise ModelError(f"{where} has format {found!r}, expected {FORMAT}; {_RETRAIN}")
        if digest != _digest({**body, "format": found}):
            raise ModelError(f"{where} is damaged (its hash does not match); {_RETRAIN}")
        try:
            made = _made(body)
        except (KeyError, TypeError, ValueError, ContractError) as error:
            raise ModelError(
                f"{where} lacks a field or has one of another type ({error}); {_RETRAIN}"
            ) from None
        if made.version != version:
            raise ModelError(f"{where} is that of {made.version!r}: it was copied by hand; {_RETRAIN}")
        check_files(version, made.files)
        return made

    def check(self, features: Sequence[str], window_s: int) -> None:
        """Whether a stream with these features and windows can use the model. Raises ModelError."""
        if self.features != tuple(features):
            differ = sorted(set(self.features) ^ set(features)) or ["their order"]
            raise ModelError(
                f"model {self.version} was trained on other features (different: {', '.join(differ[:5])}); {_RETRAIN}"
            )
        if self.window_s != window_s:
            raise ModelError(
                f"model {self.version} was trained on windows of {self.window_s} s, and stream.window_s is {window_s}; "
                "train one for these: joule forecast train"
            )


def check_files(version: str, files: Mapping[str, ModelFile]) -> None:
    """Only files of the kinds that Spark ML writes, inside the version's folder. Raises ModelError."""
    for name in files:
        segments = name.split("/")
        inside = all(_SEGMENT.fullmatch(part) and part.strip(".") for part in segments)
        if not inside or name == "manifest.json" or not _KIND.fullmatch(segments[-1]):
            raise ModelError(
                f"model {version} names the file {name[:100]!r}, which is none that Spark ML writes (JSON, Parquet, "
                f"text and checksums); it is not loaded. {_RETRAIN}"
            )
    if len(files) > MOST_FILES or sum(file.size_bytes for file in files.values()) > MOST_BYTES:
        raise ModelError(
            f"model {version} has more than {MOST_FILES} files or {MOST_BYTES} bytes, so it is none of ours; {_RETRAIN}"
        )


def check_version(version: str) -> None:
    """A version's name can be a folder's and a part of an id. Raises ModelError."""
    if not VERSION.fullmatch(version) or version == "none":
        raise ModelError(
            f"{version[:100]!r} cannot be a model's version: expected letters, digits, dots, dashes, at most 80; "
            "those that there are: joule forecast models"
        )


def _made(body: Mapping[str, Any]) -> Manifest:
    texts = {name: _text(body[name]) for name in ("version", "verdict", "reason")}
    return Manifest(
        **texts,
        created_at=parse_time(_text(body["created_at"])),
        features=tuple(map(_text, body["features"])),
        horizons_s=tuple(map(_whole, body["horizons_s"])),
        served_horizons_s=tuple(map(_whole, body["served_horizons_s"])),
        window_s=_whole(body["window_s"]),
        data={**dict(body["data"]), **_spans(body["data"])},
        n_rows=_whole(body["n_rows"]),
        scores={str(key): dict(value) for key, value in body["scores"].items()},
        libraries={str(key): _text(value) for key, value in body["libraries"].items()},
        files={
            _text(f["name"]): ModelFile(_text(f["sha256"]), _whole(f["size_bytes"])) for f in body["files"]
        },
    )


def _spans(data: Mapping[str, Any]) -> dict[str, datetime]:
    return {name: parse_time(_text(data[name])) for name in ("first", "last") if name in data}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"found {type(value).__name__}, expected text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"found {value!r}, expected a whole number")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"a manifest cannot hold {type(value).__name__}")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
