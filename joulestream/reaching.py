"""Whether a broker is there, asked before a client is built: at once, and with one clear sentence."""

from __future__ import annotations

import logging
import socket

from schemas.errors import RetryableError

CONNECT_TIMEOUT_S = 3.0


def need_broker(bootstrap: str) -> None:
    """Raise RetryableError unless one of the `host:port` of the list takes connections."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it is in our own messages
    if not any(_listens(address.strip()) for address in bootstrap.split(",")):
        raise no_broker(bootstrap)


def no_broker(bootstrap: str) -> RetryableError:
    """The error for a broker that is away."""
    return RetryableError(
        f"no Kafka broker answers at {bootstrap}; start one with ./joule up, "
        "or name yours with JOULE_KAFKA_BOOTSTRAP"
    )


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
