"""A note on disk of how far a server's series have been read, so that a restart goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import PipelineError

FILE = "prometheus-ingest.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """All nodes have been read through `through_ms`, some of them further (ms since the epoch)."""

    through_ms: int
    ahead: Mapping[str, int] = field(default_factory=dict)

    def of(self, node_id: str) -> int:
        """How far a node has been read."""
        return max(self.through_ms, self.ahead.get(node_id, 0))


def read_note(file: Path) -> Progress | None:
    """What the file says; None where there is none. Raises PipelineError where it cannot be read."""
    try:
        said = json.loads(file.read_text("utf-8"))
        return Progress(int(said["through_ms"]), {str(n): int(ms) for n, ms in said["ahead"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PipelineError(
            f"{file} cannot be read ({type(error).__name__}); remove it: reading then begins prometheus.lookback_s "
            "ago, and `joule ingest --from` reads what lies before"
        ) from None


def write_note(file: Path, progress: Progress) -> None:
    """Keep it, whole or not at all. Raises PipelineError where the folder cannot be written."""
    text = json.dumps({"through_ms": progress.through_ms, "ahead": dict(progress.ahead)})
    beside = file.with_name(file.name + ".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    except OSError as error:
        raise PipelineError(
            f"{file} cannot be written: {error.strerror}; make room, or set data_dir"
        ) from None
