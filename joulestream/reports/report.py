"""Energy and emissions by user, model, run, node, namespace, pod or region over a range of windows.

Everything comes from the stored windows; every ratio is a sum over a sum. CO2e of a node, which its windows do not
hold, is its energy × the intensity of its region.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from dashboard.store import Reader
from dashboard.store.fields import date, number, text, whole
from dashboard.store.node_factors import NodeFactors
from dashboard.store.reader import chunks
from dashboard.store.runs import FIELD_OF
from dashboard.store.sums import accumulators, totals
from schemas.documents import NODE_WINDOWS, RUN_SUMMARY, WINDOWS
from schemas.times import EPOCH
from schemas.units import emissions_kg, kwh_from_j, w_from_kwh

PODS = ("namespace", "pod")
OF_NODES = ("node", *PODS)
ENERGIES = ("energy_kwh", "cpu_energy_kwh", "gpu_energy_kwh", "ram_energy_kwh", "emissions_kg", "covered_s")
NODE_ENERGIES = (
    *("energy_kwh", "cpu_energy_kwh", "dram_energy_kwh", "gpu_energy_kwh"),
    *("attributed_kwh", "idle_kwh", "unattributed_kwh", "covered_s"),
)
EMISSIONS = "emissions_kg"
POWER = "power_j"
SOURCE = "carbon_intensity_source"

Document: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True)
class Range:
    """Windows that start in [start, end). None has no bound. Both lie on window boundaries."""

    start: datetime | None
    end: datetime | None
    window_s: int

    @classmethod
    def around(cls, start: datetime | None, end: datetime | None, window_s: int) -> Range:
        """The smallest range of whole windows that holds [start, end)."""
        return cls(_floor(start, window_s), _ceil(end, window_s), window_s)

    @property
    def query(self) -> Document:
        """The range as a condition on `window_start`, empty where there is no bound."""
        bounds = {"$gte": self.start, "$lt": self.end}
        given = {name: value for name, value in bounds.items() if value is not None}
        return {"window_start": given} if given else {}


def _floor(at: datetime | None, window_s: int) -> datetime | None:
    return None if at is None else at - (at - EPOCH) % timedelta(seconds=window_s)


def _ceil(at: datetime | None, window_s: int) -> datetime | None:
    return None if at is None else at + (EPOCH - at) % timedelta(seconds=window_s)


@dataclass(frozen=True, slots=True)
class Line:
    """One key of a report, or its total. None is not known; `lacks` says why the CO2e of it, or of a part, is not."""

    key: str | None
    sums: Mapping[str, float]
    power_kwh: float
    counted: int
    runs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    @property
    def mean_power_w(self) -> float | None:
        """Energy over covered time, of the intervals whose length is known."""
        covered_s = self.sums.get("covered_s")
        return w_from_kwh(self.power_kwh, covered_s) if covered_s else None


@dataclass(frozen=True, slots=True)
class Report:
    """The lines, largest energy first, and their total."""

    by: str
    range: Range
    first: datetime | None
    last: datetime | None
    lines: tuple[Line, ...]
    total: Line


def make_report(reader: Reader, by: str, wanted: Range, own_regions: Mapping[str, str | None]) -> Report:
    """Read and sum. `own_regions`: of nodes, by the settings. Raises StoreAway where the store does not answer."""
    if by in PODS:
        lines = _pod_lines(reader, by, wanted)
    elif by == "node":
        factors = NodeFactors(reader, own_regions)
        lines = [_with_emissions(line, factors) for line in _node_lines(reader, wanted)]
    else:
        lines = _lines(reader, by, wanted)
    first, last = _span(reader, NODE_WINDOWS if by in OF_NODES else WINDOWS, _of(by, wanted))
    ordered = sorted(lines, key=lambda line: (-line.sums.get("energy_kwh", 0.0), line.key or ""))
    return Report(by, wanted, first, last, tuple(ordered), total_of(ordered))


def total_of(lines: Sequence[Line]) -> Line:
    """The sum of the lines: what no line knows stays not known; a run in several lines counts once."""
    names = dict.fromkeys(name for line in lines for name in line.sums)
    return Line(
        key=None,
        sums={name: math.fsum(line.sums.get(name, 0.0) for line in lines) for name in names},
        power_kwh=math.fsum(line.power_kwh for line in lines),
        counted=sum(line.counted for line in lines),
        runs=tuple(sorted({run for line in lines for run in line.runs})),
        sources=tuple(sorted({source for line in lines for source in line.sources})),
        lacks=tuple(sorted({why for line in lines for why in line.lacks})),
    )


def _of(by: str, wanted: Range) -> list[Document]:
    """The stages that leave a dimension's windows of a range: two, of which the first is all index with any server."""
    of: list[Document] = [] if by in OF_NODES else [{"$match": {"dimension": by}}]
    return [*of, {"$match": wanted.query}] if wanted.query else of


def _grouped(key: str, energies: Sequence[str], counted: str) -> Document:
    # W × s: the energy of the intervals whose length is known
    power = {"$multiply": ["$mean_power_w", "$covered_s"]}
    return accumulators(energies) | {
        "_id": key,
        "counted": {"$sum": f"${counted}"},
        POWER: {"$sum": {"$cond": [{"$gt": ["$covered_s", 0]}, power, 0]}},
    }


def _line(row: Document, energies: Sequence[str], runs: Iterable[Document]) -> Line:
    mine = list(runs)
    return Line(
        key=text(row["_id"]),
        sums={name: float(value) for name, value in totals(row, energies).items()},
        power_kwh=kwh_from_j(number(row.get(POWER)) or 0.0),
        counted=whole(row.get("counted")) or 0,
        runs=tuple(sorted(str(run["_id"]) for run in mine)),
        sources=tuple(sorted({run[SOURCE] for run in mine if text(run.get(SOURCE))})),
    )


def _lines(reader: Reader, by: str, wanted: Range) -> list[Line]:
    field = "_id" if by == "run" else FIELD_OF[by]
    by_key: dict[str | None, list[Document]] = {}
    for run in _runs_in(reader, wanted, field):
        by_key.setdefault(text(run.get(field)), []).append(run)
    pipeline = [*_of(by, wanted), {"$group": _grouped("$key", ENERGIES, "n_events")}]
    rows = reader.aggregate(WINDOWS, pipeline)
    return [_line(row, ENERGIES, by_key.get(text(row["_id"]), ())) for row in rows]


def _runs_in(reader: Reader, wanted: Range, field: str) -> list[Document]:
    """Summaries of the runs that have a window in the range."""
    names = sorted({field, SOURCE})
    if not wanted.query:
        return reader.find(RUN_SUMMARY, {}, names)
    keys = reader.aggregate(WINDOWS, [*_of("run", wanted), {"$group": {"_id": "$key"}}])
    ids = [str(row["_id"]) for row in keys if text(row["_id"])]
    return [
        run for some in chunks(ids) for run in reader.find(RUN_SUMMARY, {"_id": {"$in": list(some)}}, names)
    ]


def _node_lines(reader: Reader, wanted: Range) -> list[Line]:
    group = _grouped("$node_id", NODE_ENERGIES, "n_samples")
    rows = reader.aggregate(NODE_WINDOWS, [{"$match": wanted.query}, {"$group": group}])
    used: list[Document] = [
        {"$match": wanted.query},
        {"$unwind": "$attributed"},
        {"$group": {"_id": {"node": "$node_id", "run": "$attributed.run_id"}}},
    ]
    runs: dict[str, list[Document]] = {}
    for row in reader.aggregate(NODE_WINDOWS, used):
        runs.setdefault(str(row["_id"]["node"]), []).append({"_id": row["_id"]["run"]})
    return [_line(row, NODE_ENERGIES, runs.get(str(row["_id"]), ())) for row in rows]


def _with_emissions(line: Line, factors: NodeFactors) -> Line:
    """A node's line with its CO2e and where the intensity comes from, or with why it is not known."""
    kwh = line.sums.get("energy_kwh")
    if kwh is None:
        return replace(line, lacks=("the energy is not known",))
    factor = factors.of(line.key)
    if isinstance(factor, str):
        return replace(line, lacks=(factor,))
    kg = emissions_kg(kwh, factor.g_per_kwh)
    return replace(line, sums={**line.sums, EMISSIONS: kg}, sources=(factor.source,))


def _pod_lines(reader: Reader, by: str, wanted: Range) -> list[Line]:
    """Energy of pods, as clusters that are metered by Kepler or DCGM have it; `counted` are windows of a pod."""
    names = {"namespace": "$pods.namespace"} | ({"pod": "$pods.pod"} if by == "pod" else {})
    group = {"_id": names, "energy_kwh": {"$sum": "$pods.energy_kwh"}, "counted": {"$sum": 1}}
    pipeline: list[Document] = [{"$match": wanted.query}, {"$unwind": "$pods"}, {"$group": group}]
    return [
        Line(
            key="/".join(str(row["_id"][name]) for name in names),
            sums={"energy_kwh": number(row["energy_kwh"]) or 0.0},
            power_kwh=0.0,
            counted=whole(row["counted"]) or 0,
        )
        for row in reader.aggregate(NODE_WINDOWS, pipeline)
    ]


def _span(reader: Reader, collection: str, of: list[Document]) -> tuple[datetime | None, datetime | None]:
    """Start of the first and end of the last window that the report holds."""
    group = {"_id": None, "first": {"$min": "$window_start"}, "last": {"$max": "$window_end"}}
    found = reader.aggregate(collection, [*of, {"$group": group}])
    return (date(found[0].get("first")), date(found[0].get("last"))) if found else (None, None)
