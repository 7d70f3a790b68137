"""The front door: the `joule` command, the local stack, audit and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.tracker import RunStopped as RunStopped
    from producers.tracker import Tracker as Tracker

__version__ = "0.1.0"
__all__ = ["RunStopped", "Tracker", "__version__"]


def __getattr__(name: str) -> Any:
    """`from joulestream import Tracker`, without loading a meter before somebody asks for one."""
    if name in ("RunStopped", "Tracker"):
        from producers import tracker

        return getattr(tracker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
