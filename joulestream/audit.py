"""The audit: do ledger, summaries, windows and accounts agree, to the message and to 1e-9?

It compares at a cut that every query has settled. While documents are read the stream is asked to hold between
two batches (seconds at most); ledger rows below the cut never change, so they are read without a hold.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from math import fsum
from typing import Any

from conf.settings import Settings
from schemas import documents
from schemas.errors import RetryableError
from spark_jobs.cut import Cut, read_cut, state_of
from spark_jobs.holds import hold
from spark_jobs.sources import SOURCES, Source
from spark_jobs.store import Db

TOLERANCE = 1e-9
TRIES = 5
OK, PENDING_LATE, BROKEN = "ok", "pending_late", "broken"
AMOUNTS = ("energy_kwh", "emissions_kg")


@dataclass(slots=True)
class Sum:
    """Amounts of one side of a comparison."""

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in AMOUNTS})
    events: int = 0
    late: int = 0

    def add(self, doc: Mapping[str, Any], events: int) -> None:
        """Take a document in."""
        for name in AMOUNTS:
            if name in doc:
                self.values[name].append(doc[name])
        self.events += events

    def total(self, name: str) -> float:
        """The sum of an amount, rounded once."""
        return fsum(self.values[name])

    def to_json(self) -> dict[str, Any]:
        """As printed."""
        return {"kwh": self.total("energy_kwh"), "kg": self.total("emissions_kg"), "events": self.events}


@dataclass(slots=True)
class Documents:
    """The documents' side at a cut."""

    cut: Cut
    summaries: Sum | None
    windows: dict[str, Sum]
    unbalanced_kwh: float = 0.0


def audit(db: Db, settings: Settings) -> dict[str, Any]:
    """Compare everything; `verdict` is `ok`, `pending_late` or `broken`. Raises RetryableError (mid-batch)."""
    horizon = _horizon(settings)
    sources = {query: _audit_source(db, source, horizon) for query, source in SOURCES.items()}
    verdicts = [entry["verdict"] for entry in sources.values()]
    worst = BROKEN if BROKEN in verdicts else PENDING_LATE if PENDING_LATE in verdicts else OK
    return {"verdict": worst, "tolerance": TOLERANCE, "at": datetime.now(timezone.utc), "sources": sources}


def _horizon(settings: Settings) -> datetime | None:
    """Before this time ledger rows may have expired; what is older is sealed and not compared."""
    days = settings.stream.ledger_retention_days
    return None if days is None else datetime.now(timezone.utc) - timedelta(days=days - min(1.0, days / 2))


def _audit_source(db: Db, source: Source, horizon: datetime | None) -> dict[str, Any]:
    found = _read_documents(db, source, horizon)
    if found is None:
        return {"verdict": OK, "topic": source.topic, "started": False, "problems": []}
    ledger, runs = _read_ledger(db, source, found.cut, horizon)
    accounts = _accounts(found.cut)
    problems = _account_problems(found.cut, accounts, ledger, horizon)
    sides = {f"windows:{name}": side for name, side in found.windows.items()}
    if found.summaries is not None:
        sides["summaries"] = found.summaries
    residuals = {name: _residual(ledger, side) for name, side in sides.items()}
    problems += [
        f"{name} differ from the ledger by {residual:.3g} (relative)"
        for name, residual in residuals.items()
        if residual > TOLERANCE
    ]
    if found.unbalanced_kwh > TOLERANCE:
        problems.append("node energy is not attributed + idle + unattributed")
    pending = ledger.late - (found.summaries.late if found.summaries is not None else ledger.late)
    return {
        "verdict": _verdict(problems, residuals, pending),
        "topic": source.topic,
        "started": True,
        "fences": {str(p): offset for p, offset in sorted(found.cut.fences.items())},
        **accounts,
        "pending_late": max(0, pending),
        "ledger": ledger.to_json(),
        "summaries": found.summaries.to_json() if found.summaries is not None else None,
        "windows": {name: side.to_json() for name, side in found.windows.items()},
        "residuals": residuals,
        "reported_by_clients": runs,
        "problems": problems,
    }


def _verdict(problems: list[str], residuals: Mapping[str, float], pending: int) -> str:
    if not problems:
        return OK
    only_residuals = len(problems) == sum(residual > TOLERANCE for residual in residuals.values())
    return PENDING_LATE if pending > 0 and only_residuals else BROKEN


def _residual(ledger: Sum, side: Sum) -> float:
    """Largest relative difference of the amounts; 1 where the events differ in number."""
    differences = [1.0 if ledger.events != side.events else 0.0]
    for name in AMOUNTS:
        one, other = ledger.total(name), side.total(name)
        scale = max(abs(one), abs(other))
        differences.append(abs(one - other) / scale if scale else 0.0)
    return max(differences)


def _read_documents(db: Db, source: Source, horizon: datetime | None) -> Documents | None:
    """The documents between two equal looks at the stream; with a hold after the first try."""
    for attempt in range(TRIES):
        cut = read_cut(db, source)
        if cut is None:
            return None
        if attempt:
            with hold(db, (source.query,)):
                time.sleep(0.3 * attempt)
                cut = read_cut(db, source) or cut
                found = _sum_documents(db, source, cut, horizon)
        else:
            found = _sum_documents(db, source, cut, horizon)
        if state_of(db, source.query) == (cut.generation, cut.done, cut.done):
            return found
    raise RetryableError(f"query {source.query} did not hold still for {TRIES} tries; try again")


def _sum_documents(db: Db, source: Source, cut: Cut, horizon: datetime | None) -> Documents:
    since = {} if horizon is None else {"window_start": {"$gte": horizon}}
    fields = dict.fromkeys((*AMOUNTS, "n_events", "n_samples", "n_late", "dimension"), 1)
    if not source.has_facets:
        nodes = Sum()
        unbalanced = 0.0
        parts = ("attributed_kwh", "idle_kwh", "unattributed_kwh")
        for doc in db[documents.NODE_WINDOWS].find(since, {**fields, **dict.fromkeys(parts, 1)}):
            nodes.add(doc, doc["n_samples"])
            if "energy_kwh" in doc:
                rest = doc["energy_kwh"] - fsum(doc[name] for name in parts)
                unbalanced = max(unbalanced, abs(rest) / max(doc["energy_kwh"], 1e-12))
        return Documents(cut, None, {"node": nodes}, unbalanced)
    windows = {dimension: Sum() for dimension in source.dimensions}
    for doc in db[documents.WINDOWS].find(since, fields):
        windows.setdefault(doc["dimension"], Sum()).add(doc, doc["n_events"])
    summaries = None
    if horizon is None:  # a sealed run's summary outlives its ledger
        summaries = Sum()
        for doc in db[documents.RUN_SUMMARY].find({}, fields):
            summaries.add(doc, doc["n_events"])
            summaries.late += doc["n_late"]
    return Documents(cut, summaries, windows)


def _read_ledger(db: Db, source: Source, cut: Cut, horizon: datetime | None) -> tuple[Sum, dict[str, Any]]:
    """The ledger below the cut, and the totals that `run_summary` clients report (never added)."""
    ledger = Sum()
    reported: dict[str, list[float]] = {name: [] for name in AMOUNTS}
    since = {} if horizon is None else {"timestamp": {"$gte": horizon}}
    fields: dict[str, int] | None = None
    if source.has_facets:
        fields = dict.fromkeys((*AMOUNTS, "late", "ingest.partition", "ingest.offset", "reported_totals"), 1)
    for row in db[source.ledger].find(since, fields):
        if not cut.holds(row["ingest"]["partition"], row["ingest"]["offset"]):
            continue
        ledger.add(row if source.has_facets else source.amounts(row).sums, 1)
        ledger.late += bool(row.get("late"))
        for name, value in row.get("reported_totals", {}).items():
            if name in reported:
                reported[name].append(value)
    totals = {name: fsum(values) if values else None for name, values in reported.items()}
    return ledger, totals


def _accounts(cut: Cut) -> dict[str, Any]:
    """The partitions' accounts as they stand at the cut, added up."""
    total: dict[str, Any] = dict.fromkeys(
        ("consumed", "accepted", "duplicate", "conflict", "late", "unknown"), 0
    )
    rejected: dict[str, int] = {}
    for account in cut.accounts:
        for name in total:
            total[name] += account[name]
        for code, count in account["rejected"].items():
            rejected[code] = rejected.get(code, 0) + count
    total["duplicates"] = total.pop("duplicate")
    total["conflicts"] = total.pop("conflict")
    return {**total, "rejected": rejected, "rejected_total": sum(rejected.values())}


def _account_problems(
    cut: Cut, accounts: Mapping[str, Any], ledger: Sum, horizon: datetime | None
) -> list[str]:
    problems = []
    for account in cut.accounts:
        became = account["accepted"] + account["rejected_total"] + account["duplicate"]
        if became != account["consumed"]:
            problems.append(
                f"{account['_id']}: accepted + rejected + duplicates = {became}, consumed = {account['consumed']}"
            )
    if horizon is None:
        if accounts["accepted"] != ledger.events:
            problems.append(f"accepted {accounts['accepted']} events, the ledger holds {ledger.events}")
        if accounts["late"] != ledger.late:
            problems.append(f"counted {accounts['late']} late events, the ledger holds {ledger.late}")
    return problems
