"""What a run is asked to do: a thread reads topic `run.control` and keeps the request for the tracker.

Only messages that the broker recorded at or after the run's start count: the topic is compacted and keeps the
last request of every run for ever, and an old one must not stop a new run of the same name. Whatever goes wrong
here costs the control, never the training: a broker that is away is logged once and asked again, a message that
cannot be read is logged once and passed over.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from conf.clients import kafka_options
from conf.kafka_trouble import kafka_knock, told_by_client
from conf.logs import inherit
from conf.sections import Kafka
from conf.trouble import Refused
from producers.exits import Shield
from producers.kafka_link import (
    CONNECT_TIMEOUT_MS,
    listens,
    need_listener,
    no_answer,
    quiet_vendor_log,
    words,
)
from schemas import reasons
from schemas.checks import check_fields, require
from schemas.errors import ContractError, RetryableError
from schemas.events import RunControl
from schemas.parse import decode
from schemas.times import to_ms
from schemas.topics import RUN_CONTROL

log = logging.getLogger(__name__)

POLL_S = 0.2  # also the longest that the end of a run waits for the thread
PROBE_S = 30.0  # a silence so long is looked into: the library never says that its broker went away
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
MAX_RECORDS = 100
MAX_FETCH_BYTES = 256 * 1024
REASON_CHARS = 500  # at most 2 KB: `extra` of the event that repeats it may have 4 KiB


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Somebody, mostly a budget, asks the run to stop: why, and when they said so."""

    reason: str | None
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """One record of the topic."""

    key: bytes | None
    value: bytes | None


class ControlLink(Protocol):
    """A way to the topic. `poll` waits a little, and raises RetryableError where the broker is away."""

    def poll(self, timeout_s: float) -> Sequence[ControlMessage]: ...
    def close(self) -> None: ...


def stop_request(run_id: str, message: ControlMessage) -> StopRequest | None:
    """The request in a message; None where it is another run's, or a deletion. Raises ContractError."""
    if message.key != run_id.encode() or message.value is None:
        return None
    known, _ = check_fields(RunControl, decode(message.value))
    require(RunControl, known)
    if known["run_id"] != run_id:
        raise ContractError(
            reasons.INVALID_VALUE, f"run_id is {known['run_id']!r} under the key {run_id!r}", "run_id"
        )
    reason = known.get("reason")
    if reason is not None:
        reason = reason[:REASON_CHARS].replace("\0", "�")  # decode() lets no lone surrogate through
    return StopRequest(reason, known["timestamp"])


class ControlReader:
    """Waits in a thread of its own for a request to one run; ends when it has one, or when it is closed."""

    def __init__(self, run_id: str, connect: Callable[[], ControlLink], shield: Shield) -> None:
        self._run_id, self._connect, self._shield = run_id, connect, shield
        self._closing = threading.Event()
        self._told_away = self._told_refused = self._told_malformed = False
        self._backoff_s = FIRST_BACKOFF_S
        self._thread = threading.Thread(target=inherit(self._run), name="joulestream-control", daemon=True)
        self.request: StopRequest | None = None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self, timeout_s: float = 2 * POLL_S) -> bool:
        """End the thread; False where it does not end in time (it is a daemon and holds nothing up)."""
        self._closing.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with self._shield:
            while not self._closing.is_set() and self.request is None:
                try:
                    self._follow()
                except RetryableError as error:
                    self._back_off(error)

    def _follow(self) -> None:
        """Read until there is a request or the end. Raises RetryableError."""
        link = self._connect()
        try:
            while not self._closing.is_set() and self.request is None:
                for message in link.poll(POLL_S):
                    self._take(message)
                self._backoff_s = FIRST_BACKOFF_S
        finally:
            link.close()

    def _take(self, message: ControlMessage) -> None:
        try:
            self.request = self.request or stop_request(self._run_id, message)
        except ContractError as error:
            if not self._told_malformed:
                self._told_malformed = True
                log.warning("a message to this run on %s is ignored: %s", RUN_CONTROL, error)

    def _back_off(self, error: RetryableError) -> None:
        if not self._told_away or (isinstance(error, Refused) and not self._told_refused):
            self._told_away, self._told_refused = True, isinstance(error, Refused)
            log.warning("%s; the run goes on, and cannot be asked to stop meanwhile (said once)", error)
        self._closing.wait(self._backoff_s)
        self._backoff_s = min(MAX_BACKOFF_S, 2 * self._backoff_s)


class KafkaControl:
    """A `ControlLink` on kafka-python: all partitions, from the first message recorded at `since` or later.

    Without a consumer group, so that it leaves nothing on the broker. Raises RetryableError where the broker is
    away or lacks the topic.
    """

    def __init__(
        self, kafka: Kafka, client_id: str, since: datetime, probe: Callable[[str], bool] = listens
    ) -> None:
        quiet_vendor_log()
        self._kafka, self._bootstrap, self._probe = kafka, kafka.bootstrap, probe
        need_listener(kafka, probe)
        kafka_knock(kafka)
        library = importlib.import_module("kafka")  # half a second that no training waits for
        self._errors = (importlib.import_module("kafka.errors").KafkaError, OSError, RuntimeError)
        self._heard_s = time.monotonic()
        try:
            self._consumer = library.KafkaConsumer(
                **kafka_options(kafka),
                client_id=client_id,
                group_id=None,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                max_poll_records=MAX_RECORDS,
                fetch_max_bytes=MAX_FETCH_BYTES,
                max_partition_fetch_bytes=MAX_FETCH_BYTES,
                fetch_max_wait_ms=5_000,  # the broker answers at once where there is something
                request_timeout_ms=10_000,
                bootstrap_timeout_ms=CONNECT_TIMEOUT_MS,
                metrics_enabled=False,
            )
        except self._errors as error:
            raise no_answer(kafka, error) from error
        try:
            self._seek(library.TopicPartition, to_ms(since))
        except self._errors as error:
            self.close()
            raise self._failed("cannot be read", error) from error
        except RetryableError:
            self.close()
            raise

    def poll(self, timeout_s: float) -> Sequence[ControlMessage]:
        """What came since, at most MAX_RECORDS. Raises RetryableError."""
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except self._errors as error:
            raise self._failed("failed", error) from error
        if not found and time.monotonic() - self._heard_s < PROBE_S:
            return ()
        if not found:
            need_listener(self._kafka, self._probe)
        self._heard_s = time.monotonic()
        return [ControlMessage(record.key, record.value) for records in found.values() for record in records]

    def close(self) -> None:
        """Let go of the connection; an error in that is of no consequence."""
        try:
            self._consumer.close(timeout_ms=int(POLL_S * 1000))
        except self._errors as error:
            log.debug("the consumer of %s did not close: %s", RUN_CONTROL, error)

    def _failed(self, how: str, error: BaseException) -> RetryableError:
        return told_by_client(self._kafka, error) or RetryableError(
            f"{RUN_CONTROL} at {self._bootstrap} {how}: {words(error)}"
        )

    def _seek(self, place_of: Callable[[str, int], Any], since_ms: int) -> None:
        partitions = self._consumer.partitions_for_topic(RUN_CONTROL)
        if not partitions:
            raise RetryableError(
                f"topic {RUN_CONTROL} is not on the broker at {self._bootstrap}; ./joule up creates it"
            )
        places = [place_of(RUN_CONTROL, partition) for partition in sorted(partitions)]
        self._consumer.assign(places)
        # The ends before the search: what comes between the two is then found by either.
        ends = self._consumer.end_offsets(places, timeout_ms=CONNECT_TIMEOUT_MS)
        found = self._consumer.offsets_for_times(
            dict.fromkeys(places, since_ms), timeout_ms=CONNECT_TIMEOUT_MS
        )
        for place in places:
            first = found.get(place)
            self._consumer.seek(place, ends[place] if first is None else first.offset)
