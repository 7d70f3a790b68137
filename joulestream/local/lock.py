"""A lock between processes: a file held with flock, given back by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import PipelineError


class Held(PipelineError):
    """Somebody else holds the lock."""


@contextmanager
def held(
    file: Path, say: Callable[[str], None] | None = None, who: str = "another process"
) -> Iterator[None]:
    """Hold `file`'s lock. Waits, and says so once; without `say` raises Held at once instead."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if say is None:
                raise Held(f"{who} holds {file}") from None
            say(f"waiting: {who} (lock {file})")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
