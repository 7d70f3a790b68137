"""What the stream did: accounts per partition, progress per batch, rejected messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from dashboard.store.fields import from_document, whole
from dashboard.store.reader import Reader
from dashboard.store.rows import Account, Lease, Progress, Quality, Rejected
from schemas.documents import ACCOUNTS, LEASES, PROGRESS, REJECTED
from schemas.lookback import looks_back

SHOWN_BYTES = 2000
# A checkpoint that was lost starts batches at 0 again, so that order of time is by `at`.
NEWEST_FIRST = (("at", -1),)


def to_account(document: Mapping[str, Any]) -> Account:
    """An account; `rejected` is a map of reason to count, or its stored form as {k, v}."""
    rejected = document.get("rejected")
    pairs: list[tuple[Any, Any]] = []
    if isinstance(rejected, Mapping):
        pairs = list(rejected.items())
    elif isinstance(rejected, list):
        pairs = [(item.get("k"), item.get("v")) for item in rejected if isinstance(item, Mapping)]
    counted = tuple((str(reason), whole(n) or 0) for reason, n in pairs)
    account = from_document(Account, document, rejected=counted)
    if account.rejected_total or not counted:
        return account
    return from_document(Account, document, rejected=counted, rejected_total=sum(n for _, n in counted))


def to_rejected(document: Mapping[str, Any]) -> Rejected:
    """A rejected message; bytes that are not UTF-8 are shown as replacement characters."""
    value = document.get("value")
    shown = bytes(value[:SHOWN_BYTES]).decode("utf-8", "replace") if isinstance(value, bytes) else ""
    return from_document(Rejected, document, id=str(document["_id"]), value=shown)


def read_quality(reader: Reader, n_recent: int) -> Quality:
    """Accounts of all partitions, and the newest rejected messages."""
    accounts = tuple(to_account(document) for document in reader.find(ACCOUNTS, {}, None, (("_id", 1),)))
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update(dict(account.rejected))
    recent = reader.newest(REJECTED, {}, "first_seen_at", n_recent)
    return Quality(
        accounts=accounts,
        recent=tuple(to_rejected(document) for document in recent),
        n_rejected_kept=reader.count(REJECTED) if recent else 0,
        reasons=tuple(reasons.most_common()),
    )


def read_leases(reader: Reader) -> tuple[Lease, ...]:
    """Which process drives each query."""
    found = reader.find(LEASES, {}, None, (("_id", 1),))
    return tuple(from_document(Lease, document, query=str(document["_id"])) for document in found)


def read_queries(reader: Reader) -> tuple[str, ...]:
    """Names of the queries that ever settled a message or held a lease."""
    names = {str(name) for name in reader.distinct(ACCOUNTS, "query") if name}
    names |= {str(name) for name in reader.distinct(LEASES, "_id") if name}
    return tuple(sorted(names))


def read_progress(reader: Reader, query: str, n_batches: int) -> tuple[Progress, ...]:
    """The newest batches of a query, oldest first."""
    found: list[dict[str, Any]] = []
    for since in looks_back(datetime.now(timezone.utc), "at"):
        # No index has both fields.
        recent = reader.find(PROGRESS, since or {"query": query}, None, NEWEST_FIRST)
        found = [document for document in recent if document.get("query") == query][:n_batches]
        if len(found) >= n_batches:
            break
    return tuple(from_document(Progress, document) for document in reversed(found))
