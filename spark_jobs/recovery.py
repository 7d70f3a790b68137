"""Where a new generation starts, and what becomes of messages that Kafka no longer has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from schemas import documents
from schemas.errors import PipelineError
from spark_jobs import accounts
from spark_jobs.facets import Facets, facets_of, merge
from spark_jobs.ledger import insert_new, late_row
from spark_jobs.receipts import Receipts
from spark_jobs.sources import Source
from spark_jobs.store import Db

log = logging.getLogger(__name__)
ROWS_PER_WRITE = 1000


def start_offsets(
    db: Db, source: Source, earliest: Mapping[int, int], latest: Mapping[int, int]
) -> dict[int, int]:
    """Where a new generation starts: at the fence, or at Kafka's earliest message where that is later.

    Raises PipelineError where the topic ends before the fence: it was recreated, and its offsets mean other
    messages than those in the ledger.
    """
    accounts.open_accounts(db, source.query, source.topic, earliest)
    fences = accounts.fences(db, source.topic)
    check_not_recreated(source, fences, latest)
    return {p: max(fences[p], first) for p, first in earliest.items()}


def check_not_recreated(source: Source, fences: Mapping[int, int], latest: Mapping[int, int]) -> None:
    """Raise PipelineError where the topic cannot be the one that the accounts are of."""
    for partition, fence in fences.items():
        end = latest.get(partition)
        if end is None or end < fence:
            found = "is not there" if end is None else f"ends at offset {end}"
            raise PipelineError(
                f"{source.topic}/{partition} {found}, but the store has settled it up to {fence}: the topic "
                "was recreated, or this is another cluster. Use another database for it "
                "(JOULE_MONGODB_DATABASE), or `./joule reset --yes` where both are this stack's own"
            )


def adopt_lost(
    db: Db, source: Source, window_ms: int, start: Mapping[int, int]
) -> tuple[Receipts, list[Mapping[str, Any]]]:
    """Settle the messages between fence and start: Kafka has dropped them before they were settled.

    Those in the ledger join the totals as late events; the rest is `unknown`. Returns what the documents must
    take in, and the account entries to post when they have. Reads the whole ledger, and only in this case.
    """
    heads: list[Mapping[str, Any]] = []
    late_keys: set[str] = set()
    facets: dict[str, Facets] = {}
    for partition, fence in accounts.fences(db, source.topic).items():
        end = start.get(partition, fence)
        if fence < end:
            log.warning(
                "%s/%d: offsets %d to %d left Kafka unsettled", source.topic, partition, fence, end - 1
            )
            heads.append(_adopt(db, source, window_ms, (partition, fence, end), late_keys, facets))
    return Receipts((), tuple(sorted(late_keys)), facets), heads


def _adopt(
    db: Db,
    source: Source,
    window_ms: int,
    lost: tuple[int, int, int],
    late_keys: set[str],
    facets: dict[str, Facets],
) -> Mapping[str, Any]:
    partition, fence, end = lost
    within = {"$gte": fence, "$lt": end}
    accepted = 0
    rows = []
    for doc in db[source.ledger].find({"ingest.partition": partition, "ingest.offset": within}):
        accepted += 1
        row = late_row(source, doc["_id"], doc, window_ms)
        late_keys.update(row["keys"])
        rows.append(row)
        if source.has_facets:
            run, own = doc[source.owner], facets_of(doc["_id"], doc)
            facets[run] = merge(facets[run], own) if run in facets else own
        if len(rows) == ROWS_PER_WRITE:
            _flag(db, source, rows)
            rows = []
    _flag(db, source, rows)
    rejected: dict[str, int] = {}
    of_topic = {"topic": source.topic, "partition": partition, "offset": within}
    for letter in db[documents.REJECTED].find(of_topic, {"reason": 1}):
        rejected[letter["reason"]] = rejected.get(letter["reason"], 0) + 1
    known = accepted + sum(rejected.values())
    counts = {"consumed": known, "accepted": accepted, "duplicate": 0, "conflict": 0, "late": accepted}
    return {
        "partition": partition,
        "first": fence,
        "end": end,
        **counts,
        "rejected": rejected,
        "unknown": end - fence - known,
    }


def _flag(db: Db, source: Source, rows: list[dict[str, Any]]) -> None:
    if rows:
        db[source.ledger].update_many(
            {"_id": {"$in": [row["_id"].partition("|")[2] for row in rows]}}, {"$set": {"late": True}}
        )
        insert_new(db, documents.LATE, rows)
