"""Data quality: what became of every message, and how far the stream is."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from dashboard import context, display, tables, widgets
from dashboard.charts import system
from dashboard.store import Account, Lease, Quality
from dashboard.tables import Column
from dashboard.text import shortened
from dashboard.views.overview import is_alive
from dashboard.widgets import Card
from schemas.reasons import REASONS

SHOWN_CHARS = 300


def page() -> None:
    """Draw the page."""
    widgets.title("Data quality", "What became of every message, and how far the stream is.")
    widgets.live(content)()


def content() -> None:
    """The whole page; it has no controls that a refresh could lose."""
    found, progress = context.quality(), context.progress()
    if not found.accounts and not progress and not found.recent:
        widgets.empty(
            "No message has been consumed yet.",
            (
                "Start the stream: `./joule up`, or `./joule stream` against given servers",
                *widgets.NO_RUNS[1:],
            ),
        )
        return
    cards(found)
    st.subheader("Queries", anchor=False)
    widgets.run_table(query_columns(), "queries", "Streaming queries")
    widgets.chart(system.lag(progress), "lag")
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Rejected by reason", anchor=False)
        if found.reasons:
            widgets.chart(system.rejected_by_reason(found.reasons), "reasons")
        else:
            st.caption("Nothing was rejected.")
    with right:
        st.subheader("By partition", anchor=False)
        widgets.run_table(
            account_columns(found.accounts), "accounts", "What became of the messages by partition"
        )
        widgets.note(balance(found.accounts))
    if found.recent:
        st.subheader("Recently rejected", anchor=False)
        widgets.run_table(rejected_columns(found), "rejected", "Recently rejected messages")
        st.caption(
            f"{found.n_rejected_kept:,} are kept. Look closer, or send them again: `./joule dlq --help`"
        )


def cards(found: Quality) -> None:
    """Sums over all partitions."""
    accounts = found.accounts
    widgets.cards(
        [
            Card("Consumed", display.count(sum(a.consumed for a in accounts)), "consumed"),
            Card("Accepted", display.count(sum(a.accepted for a in accounts)), "consumed"),
            Card("Rejected", display.count(sum(a.rejected_total for a in accounts)), "rejected"),
            Card("Duplicates", display.count(sum(a.duplicate for a in accounts)), "duplicate"),
            Card("Late", display.count(sum(a.late for a in accounts)), "late"),
        ]
    )


def balance(accounts: tuple[Account, ...]) -> str:
    """Whether every consumed message is accounted for."""
    consumed = sum(a.consumed for a in accounts)
    settled = sum(a.accepted + a.rejected_total + a.duplicate + a.unknown for a in accounts)
    if consumed == settled:
        return "Accepted + rejected + duplicates = consumed, to the message."
    return f"{abs(consumed - settled):,} messages are not accounted for; run ./joule audit."


def query_columns() -> list[Column]:
    """Where each query stands."""
    now, progress = context.utc_now(), context.progress()
    leases = {lease.query: lease for lease in context.leases()}
    last = {query: batches[-1] if batches else None for query, batches in progress.items()}
    rows = [(query, leases.get(query), batch) for query, batch in last.items()]
    return [
        tables.text("Query", [query for query, _, _ in rows]),
        tables.text("State", [state(lease, now) for _, lease, _ in rows]),
        tables.text(
            "Last sign of life",
            [display.ago(lease.renewed_at, now) if lease else None for _, lease, _ in rows],
        ),
        tables.text("Last batch", [display.ago(batch.at, now) if batch else None for _, _, batch in rows]),
        tables.counts("Lag", [batch.lag if batch else None for _, _, batch in rows], "lag"),
        tables.counts("Rows in it", [batch.rows_in if batch else None for _, _, batch in rows]),
        tables.numbers("Took (s)", [batch.duration_s if batch else None for _, _, batch in rows]),
        tables.text(
            "Watermark (UTC)",
            [display.day_and_time(b.watermark) if b else None for _, _, b in rows],
            "watermark",
        ),
    ]


def state(lease: Lease | None, now: datetime) -> str | None:
    """What the query's process last said of itself, or that it says nothing any more."""
    if lease is None or is_alive(lease, now) or lease.state != "running":
        return lease.state if lease else None
    return "silent"


def account_columns(accounts: tuple[Account, ...]) -> list[Column]:
    """What became of the messages of each partition."""
    return [
        tables.text("Partition", [f"{a.topic}/{a.partition}" for a in accounts]),
        tables.counts("Consumed", [a.consumed for a in accounts], "consumed"),
        tables.counts("Accepted", [a.accepted for a in accounts]),
        tables.counts("Rejected", [a.rejected_total for a in accounts], "rejected"),
        tables.counts("Duplicates", [a.duplicate for a in accounts], "duplicate"),
        tables.counts("Conflicts", [a.conflict for a in accounts], "conflict"),
        tables.counts("Late", [a.late for a in accounts], "late"),
    ]


def rejected_columns(found: Quality) -> list[Column]:
    """The newest rejected messages, their bytes as text."""
    rows = found.recent
    return [
        tables.text("First seen (UTC)", [display.day_and_time(r.first_seen_at) for r in rows]),
        tables.text("Where", [r.id for r in rows]),
        tables.text("Reason", [r.reason for r in rows]),
        tables.text("Field", [r.field for r in rows]),
        tables.text("Found", [r.message for r in rows]),
        tables.text("Message", [shortened(r.value, SHOWN_CHARS) for r in rows]),
        tables.counts("Bytes", [r.length for r in rows]),
        tables.text("Meaning", [REASONS.get(r.reason or "") for r in rows]),
    ]
