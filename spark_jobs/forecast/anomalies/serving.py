"""Anomalies as documents of `alerts`: put in once, seen again while they last, resolved once.

The stream's forecaster hands over what its watches say and asks for one bulk write when the batch is settled. All
writes are conditional, so that a batch that is run again, or a watch that was read back older than its last word,
changes nothing. Alerts that nobody has seen for long (the series ended while one was open, or its state was lost)
are resolved too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from pymongo import UpdateMany, UpdateOne

from conf.links import dashboard_url, node_url, run_url
from conf.settings import Settings
from schemas import documents
from schemas.times import from_ms, rfc3339
from spark_jobs.forecast.anomalies.watch import IDLE, POWER, RESOLVED, RULES, SEEN, STUCK, Signal
from spark_jobs.store import Db, Doc

SILENT_S = 1800.0
SILENT_WINDOWS = 3
SWEEP_S = 60.0
# While the store is away, at most so many writes wait; the oldest are given up first.
MOST_WAITING = 10_000
ENDED = {
    POWER: "the power is in the interval again, or has stayed so long that it is the new level",
    IDLE: "the GPUs work again, or the run is over",
    STUCK: "the counter counts again",
}
SILENT = "no window of the series has said so for long"


def subject_of(target: str, signal: Signal) -> tuple[str, str]:
    """Dimension and key of what an alert is about: an idle GPU is the run's matter, whoever saw it."""
    if signal.rule == IDLE and signal.run_id is not None:
        return "run", signal.run_id
    dimension, _, key = target.partition("/")
    return dimension, key


def anomaly_id(target: str, signal: Signal) -> str:
    """`_id` of an anomaly's alert: its rule, subject and beginning."""
    subject = "/".join(subject_of(target, signal))
    return f"{signal.rule}|{subject}||{rfc3339(from_ms(signal.since_ms))}"


def alert_doc(target: str, signal: Signal, base_url: str, now: datetime) -> Doc:
    """The document of an anomaly, without `_id`. Times in `evidence` are event times, the others the clock's."""
    dimension, key = subject_of(target, signal)
    since = from_ms(signal.since_ms)
    link = run_url(base_url, key) if dimension == "run" else node_url(base_url, key)
    return {
        "schema_version": documents.DOCUMENT_VERSION,
        "rule": signal.rule,
        "severity": signal.severity,
        "state": "open",
        "subject": {"dimension": dimension, "key": key},
        "period": rfc3339(since),
        "message": signal.message,
        "evidence": _evidence(target, signal),
        "link": link,
        "raised_at": now,
        "last_seen_at": now,
        "deliveries": [],  # the alerts process fills them in
    }


def _evidence(target: str, signal: Signal) -> Doc:
    run = {} if signal.run_id is None else {"run_id": signal.run_id}
    times = {"since": from_ms(signal.since_ms), "until": from_ms(signal.at_ms)}
    return {"target": target, **run, **signal.evidence, **times}


class AnomalyAlerts:
    """The anomalies of one query's series on their way to the store. Not for two threads at once."""

    def __init__(
        self,
        db: Db,
        settings: Settings,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alerts = db[documents.ALERTS]
        self._base_url = dashboard_url(settings)
        self._silent_s = max(SILENT_S, SILENT_WINDOWS * float(settings.stream.window_s))
        self._clock, self._monotonic = clock, monotonic
        self._waiting: list[UpdateOne] = []
        # What was open before this process gets the same time to be seen again.
        self._sweep_s = monotonic() + self._silent_s

    def signals(self, target: str, signals: Sequence[Signal]) -> None:
        """Take note of what a series' watch said, in its order."""
        for signal in signals:
            self._waiting += self._writes(target, signal)
        del self._waiting[:-MOST_WAITING]

    def flush(self) -> None:
        """Write what waits, in order, in one bulk. Raises PyMongoError; what waits is kept and sent again."""
        writes: list[UpdateOne | UpdateMany] = [*self._waiting]
        sweep = self._monotonic() >= self._sweep_s
        if sweep:
            writes.append(self._end_silent())
        if writes:
            self._alerts.bulk_write(writes, ordered=True)
        self._waiting.clear()
        if sweep:
            self._sweep_s = self._monotonic() + SWEEP_S

    def _writes(self, target: str, signal: Signal) -> list[UpdateOne]:
        now, identity = self._clock(), anomaly_id(target, signal)
        still = {"_id": identity, "state": "open"}
        if signal.state == RESOLVED:
            end = _resolved(ENDED[signal.rule], now, {"evidence.until": from_ms(signal.at_ms)})
            return [UpdateOne(still, {"$set": end})]
        # Put in also where it is only seen: the process may have died between the watch's state and the alert.
        made = alert_doc(target, signal, self._base_url, now)
        writes = [UpdateOne({"_id": identity}, {"$setOnInsert": made}, upsert=True)]
        if signal.state == SEEN:
            news = {name: made[name] for name in ("last_seen_at", "message", "evidence")}
            writes.append(UpdateOne(still, {"$set": news}))
        return writes

    def _end_silent(self) -> UpdateMany:
        now = self._clock()
        before = now - timedelta(seconds=self._silent_s)
        silent = {"state": "open", "rule": {"$in": list(RULES)}, "last_seen_at": {"$lt": before}}
        return UpdateMany(silent, {"$set": _resolved(SILENT, now, {})})


def _resolved(why: str, now: datetime, more: Mapping[str, Any]) -> Doc:
    return {"state": "resolved", "resolved_at": now, "resolved_because": why, **more}
