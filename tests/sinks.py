"""Sinks of events for the tests: in a list, or from another process in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class ListSink:
    """Keeps what is sent. `away` of the next flushes fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []
        self.away = 0
        self.dropped = 0

    @property
    def values(self) -> list[bytes]:
        """What was sent, byte for byte."""
        return [value for _, _, value in self.sent]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was sent, read."""
        return [json.loads(value) for value in self.values]

    def send(self, topic: str, key: str, value: bytes) -> None:
        self.sent.append((topic, key, value))

    def flush(self, timeout_s: float) -> bool:
        if self.away:
            self.away -= 1
            return False
        return True

    def close(self, timeout_s: float) -> bool:
        return True


class FileSink:
    """Writes what is sent to a file as it comes, a message a line."""

    dropped = 0

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def send(self, topic: str, key: str, value: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(value + b"\n")

    def flush(self, timeout_s: float) -> bool:
        return True

    def close(self, timeout_s: float) -> bool:
        return True
