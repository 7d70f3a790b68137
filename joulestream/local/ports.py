"""Picks ports of 127.0.0.1."""

from __future__ import annotations

import socket
from collections.abc import Collection

from schemas.errors import PipelineError

HOST = "127.0.0.1"
TRIES = 200


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of 127.0.0.1, and we may."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT from the last run is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def pick(preferred: int, taken: Collection[int] = ()) -> int:
    """The preferred port, else the next one that is free and not in `taken`."""
    for port in range(preferred, min(preferred + TRIES, 65_536)):
        if port not in taken and is_free(port):
            return port
    raise PipelineError(
        f"no free port from {preferred} to {preferred + TRIES - 1}: choose others with --port-base"
    )


def any_free() -> int:
    """A port that the kernel says is free."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
