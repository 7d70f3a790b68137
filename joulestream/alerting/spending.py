"""What a budget's subject has used: read from the stream's documents, exactly as they stand.

| scope | total | day, week, month |
|---|---|---|
| run | its summary | its windows in the period |
| user, all | all windows of the dimension | those in the period |
| project | summaries of its runs | the same where a run lies wholly in the period, else its windows |
| node | all its windows in `node_aggregates` | those in the period |

CO2e of a node is its energy × the intensity of its region, where that is known (`schemas.node_intensity`): the
node's windows hold none. What is not known is None, never zero.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from conf.settings import Settings
from joulestream.alerting.budgets import KG, KWH, Budget
from joulestream.alerting.periods import Period, aligned
from joulestream.alerting.runs import Runs
from joulestream.alerting.sums import Range, Settled, Sums, WindowSums, settled
from schemas import documents
from schemas.carbon import Intensity
from schemas.node_intensity import intensity_of_node, region_of_node
from schemas.units import emissions_kg
from spark_jobs.store import Db

CO2E = "CO2e"
REGION_AGAIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Tariff:
    """The flat price of a kWh in a currency; None is not set."""

    per_kwh: float | None
    currency: str

    def price(self, unit: str) -> float | None:
        """Price of a kWh in this unit; None where it is not this currency."""
        return self.per_kwh if unit == self.currency else None


@dataclass(frozen=True, slots=True)
class Spent:
    """Energy and CO2e that a subject has used in a period; `notes` say what the figures lack."""

    energy_kwh: float | None = None
    emissions_kg: float | None = None
    notes: tuple[str, ...] = ()
    first_at: datetime | None = None
    intensity: Intensity | None = None

    def amount(self, unit: str, tariff: Tariff) -> float | None:
        """In the unit of a budget; money is energy × the flat tariff."""
        if unit == KWH:
            return self.energy_kwh
        if unit == KG:
            return self.emissions_kg
        price = tariff.price(unit)
        return None if self.energy_kwh is None or price is None else self.energy_kwh * price

    @property
    def kg_per_kwh(self) -> float | None:
        """Mean intensity of what was used."""
        if self.emissions_kg is None or not self.energy_kwh:
            return None
        return self.emissions_kg / self.energy_kwh


class Spending:
    """Reads what subjects have used. Raises PyMongoError where the store is away."""

    def __init__(self, db: Db, settings: Settings, runs: Runs) -> None:
        self._db = db
        self._window_s = settings.stream.window_s
        self._node = settings.node
        self._runs = runs
        self._sums = WindowSums(db)
        self._regions: dict[str, tuple[str | None, float]] = {}
        self._states: dict[str, Settled] = {}

    def look(self) -> None:
        """Begin a round: how far the stream is settled now."""
        self._states = {query: settled(self._db, query) for query in ("training", "node")}
        self._sums.look()

    def of(self, budget: Budget, period: Period) -> Spent:
        """What the budget's subject has used in a period."""
        if budget.scope == "run" and period.start is None:
            spent = _of_summary(self._runs.run(str(budget.key)) or {})
        elif budget.scope == "project":
            spent = self._of_project(str(budget.key), period)
        elif budget.scope == "node":
            spent = self._of_node(str(budget.key), period)
        else:
            key = "all" if budget.scope == "all" else str(budget.key)
            spent = _of_sums(self._windows(budget.scope, key, period))
        if budget.unit != KG:
            spent = replace(spent, notes=tuple(note for note in spent.notes if not note.startswith(CO2E)))
        if not aligned(period.kind, self._window_s):
            note = f"windows of {self._window_s} s cross midnight; each counts where it begins"
            spent = replace(spent, notes=(*spent.notes, note))
        return spent

    def _windows(self, dimension: str, key: str, period: Period) -> Sums:
        match = (("dimension", dimension), ("key", key))
        windows = Range(documents.WINDOWS, match, period.start, period.end)
        return self._sums.of(windows, self._states["training"])

    def _of_project(self, project: str, period: Period) -> Spent:
        total = Sums()
        for run in self._runs.of_project(project):
            total += self._of_run_in(run, period)
        return _of_sums(total)

    def _of_run_in(self, run: Mapping[str, Any], period: Period) -> Sums:
        first, last = run.get("started_at"), run.get("last_event_at")
        if period.start is None or period.end is None or first is None or last is None:
            return _sums_of_summary(run)
        if last < period.start or first >= period.end:
            return Sums()
        if first >= period.start and last < period.end and aligned(period.kind, self._window_s):
            return _sums_of_summary(run)
        return self._windows("run", str(run["_id"]), period)

    def _of_node(self, node: str, period: Period) -> Spent:
        windows = Range(documents.NODE_WINDOWS, (("node_id", node),), period.start, period.end)
        sums = self._sums.of(windows, self._states["node"])
        spent = _of_sums(replace(sums, partial=False))
        factor = intensity_of_node(self._region(node))
        if isinstance(factor, str):
            return replace(spent, notes=(*spent.notes, f"{CO2E} not known: {factor}"))
        kg = None if spent.energy_kwh is None else emissions_kg(spent.energy_kwh, factor.g_per_kwh)
        said = f"{CO2E} at {factor.g_per_kwh:g} g/kWh: {factor.source}"
        return replace(spent, emissions_kg=kg, intensity=factor, notes=(*spent.notes, said))

    def _region(self, node: str) -> str | None:
        """The node's region; one that is not known is asked for again once in a while."""
        now_s = time.monotonic()
        region, read_s = self._regions.get(node, (None, float("-inf")))
        if region is None and now_s - read_s > REGION_AGAIN_S:
            samples = self._db[documents.NODE_METRICS]
            region = region_of_node(
                node,
                lambda query: samples.find_one(query, {"region_iso": 1}),
                {self._node.node_id: self._node.region_iso},
            )
            self._regions[node] = (region, now_s)
        return region


def _sums_of_summary(run: Mapping[str, Any]) -> Sums:
    kwh, kg = run.get("energy_kwh"), run.get("emissions_kg")
    partial = kwh is not None and kg is None
    return Sums(kwh, kg, partial, run.get("started_at"), run.get("last_event_at"))


def _of_summary(run: Mapping[str, Any]) -> Spent:
    return _of_sums(_sums_of_summary(run))


def _of_sums(sums: Sums) -> Spent:
    if sums.energy_kwh is None:
        return Spent(notes=("no energy known yet",))
    notes = (f"{CO2E} of a part is not known and not in it",) if sums.partial else ()
    return Spent(sums.energy_kwh, sums.emissions_kg, notes, sums.first_at)
