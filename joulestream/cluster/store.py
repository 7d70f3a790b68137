"""The store image's document server: `python -m joulestream.cluster.store [ARGUMENT…]`.

Starts SecantusDB, a program of its own under GPL-2.0, with its data in STORE_DIR (/data/db) on port STORE_PORT
(27017) of every address; arguments go to it as they are. This process becomes it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRAM = "secantusd-py"
CACHE = "512M"  # of the container's 1 GiB


def command_of(environment: Mapping[str, str], arguments: Sequence[str], config: Path) -> list[str]:
    """The server's command; `config` is an empty configuration, so that none that lies about is read."""
    return [
        str(Path(sys.executable).parent / PROGRAM),
        *("--config", str(config), "--standalone"),
        *("--host", environment.get("STORE_HOST", "0.0.0.0")),  # noqa: S104 - a pod's Service leads to it
        *("--port", environment.get("STORE_PORT", "27017")),
        *("--storage-path", environment.get("STORE_DIR", "/data/db")),
        *("--cache-size", environment.get("STORE_CACHE", CACHE), "--log-level", "WARNING"),
        *arguments,
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Become the server. 1 where that cannot be."""
    folder = Path(os.environ.get("STORE_DIR", "/data/db"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config = Path(tempfile.mkdtemp(prefix="store-")) / "secantusd.toml"
        config.touch()
        command = command_of(os.environ, sys.argv[1:] if argv is None else argv, config)
        os.execv(command[0], command)  # noqa: S606 - a list, no shell
    except OSError as error:
        sys.stderr.write(f"store: {error}: the container must be able to write to {folder} and to /tmp\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
