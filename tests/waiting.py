"""Waiting for what other threads and processes do: by a condition, never by a guessed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], object],
    timeout_s: float = 60.0,
    every_s: float = 0.02,
    otherwise: Callable[[], str] = lambda: "it did not happen",
) -> None:
    """Return as soon as the condition holds. Fails with `otherwise` after the time-out, which is long: only a
    test that fails waits for it, and a busy machine is slow."""
    ends_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_s, f"{otherwise()} (in {timeout_s:g} s)"
        time.sleep(every_s)
