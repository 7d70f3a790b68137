"""The nodes: power of the newest closed window, and the energy of windows as they grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from conf.settings import Settings
from joulestream.exporter.growth import Growth
from joulestream.exporter.metrics import OTHER, USES
from joulestream.exporter.names import Names
from joulestream.exporter.pods import Pods
from joulestream.exporter.samples import Sample, Samples, age_s, number
from schemas import documents
from schemas.units import j_from_kwh
from spark_jobs.store import Db, Doc

LOOK_BACK_S = 900.0
# How many windows a node may be silent and still have a power.
SILENT_WINDOWS = 3
PERCENT = 100.0
ENERGIES = {use: f"{use}_kwh" for use in USES}
FIELDS = (
    *("node_id", "window_start", "window_end", "mean_power_w"),
    *("cpu_utilization_pct", "gpu_utilization_pct", *ENERGIES.values(), "energy_kwh", "pods"),
)


class NodesPart:
    """Reads the newest windows of every node."""

    def __init__(self, db: Db, settings: Settings) -> None:
        self._db, self._settings = db, settings
        self._names = Names(settings.exporter.max_nodes)
        self._growth = {use: Growth() for use in USES}
        self._pods = Pods(settings)
        self._counted: dict[tuple[str, str], float] = defaultdict(float)

    def read(self, now: datetime) -> list[Sample]:
        """Powers, utilizations, counters. Raises PyMongoError."""
        window_s = self._settings.stream.window_s
        since = now - timedelta(seconds=max(LOOK_BACK_S, (SILENT_WINDOWS + 1) * window_s))
        windows: dict[str, list[Doc]] = defaultdict(list)
        for doc in self._windows(since):
            windows[doc["node_id"]].append(doc)
        for docs in windows.values():
            docs.sort(key=lambda doc: doc["window_start"])
        self._names.admit({node: number(docs[-1], "mean_power_w") or 0.0 for node, docs in windows.items()})
        out = Samples()
        out.add("nodes", len(windows))
        newest = max((docs[-1]["window_start"] for docs in windows.values()), default=None)
        out.add("documents_age_seconds", age_s(newest, now), collection=documents.NODE_WINDOWS)
        everything = [doc for docs in windows.values() for doc in docs]
        self._pods.add(out, self._powers(out, windows, now), everything)
        self._count(out, everything)
        return out.found

    def _windows(self, since: datetime) -> list[Doc]:
        found = self._db[documents.NODE_WINDOWS].find(
            {"window_start": {"$gte": since}}, dict.fromkeys(FIELDS, 1)
        )
        return [doc for doc in found if isinstance(doc.get("node_id"), str)]

    def _powers(self, out: Samples, windows: dict[str, list[Doc]], now: datetime) -> list[Doc]:
        """Powers of the nodes that speak; returns their newest closed windows."""
        speaking_since = now - timedelta(seconds=SILENT_WINDOWS * self._settings.stream.window_s)
        powers: dict[str, float] = defaultdict(float)
        found = []
        for node, docs in windows.items():
            label, newest = self._names.label(node), docs[-1]
            if label != OTHER:
                out.add("node_window_age_seconds", age_s(newest["window_start"], now), node=label)
            # A window is closed once a later one is there.
            if len(docs) < 2 or newest["window_start"] < speaking_since:
                continue
            closed = docs[-2]
            found.append(closed)
            power_w = number(closed, "mean_power_w")
            if power_w is not None:
                powers[label] += power_w
            if label != OTHER:
                for device in ("cpu", "gpu"):
                    share = _ratio(number(closed, f"{device}_utilization_pct"))
                    out.add(f"node_{device}_utilization_ratio", share, node=label)
        for label, power_w in powers.items():
            out.add("node_power_watts", power_w, node=label)
        return found

    def _count(self, out: Samples, docs: Sequence[Doc]) -> None:
        for use, field in ENERGIES.items():
            growth = self._growth[use]
            for doc in docs:
                energy_kwh = number(doc, field)
                if energy_kwh is not None:
                    gained = growth.of(str(doc["_id"]), j_from_kwh(energy_kwh))
                    self._counted[self._names.label(doc["node_id"]), use] += gained
            growth.begin()
            growth.keep(str(doc["_id"]) for doc in docs)
        for (node, use), energy_j in self._counted.items():
            out.add("node_energy_joules_total", energy_j, node=node, use=use)


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else percent / PERCENT
