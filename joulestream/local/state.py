"""What runs: `state.json` in the data folder, written by the supervisor and read by every verb."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from joulestream.local.process import is_alive

FILE = "state.json"


@dataclass(frozen=True)
class ServiceState:
    """One service: `state` is starting, running, waiting (for its restart), failed, finished or stopped.

    `pid` and `create_time` (seconds since the epoch, as psutil tells it) name one process for good.
    """

    state: str
    log: str
    pid: int | None = None
    create_time: float | None = None
    port: int | None = None
    started_at: str | None = None
    restarts: int = 0

    @property
    def alive(self) -> bool:
        return self.pid is not None and self.create_time is not None and is_alive(self.pid, self.create_time)


@dataclass(frozen=True)
class StackState:
    """One stack. `phase` is starting, ready or stopped; `own` names the servers that are not given.

    It holds no secret: of a given store's URI user and password are left out.
    """

    data_dir: str
    phase: str
    supervisor_pid: int
    supervisor_create_time: float
    kafka_bootstrap: str
    mongodb_uri: str
    dashboard_url: str | None = None
    document_server: str | None = None
    own: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    services: Mapping[str, ServiceState] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this runs."""
        return is_alive(self.supervisor_pid, self.supervisor_create_time)


def read_state(data_dir: Path) -> StackState | None:
    """The last state of the stack in `data_dir`; None if there never was one that can be read."""
    try:
        raw: dict[str, Any] = json.loads((data_dir / FILE).read_text())
        services = {name: ServiceState(**values) for name, values in raw.pop("services").items()}
        return StackState(**{**raw, "own": tuple(raw["own"])}, services=services)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_state(data_dir: Path, state: StackState) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    draft = data_dir / f".{FILE}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(state), file, indent=2)
    draft.replace(data_dir / FILE)
