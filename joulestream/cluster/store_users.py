"""Users of the embedded document server: `python -m joulestream.cluster.store_users`.

That server has no first-user exception: users are made while it takes anybody, and it runs with `--auth` afterwards.
So this starts it on 127.0.0.1 of its own pod, makes or corrects the users, and stops it. Passwords are files
`root-password`, `writer-password`, `reader-password` in STORE_CREDENTIALS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from schemas.errors import PipelineError, RetryableError

FOLDER = "/etc/joulestream/secrets/mongodb-credentials"
PORT = "27018"
START_S = 60.0
STOP_S = 30.0


def users_of(folder: Path, database: str) -> list[dict[str, Any]]:
    """The commands that make the users: all rights, writing, and reading of one database. Raises PipelineError."""
    roles = {
        "root": [{"role": "root", "db": "admin"}],
        "writer": [{"role": "readWrite", "db": database}, {"role": "dbAdmin", "db": database}],
        "reader": [{"role": "read", "db": database}],
    }
    return [
        {"createUser": name, "pwd": _password(folder / f"{name}-password"), "roles": granted}
        for name, granted in roles.items()
    ]


def set_users(admin: Any, users: list[dict[str, Any]]) -> None:
    """Make each user, or give an existing one its password and roles of now. Raises PyMongoError."""
    for user in users:
        name = user["createUser"]
        if admin.command("usersInfo", name)["users"]:
            admin.command({"updateUser": name, "pwd": user["pwd"], "roles": user["roles"]})
        else:
            admin.command(user)


def main() -> int:
    """0 when the users are set, 1 where the server or a password is missing."""
    folder = Path(os.environ.get("STORE_CREDENTIALS", FOLDER))
    try:
        users = users_of(folder, os.environ.get("STORE_DATABASE", "energy_emissions"))
        _with_server(os.environ, users)
    except PipelineError as error:
        sys.stderr.write(f"store users: {error}\n")
        return 1
    sys.stdout.write(f"users {', '.join(user['createUser'] for user in users)} are set\n")
    return 0


def _with_server(environment: Mapping[str, str], users: list[dict[str, Any]]) -> None:
    port = environment.get("STORE_SETUP_PORT", PORT)
    command = [sys.executable, "-m", "joulestream.cluster.store"]
    server = subprocess.Popen(command, env={**environment, "STORE_HOST": "127.0.0.1", "STORE_PORT": port})
    try:
        with MongoClient[dict[str, Any]](
            f"mongodb://127.0.0.1:{port}", serverSelectionTimeoutMS=1000
        ) as client:
            _wait(client, server)
            set_users(client.admin, users)
    except PyMongoError as error:
        raise PipelineError(f"the embedded store refuses: {error}") from None
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(client: Any, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            client.admin.command("ping")
        except PyMongoError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RetryableError(
                    f"the embedded store did not start ({type(error).__name__}); see above"
                ) from None
            time.sleep(0.2)
        else:
            return


def _password(file: Path) -> str:
    try:
        text = file.read_text("utf-8").strip()
    except OSError as error:
        raise PipelineError(
            f"{file} cannot be read ({error.strerror}): is the secret mongodb-credentials mounted?"
        ) from None
    if not text:
        raise PipelineError(f"{file} is empty, and should hold a password")
    return text


if __name__ == "__main__":
    sys.exit(main())
