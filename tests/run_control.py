"""Requests to stop a run, and a link that brings them without a broker."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from producers.control import ControlMessage

RUN = "r1"


def message(run_id: str = RUN, key: str | None = None, **fields: Any) -> ControlMessage:
    value = {"run_id": run_id, "timestamp": "2026-01-01T00:00:00Z", "action": "stop_requested", **fields}
    return ControlMessage((key or run_id).encode(), json.dumps(value).encode())


class FakeLink:
    """Gives what is put into `coming`; an error in it is raised."""

    def __init__(self) -> None:
        self.coming: list[ControlMessage | Exception] = []
        self.closed = 0

    def poll(self, timeout_s: float) -> Sequence[ControlMessage]:
        time.sleep(0.005)
        if not self.coming:
            return ()
        first = self.coming.pop(0)
        if isinstance(first, Exception):
            raise first
        return [first]

    def close(self) -> None:
        self.closed += 1
