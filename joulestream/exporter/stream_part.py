"""The queries: their leases, checkpoints, batches, and what the partitions' messages became."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from conf.settings import Settings
from joulestream.exporter.metrics import DURATION_BUCKETS_S, LEASE_STATES, STAGES
from joulestream.exporter.samples import Buckets, Sample, Samples, age_s, number
from schemas import documents
from schemas.reasons import REASONS
from schemas.units import MS_PER_S
from spark_jobs.receipts import COUNTS
from spark_jobs.sources import SOURCES
from spark_jobs.store import Db, Doc

# After a long pause of the scrapes, the batches before these newest ones are not counted (ids of one query).
MOST_BATCHES = 5000


@dataclass(slots=True)
class Batches:
    """The batches of one query that were seen since the start."""

    last: int | None = None
    counts: list[int] = field(default_factory=lambda: [0] * len(DURATION_BUCKETS_S))
    count: int = 0
    sum_s: float = 0.0
    store_errors: float = 0.0

    def add(self, doc: Mapping[str, Any]) -> None:
        """Count one more batch."""
        self.last = int(doc["batch"])
        self.store_errors += number(doc, "store_errors") or 0.0
        seconds = number(doc, "duration_s")
        if seconds is None:
            return
        self.count += 1
        self.sum_s += seconds
        for place in range(bisect_left(DURATION_BUCKETS_S, seconds), len(DURATION_BUCKETS_S)):
            self.counts[place] += 1

    @property
    def histogram(self) -> Buckets:
        """As a histogram of durations (s)."""
        return Buckets(DURATION_BUCKETS_S, tuple(self.counts), self.count, self.sum_s)


class StreamPart:
    """Reads the stream's own collections."""

    def __init__(self, db: Db, settings: Settings) -> None:
        self._db, self._settings = db, settings
        self._batches: dict[str, Batches] = {}

    def read(self, now: datetime) -> list[Sample]:
        """All that is known of the queries. Raises PyMongoError."""
        out = Samples()
        leases = {str(doc["_id"]): doc for doc in self._db[documents.LEASES].find()}
        accounts = list(self._db[documents.ACCOUNTS].find())
        for query in sorted({*leases, *(account["query"] for account in accounts)}):
            self._lease(out, query, leases.get(query), now)
            self._progress(out, query, now)
            _accounts(out, query, [account for account in accounts if account["query"] == query])
        return out.found

    def _lease(self, out: Samples, query: str, lease: Doc | None, now: datetime) -> None:
        if lease is not None:
            held = lease["renewed_at"] >= now - timedelta(seconds=self._settings.stream.lease_s)
            out.add("query_up", float(lease["state"] == "running" and held), query=query)
            out.one_of("query_lease_state", "state", lease["state"], LEASE_STATES, query=query)
            out.add("query_lease_age_seconds", age_s(lease["renewed_at"], now), query=query)
            out.add("query_lease_epoch", number(lease, "epoch"), query=query)
        generations = self._db[documents.GENERATIONS].find({"query": query}, {"number": 1})
        out.add("query_generation", max((doc["number"] for doc in generations), default=None), query=query)
        if query in SOURCES:
            trigger_s = max(self._settings.stream.trigger_s, SOURCES[query].least_trigger_s)
            out.add("query_trigger_seconds", trigger_s, query=query)

    def _progress(self, out: Samples, query: str, now: datetime) -> None:
        newest = self._newest(query)
        if newest is None:
            return
        out.add("query_checkpoint_age_seconds", age_s(newest.get("at"), now), query=query)
        out.add("query_watermark_age_seconds", age_s(newest.get("watermark"), now), query=query)
        out.add("query_state_rows", number(newest, "state_rows"), query=query)
        out.add("query_batches_total", newest["batch"] + 1, query=query)
        out.add("query_last_batch_duration_seconds", number(newest, "duration_s"), query=query)
        out.add("query_last_batch_messages", number(newest, "rows_in"), query=query)
        for stage in STAGES:
            milliseconds = number(newest.get("durations_ms") or {}, stage)
            seconds = None if milliseconds is None else milliseconds / MS_PER_S
            out.add("query_last_batch_stage_seconds", seconds, query=query, stage=stage)
        batches = self._seen(query, newest)
        out.add("query_batch_duration_seconds", batches.histogram, query=query)
        out.add("query_store_errors_total", batches.store_errors, query=query)

    def _newest(self, query: str) -> Doc | None:
        """The batch with the highest number. The server sorts all that it looks at: those since the last look."""
        progress, seen = self._db[documents.PROGRESS], self._batches.get(query)
        if seen is not None and seen.last is not None:
            since = {"query": query, "batch": {"$gte": seen.last}}
            newest = progress.find_one(since, sort=[("batch", -1)])
            if newest is not None:
                return newest
        return progress.find_one({"query": query}, sort=[("batch", -1)])

    def _seen(self, query: str, newest: Doc) -> Batches:
        """Count the batches since the last look; the first look only marks where the count begins."""
        batches = self._batches.setdefault(query, Batches(last=newest["batch"]))
        if batches.last is None or batches.last > newest["batch"]:  # another database than before
            batches.last = newest["batch"]
        since = {"query": query, "batch": {"$gt": max(batches.last, newest["batch"] - MOST_BATCHES)}}
        fields = {"batch": 1, "duration_s": 1, "store_errors": 1}
        for doc in self._db[documents.PROGRESS].find(since, fields).sort("batch", 1):
            batches.add(doc)
        return batches


def _accounts(out: Samples, query: str, accounts: Iterable[Doc]) -> None:
    rejected: dict[str, dict[str, float]] = {}
    for account in accounts:
        topic, partition = account["topic"], str(account["partition"])
        place = {"query": query, "topic": topic, "partition": partition}
        for name in COUNTS:
            out.add(f"query_{name}_messages_total", number(account, name), **place)
        out.add("query_lost_offsets_total", number(account, "unknown"), **place)
        out.add("query_settled_offset", number(account, "next_offset"), **place)
        # The account is there, so a reason that is not in it never came.
        reasons = rejected.setdefault(topic, dict.fromkeys(REASONS, 0.0))
        for reason, count in (account.get("rejected") or {}).items():
            reasons[reason] = reasons.get(reason, 0.0) + count
    for topic, reasons in rejected.items():
        for reason, n_messages in reasons.items():
            out.add("query_rejected_messages_total", n_messages, query=query, topic=topic, reason=reason)
