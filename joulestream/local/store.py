"""The document server of this machine: a `mongod` on PATH, else SecantusDB; a process, never an import."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from conf.clients import mongo_options
from conf.mongo_trouble import mongo_refusal, mongo_unusable
from conf.sections import MongoDB
from joulestream.cluster.store import PROGRAM
from joulestream.local.ports import HOST
from joulestream.local.process import Service
from schemas.errors import PipelineError

OLDEST_MONGOD = 6
CACHE = "1G"  # the server's own default
_SECRET_OPTION = re.compile(
    r"(?i)(?<=[?&])((?:tlsCertificateKeyFilePassword|authMechanismProperties)=)[^&]*(&?)"
)


@dataclass(frozen=True)
class DocumentServer:
    """Which program keeps the documents, and under which licence it comes."""

    name: str
    licence: str
    executable: Path

    @property
    def words(self) -> str:
        return f"{self.name} ({self.licence}, a separate process)"


def find_document_server() -> DocumentServer:
    """`mongod` 6 or newer on PATH, else the SecantusDB beside this interpreter."""
    on_path = shutil.which("mongod")
    version = mongod_version(on_path) if on_path else None
    if on_path and version and int(version.split(".")[0]) >= OLDEST_MONGOD:
        return DocumentServer(f"MongoDB {version}", "SSPL", Path(on_path))
    beside = Path(sys.executable).parent / PROGRAM
    if beside.is_file():
        return DocumentServer("SecantusDB", "GPL-2.0", beside)
    found = f"mongod {version or '(of unknown version)'} on PATH" if on_path else "no mongod on PATH"
    raise PipelineError(
        f"found {found} and no {PROGRAM} beside {sys.executable}, expected MongoDB {OLDEST_MONGOD} "
        f"or newer, or SecantusDB: run `pip install '.[embedded-store]'`, or name a server with "
        f"--mongodb-uri"
    )


def mongod_version(executable: str) -> str | None:
    """What `mongod --version` says, such as 7.0.14."""
    try:
        done = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"v(\d+\.\d+\.\d+)", done.stdout)
    return match[1] if match else None


def store_service(
    folder: Path,
    port: int,
    server: DocumentServer,
    log: Path,
    more: Sequence[str] = (),
    reach: MongoDB | None = None,
) -> Service:
    """The document server whose data is in `folder`, on 127.0.0.1.

    `more` are further arguments of the server, and `reach` says how to ask it whether it is ready then.
    """
    mongodb = reach or MongoDB(uri=SecretStr(f"mongodb://{HOST}:{port}"))
    data = folder / ("mongod" if server.executable.name == "mongod" else "secantus")
    config = folder / "secantusd.toml"
    if server.executable.name == "mongod":
        command = ["--dbpath", str(data), "--bind_ip", HOST, "--port", str(port)]
        command += ["--wiredTigerCacheSizeGB", "0.25"]
    else:
        # An own, empty configuration: one that lies about elsewhere must not change what we start.
        command = ["--config", str(config), "--host", HOST, "--port", str(port), "--standalone"]
        command += ["--storage-path", str(data), "--cache-size", CACHE, "--log-level", "WARNING"]

    def prepare() -> None:
        data.mkdir(parents=True, exist_ok=True)
        config.touch()

    return Service(
        name="store",
        command=[str(server.executable), *command, *more],
        log=log,
        port=port,
        prepare=prepare,
        ready=lambda: store_away(mongodb),
        ready_timeout_s=60,
        stop_timeout_s=30,
    )


def store_away(mongodb: MongoDB, timeout_s: float = 2.0) -> str | None:
    """None if a document server answers and knows our user, else what went wrong. Never tells a secret."""
    options = {**mongo_options(mongodb), "serverSelectionTimeoutMS": int(timeout_s * 1000)}
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(**options)
    except (PyMongoError, ValueError, OSError) as error:
        return str(mongo_unusable(mongodb, error))
    try:
        client[mongodb.database].list_collection_names()  # a ping is answered to anybody
    except PyMongoError as error:
        refused = mongo_refusal(error, mongodb)
        return str(refused) if refused else f"an answer of the document server ({type(error).__name__})"
    finally:
        client.close()
    return None


def without_password(uri: str) -> str:
    """The URI as it may be shown."""
    return _SECRET_OPTION.sub(r"\1***\2", re.sub(r"(?<=://)([^:@/]+):[^@/]*@", r"\1:***@", uri))


def without_user(uri: str) -> str:
    """The URI as it may be kept: where the server is, without user and password."""
    return _SECRET_OPTION.sub("", re.sub(r"(?<=://)[^@/]*@", "", uri)).rstrip("?&")
