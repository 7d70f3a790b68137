"""What the tests of meters share."""

from __future__ import annotations

from datetime import datetime, timezone

from producers.ports import Instant


def at(second: float) -> Instant:
    """An instant so many seconds after some start."""
    return Instant(datetime(2026, 1, 1, tzinfo=timezone.utc), second)
