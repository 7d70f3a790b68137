"""Whether a broker is there, asked before a client is built: at once, and with one clear sentence."""

from __future__ import annotations

import logging

from conf.kafka_trouble import kafka_knock, kafka_refusal
from conf.knocking import listens
from conf.sections import Kafka
from schemas.errors import RetryableError

CONNECT_TIMEOUT_S = 3.0
PATIENCE_MS = 15_000  # how long a client may look for a broker that takes connections


def need_broker(kafka: Kafka) -> None:
    """Raise RetryableError unless one of its addresses takes connections, and Refused where TLS fails at all."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it is in our own messages
    if not any(listens(address, CONNECT_TIMEOUT_S) for address in kafka.bootstrap.split(",")):
        raise no_broker(kafka)
    kafka_knock(kafka)


def no_broker(kafka: Kafka, error: BaseException | None = None) -> RetryableError:
    """The error for a broker that is away, or that does not let us in (Refused) where a client says `error`."""
    refused = None if error is None else kafka_refusal(kafka, error)
    return refused or RetryableError(
        f"no Kafka broker answers at {kafka.bootstrap}; start one with ./joule up, "
        "or name yours with JOULE_KAFKA_BOOTSTRAP"
    )


def trouble(kafka: Kafka, error: BaseException, what: str) -> RetryableError:
    """The error for a broker that answered and then failed."""
    return kafka_refusal(kafka, error) or RetryableError(f"the broker at {kafka.bootstrap} {what}: {error}")
