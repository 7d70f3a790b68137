"""The Kafka publisher: every message goes to the spool first, and a thread of its own sends what is there.

Nobody who calls `send` waits for a network. While the broker is away the thread backs off and logs one line
per change of state; what dead processes left in the folder it adopts and sends too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from conf.logs import inherit
from conf.sections import Kafka
from conf.trouble import Refused
from producers.kafka_link import Connect, KafkaLink, Link
from producers.spool import SUFFIX, Spool, orphans
from schemas.errors import RetryableError

log = logging.getLogger(__name__)

BATCH = 500
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 5.0
ADOPT_EVERY_S = 30.0
IDLE_WAIT_S = 5.0


class Publisher:
    """An `EventSink` on Kafka with a spool in `folder`. `name` is the producer's id, unique for its file.

    Raises sqlite3.Error or OSError where the spool's folder cannot be written.
    """

    def __init__(
        self,
        connect: Connect,
        folder: Path,
        name: str,
        max_mib: float,
        on_connect: Callable[[], None] | None = None,
    ) -> None:
        self._connect = connect
        self._folder, self._max_mib = folder, max_mib
        self._on_connect = on_connect
        self._spool = Spool(folder / f"{name}{SUFFIX}", max_mib)
        self._pid = os.getpid()
        self._wake = threading.Event()
        self._empty = threading.Condition()
        self._closing = threading.Event()
        self._retry = threading.Event()
        self._failures = 0
        self._link: Link | None = None
        self._away = False
        self._told = ""
        self._backoff_s = FIRST_BACKOFF_S
        self._adopt_at = 0.0
        self._lost_on_disk = 0
        self._told_disk = False
        self._thread = threading.Thread(target=inherit(self._run), name="joulestream-publisher", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Messages lost: to the spool's bound, to the broker's refusal, to a failing disk."""
        return self._spool.dropped + self._lost_on_disk

    @property
    def away(self) -> bool:
        """Whether the broker is known to be away."""
        return self._away

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Keep the message on disk; it is sent when the broker is there. Never raises."""
        if os.getpid() != self._pid or self._closing.is_set():
            return  # a forked child's copy, or after the end: the owner of the spool is not here
        try:
            self._spool.append(topic, key, value)
        except sqlite3.Error as error:
            self._lost_on_disk += 1
            if not self._told_disk:
                self._told_disk = True
                log.error("the spool in %s cannot be written, events are lost: %s", self._folder, error)  # noqa: TRY400
            return
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing waits in the spool; False where that took too long.

        Where the broker is known to be away, one more try decides.
        """
        until_s = time.monotonic() + timeout_s
        failures = self._failures
        self._retry.set()
        self._wake.set()
        with self._empty:
            while len(self._spool):
                left_s = until_s - time.monotonic()
                if left_s <= 0 or self._failures > failures or not self._thread.is_alive():
                    return False
                self._empty.wait(min(left_s, 0.2))
        return True

    def close(self, timeout_s: float) -> bool:
        """Send what can be sent within the timeout, and end.

        What is left waits on disk. True where nothing is.
        """
        if os.getpid() != self._pid:
            return False
        start_s = time.monotonic()
        sent = self.flush(timeout_s)
        self._closing.set()
        self._retry.set()
        self._wake.set()
        self._thread.join(max(0.2, timeout_s - (time.monotonic() - start_s)))
        return sent

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._wake.clear()
                self._wake.wait(self._turn())
        except sqlite3.Error:
            log.exception("the publisher ended; events stay in %s for the next producer", self._folder)
        finally:
            self._disconnect()
            with contextlib.suppress(sqlite3.Error):
                self._spool.close()
            with self._empty:
                self._empty.notify_all()

    def _turn(self) -> float:
        """Send all that waits; returns how long to sleep unless woken."""
        adopt = time.monotonic() >= self._adopt_at
        if not len(self._spool) and not (adopt and self._has_leftovers()):
            return IDLE_WAIT_S
        try:
            self._drain(self._spool)
            if adopt:
                self._connected()  # no use in taking over what cannot be sent
                self._adopt_at = time.monotonic() + ADOPT_EVERY_S
                for spool in orphans(self._folder, self._max_mib):
                    self._adopt(spool)
        except RetryableError as error:
            return self._back_off(error)
        return 0.0 if len(self._spool) else IDLE_WAIT_S

    def _has_leftovers(self) -> bool:
        found = any(path != self._spool.path for path in self._folder.glob(f"*{SUFFIX}"))
        if not found:
            self._adopt_at = time.monotonic() + ADOPT_EVERY_S
        return found

    def _adopt(self, spool: Spool) -> None:
        try:
            waiting = len(spool)
            if waiting:
                self._drain(spool)
                log.info("sent %d event(s) that an ended process left in %s", waiting, spool.path.name)
        finally:
            spool.close()

    def _drain(self, spool: Spool) -> None:
        """Send and forget batch after batch. Raises RetryableError where the broker is away."""
        while not self._closing.is_set():
            batch = spool.peek(BATCH)
            if not batch:
                break
            try:
                delivery = self._connected().deliver(batch)
            except RetryableError:
                spool.settle()
                raise
            spool.remove(delivery.acknowledged)
            self._note_delivery()
            if delivery.refused:
                spool.remove(delivery.refused, dropped=True)
                log.warning("the broker refuses %d event(s) as too large; dropped", len(delivery.refused))
            if delivery.problem:
                spool.settle()
                raise RetryableError(delivery.problem)
        with self._empty:
            self._empty.notify_all()

    def _connected(self) -> Link:
        if self._link is None:
            self._link = self._connect()
            if self._on_connect is not None:
                self._on_connect()
        return self._link

    def _note_delivery(self) -> None:
        """Only a delivery proves that the broker is back: it may answer and yet lack the topic."""
        if self._away:
            log.warning("the broker takes events again; sending what was kept")
        self._away = False
        self._backoff_s = FIRST_BACKOFF_S

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _back_off(self, error: RetryableError) -> float:
        self._disconnect()
        text = str(error)
        if not self._away or (isinstance(error, Refused) and text != self._told):
            self._away, self._told = True, text
            log.warning("%s; events are kept in %s and sent later", text, self._folder)
        self._failures += 1
        with self._empty:
            self._empty.notify_all()
        sleep_s, self._backoff_s = self._backoff_s, min(MAX_BACKOFF_S, self._backoff_s * 2)
        self._retry.wait(sleep_s)
        self._retry.clear()
        return 0.0


def kafka_publisher(
    kafka: Kafka, folder: Path, name: str, max_mib: float, on_connect: Callable[[], None] | None = None
) -> Publisher:
    """The publisher on a real broker."""
    return Publisher(lambda: KafkaLink(kafka, f"joulestream-{name}"), folder, name, max_mib, on_connect)
