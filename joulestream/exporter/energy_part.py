"""The runs: their energy and emissions by user, model and region, and how many there are of each status."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from conf.settings import Settings
from joulestream.exporter.growth import Growth
from joulestream.exporter.metrics import RUN_STATES, UNKNOWN
from joulestream.exporter.names import Names
from joulestream.exporter.samples import LABEL_LENGTH, Sample, Samples, age_s, number
from schemas import documents
from schemas.units import G_PER_KG, j_from_kwh
from spark_jobs.store import Db, Doc

# Label and field of the run's document.
GROUPS = {"user": "user_id", "model": "model_name", "region": "region_iso"}
# There are fewer countries.
MAX_REGIONS = 300
FIELDS = (*GROUPS.values(), "status", "last_event_at", "energy_kwh", "emissions_kg", "mean_power_w")


class EnergyPart:
    """Reads all run summaries. What a run gained since the last look counts for the names it has now."""

    def __init__(self, db: Db, settings: Settings) -> None:
        self._db, self._settings = db, settings
        most = settings.exporter
        self._names = {
            "user": Names(most.max_users),
            "model": Names(most.max_models),
            "region": Names(MAX_REGIONS),
        }
        self._growth = {"energy_joules": Growth(), "co2e_grams": Growth()}
        self._counted: dict[tuple[str, str, str], float] = defaultdict(float)

    def read(self, now: datetime) -> list[Sample]:
        """Totals, counters, runs by status. Raises PyMongoError."""
        runs = list(self._db[documents.RUN_SUMMARY].find({}, dict.fromkeys(FIELDS, 1)))
        for label, field in GROUPS.items():
            self._names[label].admit(_sizes(runs, field))
        out = Samples()
        for what, field, unit in (
            ("energy_joules", "energy_kwh", j_from_kwh),
            ("co2e_grams", "emissions_kg", _g),
        ):
            amounts = [(run, unit(value)) for run in runs if (value := number(run, field)) is not None]
            self._stored(out, what, amounts)
            self._count(out, what, amounts)
        self._statuses(out, runs, now)
        return out.found

    def _stored(self, out: Samples, what: str, amounts: Iterable[tuple[Doc, float]]) -> None:
        sums: dict[tuple[str, str], float] = defaultdict(float)
        for run, amount in amounts:
            for place in self._places(run):
                sums[place] += amount
        for (label, name), amount in sums.items():
            _add(out, f"stored_{what}", label, name, amount)

    def _count(self, out: Samples, what: str, amounts: Iterable[tuple[Doc, float]]) -> None:
        growth = self._growth[what]
        self._counted[what, "", ""] += 0.0
        for run, amount in amounts:
            gained = growth.of(str(run["_id"]), amount)
            for label, name in self._places(run):
                self._counted[what, label, name] += gained
        growth.begin()
        for (counted, label, name), amount in self._counted.items():
            if counted == what:
                _add(out, f"{what}_total", label, name, amount)

    def _places(self, run: Doc) -> list[tuple[str, str]]:
        """Where a run counts: in all, and by each of its names."""
        named = [(label, self._names[label].label(_cut(run.get(field)))) for label, field in GROUPS.items()]
        return [("", ""), *named]

    def _statuses(self, out: Samples, runs: Iterable[Doc], now: datetime) -> None:
        silent = now - timedelta(seconds=self._settings.dashboard.stale_after_s)
        counts = Counter(dict.fromkeys(RUN_STATES, 0))
        running = []
        for run in runs:
            last, status = run.get("last_event_at"), run.get("status")
            if status == "running" and last is not None and last < silent:
                status = "stale"
            counts[str(status or UNKNOWN)] += 1
            if status == "running" and last is not None:
                running.append(run)
        for status, count in counts.items():
            out.add("runs", count, status=status)
        running.sort(key=lambda run: run["last_event_at"], reverse=True)
        for run in running[: self._settings.exporter.max_runs]:
            self._run(out, run, now)

    def _run(self, out: Samples, run: Doc, now: datetime) -> None:
        names = {"user": self._names["user"].label(_cut(run.get("user_id")))}
        names["model"] = self._names["model"].label(_cut(run.get("model_name")))
        energy_kwh, kg = number(run, "energy_kwh"), number(run, "emissions_kg")
        values = {
            "run_energy_joules": None if energy_kwh is None else j_from_kwh(energy_kwh),
            "run_co2e_grams": None if kg is None else _g(kg),
            "run_power_watts": number(run, "mean_power_w"),
            "run_last_event_age_seconds": age_s(run["last_event_at"], now),
        }
        for name, value in values.items():
            out.add(name, value, run=str(run["_id"]), **names)


def _add(out: Samples, what: str, label: str, name: str, amount: float) -> None:
    if label:
        out.add(f"{label}_{what}", amount, **{label: name})
    else:
        out.add(what, amount)


def _sizes(runs: Iterable[Mapping[str, Any]], field: str) -> dict[str, float]:
    """Energy by name."""
    sizes: dict[str, float] = defaultdict(float)
    for run in runs:
        name = _cut(run.get(field))
        if name:
            sizes[name] += number(run, "energy_kwh") or 0.0
    return sizes


def _cut(name: object) -> str | None:
    """A name as its label will be, so that names that begin alike are one series."""
    return name[:LABEL_LENGTH] if isinstance(name, str) else None


def _g(mass_kg: float) -> float:
    return mass_kg * G_PER_KG
