"""Pods of clusters that meter by pod: power and energy of their namespaces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from conf.settings import Settings
from joulestream.exporter.growth import Growth
from joulestream.exporter.names import Names
from joulestream.exporter.samples import Samples, number
from schemas.units import j_from_kwh
from spark_jobs.store import Doc


class Pods:
    """Reads the pods of nodes' windows."""

    def __init__(self, settings: Settings) -> None:
        self._names = Names(settings.exporter.max_namespaces)
        self._max_pods = settings.exporter.max_pods
        self._growth = Growth()
        self._counted: dict[str, float] = defaultdict(float)

    def add(self, out: Samples, closed: Iterable[Doc], windows: Sequence[Doc]) -> None:
        """Power of the pods in the nodes' closed windows, and the energy of all windows as it grows."""
        self._admit(windows)
        pods: dict[tuple[str, str], float] = defaultdict(float)
        for window in closed:
            for namespace, pod, power_w in _powers(window):
                pods[namespace, pod] += power_w
        namespaces: dict[str, float] = defaultdict(float)
        for (namespace, _), power_w in pods.items():
            namespaces[self._names.label(namespace)] += power_w
        for namespace, power_w in namespaces.items():
            out.add("namespace_power_watts", power_w, namespace=namespace)
        largest = sorted(pods.items(), key=lambda item: (-item[1], item[0]))[: self._max_pods]
        for (namespace, pod), power_w in largest:
            out.add("pod_power_watts", power_w, namespace=namespace, pod=pod)
        self._count(out, windows)

    def _admit(self, windows: Iterable[Doc]) -> None:
        sizes: dict[str, float] = defaultdict(float)
        for window in windows:
            for entry in window.get("pods") or ():
                sizes[entry["namespace"]] += entry["energy_kwh"]
        self._names.admit(sizes)

    def _count(self, out: Samples, windows: Iterable[Doc]) -> None:
        seen = []
        for window in windows:
            for entry in window.get("pods") or ():
                key = f"{window['_id']}|{entry['namespace']}|{entry['pod']}"
                seen.append(key)
                gained = self._growth.of(key, j_from_kwh(entry["energy_kwh"]))
                self._counted[self._names.label(entry["namespace"])] += gained
        self._growth.begin()
        self._growth.keep(seen)
        for namespace, energy_j in self._counted.items():
            out.add("namespace_energy_joules_total", energy_j, namespace=namespace)


def _powers(window: Doc) -> list[tuple[str, str, float]]:
    """Namespace, name and power of each pod: its part of the node's energy is its part of the node's power."""
    power_w, energy_kwh = number(window, "mean_power_w"), number(window, "energy_kwh")
    if power_w is None or not energy_kwh:
        return []
    return [
        (entry["namespace"], entry["pod"], power_w * entry["energy_kwh"] / energy_kwh)
        for entry in window.get("pods") or ()
    ]
