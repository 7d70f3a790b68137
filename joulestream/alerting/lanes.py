"""Tries due deliveries, each channel in threads of its own, so that one that hangs holds no other up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from pymongo.errors import PyMongoError

from joulestream.alerting.delivery import Channel
from joulestream.alerting.outbox import Claim, Outbox
from schemas.errors import PipelineError, RetryableError
from spark_jobs.store import Patience, Stopped

log = logging.getLogger(__name__)

PER_CHANNEL = 4


class Lanes:
    """Takes due deliveries and makes them, at most `PER_CHANNEL` of a channel at once.

    `fill` names the channels of alerts that come without any, and those that are told a resolution (unless
    `tell_resolved` is false); `channels` may have more. Threads are daemons: the end of the process waits for none of
    them longer than `close` is told, and what they had claimed is tried again.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        fill: Sequence[str],
        patience: Patience,
        now: Callable[[], datetime],
        tell_resolved: bool = True,
    ) -> None:
        self._outbox, self._channels, self._fill = outbox, channels, tuple(fill)
        self._patience, self._now = patience, now
        self._tell_resolved = tell_resolved
        self._guard = threading.Lock()
        self._busy: dict[str, set[threading.Thread]] = {}

    def turn(self) -> int:
        """Fill, claim and begin all that is due and has room; returns how many tries were begun."""
        at = self._now()
        self._outbox.fill(self._fill, at)
        if self._tell_resolved:
            self._outbox.follow(self._fill, at)
        begun = 0
        for alert_id, place, entry in self._outbox.due(at):
            if not self._has_room(entry["channel"]):
                continue
            claim = self._outbox.claim(alert_id, place, entry, at)
            if claim is not None:
                self._begin(claim)
                begun += 1
        return begun

    def close(self, timeout_s: float) -> None:
        """Wait so long for what is under way."""
        until_s = time.monotonic() + timeout_s
        with self._guard:
            threads = [thread for busy in self._busy.values() for thread in busy]
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _has_room(self, channel: str) -> bool:
        with self._guard:
            return len(self._busy.setdefault(channel, set())) < PER_CHANNEL

    def _begin(self, claim: Claim) -> None:
        thread = threading.Thread(
            target=self._run, args=(claim,), name=f"deliver-{claim.channel}", daemon=True
        )
        with self._guard:
            self._busy[claim.channel].add(thread)
        thread.start()

    def _run(self, claim: Claim) -> None:
        try:
            self._try(claim)
        except (PyMongoError, Stopped) as error:
            # The note is lost, not the delivery: it is due again when its lease is over.
            log.warning("%s: its outcome could not be noted (%s)", claim.key, type(error).__name__)
        finally:
            with self._guard:
                self._busy[claim.channel].discard(threading.current_thread())

    def _try(self, claim: Claim) -> None:
        channel = self._channels.get(claim.channel)
        if channel is None:
            self._failed(
                claim, f"channel {claim.channel} is not configured in the alerts process", may_retry=False
            )
            return
        try:
            channel.deliver(claim.alert, claim.key)
        except PipelineError as error:
            self._failed(claim, str(error), isinstance(error, RetryableError))
        except Exception as error:  # noqa: BLE001 - one alert that cannot be sent must not end its lane, or be lost
            # Its text and its traceback could name an address that holds a token.
            self._failed(claim, type(error).__name__, may_retry=True)
        else:
            self._patience(lambda: self._outbox.sent(claim, self._now()))
            log.info("%s: sent at try %d", claim.key, claim.attempts)

    def _failed(self, claim: Claim, problem: str, may_retry: bool) -> None:
        again = self._patience(lambda: self._outbox.not_sent(claim, problem, may_retry, self._now()))
        level = logging.ERROR if again is None else logging.WARNING
        then = (
            "given up; joule alerts retry tries it again"
            if again is None
            else f"next try at {again:%H:%M:%S} UTC"
        )
        log.log(level, "%s: try %d failed: %s; %s", claim.key, claim.attempts, problem, then)
