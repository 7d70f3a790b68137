"""Where models are stored: files with names under a folder or an S3 prefix, and what goes wrong there."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from spark_jobs.forecast.errors import ModelError

CHUNK_BYTES = 1024 * 1024
# A store that is away is noticed within some ten seconds.
CONNECT_S, REQUEST_S, TRIES = 3.0, 10.0, 3
S3_OPTIONS = ("endpoint_override", "region", "scheme")
_CHECK = "check forecast.registry / JOULE_FORECAST_REGISTRY, the rights there and, for S3, the credentials"


class NotThereError(ModelError):
    """The store answers, and has nothing of this name."""


class Shelf:
    """Files by name (`/` between folders). Every failure is a ModelError that says where and what to do."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._local = "://" not in uri or uri.startswith("file://")
        self._fs, self._root = _folder(uri) if self._local else _s3(uri)

    def read(self, name: str, most_bytes: int) -> bytes:
        """The bytes of a small file. Raises NotThereError, or ModelError where it is larger than `most_bytes`."""
        with self._errors(name), self._fs.open_input_stream(self._path(name)) as stream:
            data: bytes = stream.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise ModelError(f"{self.uri}: {name} is larger than {most_bytes} bytes, so it is none of ours")
        return data

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with self._errors(name):
            found = self._fs.get_file_info(self._path(name)).type == fs.FileType.File
        return bool(found)

    def put(self, name: str, data: bytes) -> None:
        """Write a small file at once: a reader sees the old bytes or the new ones, never a part."""
        with self._errors(name):
            if self._local:
                _replace(Path(self._path(name)), data)
            else:  # one request; an object appears whole
                with self._fs.open_output_stream(self._path(name)) as stream:
                    stream.write(data)

    def upload(self, name: str, file: Path) -> None:
        """Store a file; it may be seen half written, so what names it is put afterwards."""
        path = self._path(name)
        with self._errors(name):
            if self._local:
                self._fs.create_dir(path.rpartition("/")[0], recursive=True)
            with file.open("rb") as source, self._fs.open_output_stream(path) as stream:
                while chunk := source.read(CHUNK_BYTES):
                    stream.write(chunk)

    def download(self, name: str, to: Path, most_bytes: int) -> str:
        """Copy to a file of this machine, at most `most_bytes` of it; returns the SHA-256 of what was copied."""
        digest = hashlib.sha256()
        left = most_bytes
        to.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._errors(name),
            self._fs.open_input_stream(self._path(name)) as stream,
            to.open("wb") as file,
        ):
            while left >= 0 and (chunk := stream.read(CHUNK_BYTES)):
                left -= len(chunk)
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def folders(self) -> list[str]:
        """Names of the folders at the top; none where there is nothing yet."""
        with self._errors("its list"):
            found = self._fs.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def delete(self, folder: str) -> None:
        """Remove a folder with all that is in it; nothing where it is not there."""
        path = self._path(folder)
        with self._errors(folder):
            if self._fs.get_file_info(path).type == fs.FileType.Directory:
                self._fs.delete_dir(path)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotThereError(f"the model registry {self.uri} has no {name}") from None
        except (OSError, pa.ArrowException) as error:
            what = f"{type(error).__name__}: {str(error)[:300]}"
            raise ModelError(
                f"the model registry {self.uri} cannot be used for {name} ({what}); {_CHECK}"
            ) from None


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _folder(uri: str) -> tuple[fs.FileSystem, str]:
    path = unquote(urlsplit(uri).path) if uri.startswith("file://") else uri
    return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))


def _s3(uri: str) -> tuple[fs.FileSystem, str]:
    """`s3://bucket/prefix?endpoint_override=host:port&scheme=http&region=…`; who we are says the environment."""
    parts = urlsplit(uri)
    given = dict(parse_qsl(parts.query))
    unknown = sorted(set(given) - set(S3_OPTIONS))
    if parts.scheme != "s3" or not parts.hostname or "@" in parts.netloc or unknown:
        expected = "a folder or s3://bucket/prefix, with " + ", ".join(S3_OPTIONS) + " after a ? where needed"
        raise ModelError(
            f"forecast.registry / JOULE_FORECAST_REGISTRY: found scheme {parts.scheme!r}"
            f"{' and options ' + ', '.join(unknown) if unknown else ''}, expected {expected}; credentials only "
            "come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or a profile)"
        )
    system = fs.S3FileSystem(
        **given,
        connect_timeout=CONNECT_S,
        request_timeout=REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
    )
    return system, f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
