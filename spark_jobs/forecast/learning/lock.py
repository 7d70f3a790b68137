"""One training at a time on a machine: a file held with flock, given back by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import PipelineError

LOCK = "training.lock"


class BusyError(PipelineError):
    """Another training runs."""


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Hold the lock of the data folder's trainings. Raises BusyError at once while another process has it.

    Two machines that share a registry may train at the same time: versions have names of their own and the
    pointer is written at once, so that costs work and harms nothing.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(
                f"another training runs ({data_dir / LOCK}); wait for it, or see joule status"
            ) from None
        yield
    finally:
        os.close(descriptor)
