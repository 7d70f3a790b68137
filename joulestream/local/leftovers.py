"""Ends what a supervisor that was killed may have left behind, by recorded pid and creation time."""

from __future__ import annotations

from collections.abc import Callable

from joulestream.local.process import end_group
from joulestream.local.state import StackState

# Who writes first, then the stream, then the servers: the order in which nothing is lost.
ORDER = ("retrain", "reconcile", "demo", "agent", "alerts", "dashboard", "stream", "store", "broker")
GRACE_S = 30.0


def end_leftovers(state: StackState | None, say: Callable[[str], None]) -> list[str]:
    """End the services of a stack whose supervisor is gone; returns their names."""
    if state is None or state.alive:
        return []
    ended = []
    for name in sorted(state.services, key=ORDER.index):
        service = state.services[name]
        if service.pid is not None and service.alive:
            say(f"{name:<10} left over from a stack that was killed (pid {service.pid}); ending it")
            end_group(service.pid, GRACE_S)
            ended.append(name)
    return ended
