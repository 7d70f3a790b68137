"""A deadline for a whole conversation: a socket's own timeout begins anew with every byte of a slow peer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def deadline(seconds: float, current: Callable[[], socket.socket | None]) -> Iterator[threading.Event]:
    """Break the connection after `seconds`; the event tells that it was this which broke it."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        sock = current()
        if sock is not None:
            with suppress(OSError):  # it may just have been closed
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
