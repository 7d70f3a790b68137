"""Kepler's series of one node: energy by zone, what of it was active, and what each pod used.

Two dialects. From 0.10 on (https://github.com/sustainable-computing-io/kepler/blob/main/docs/user/metrics.md):
`kepler_node_cpu_joules_total`, `…_active_joules_total`, `…_idle_joules_total`, `kepler_pod_cpu_joules_total`, with the
zone as a label. Before: one name for each zone, `kepler_node_package_joules_total`, `kepler_container_package_…`, with
`mode="dynamic"` or `"idle"`. Zones overlap: psys (platform) holds package, which holds core and uncore; dram is beside
them. Only package, dram and platform are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from producers.prometheus.series import Points, Series
from producers.prometheus.spans import Spans, beside, counted, total, union

METER = "kepler"
PACKAGE, DRAM, PLATFORM = "package", "dram", "platform"
_ZONES = {"package": PACKAGE, "dram": DRAM, "psys": PLATFORM}

NODE_TOTAL = "kepler_node_cpu_joules_total"
NODE_ACTIVE = "kepler_node_cpu_active_joules_total"
NODE_IDLE = "kepler_node_cpu_idle_joules_total"
NODE_USAGE = "kepler_node_cpu_usage_ratio"
POD_TOTAL = "kepler_pod_cpu_joules_total"
NEW = (NODE_TOTAL, NODE_ACTIVE, NODE_IDLE, NODE_USAGE, POD_TOTAL)

OLD_NODE = {f"kepler_node_{zone}_joules_total": zone for zone in (PACKAGE, DRAM, PLATFORM)}
OLD_CONTAINER = {f"kepler_container_{zone}_joules_total": zone for zone in (PACKAGE, DRAM)}
# Package, DRAM, GPU and others of a container in one: read only where the parts are not exported.
OLD_CONTAINER_ALL = "kepler_container_joules_total"
OLD = (*OLD_NODE, *OLD_CONTAINER, OLD_CONTAINER_ALL)
NAMES = (*NEW, *OLD)

DYNAMIC = "dynamic"


class Pod(NamedTuple):
    """A pod by its names."""

    namespace: str
    name: str


@dataclass(slots=True)
class Cpu:
    """What is known of a node's CPUs: counters by zone, the active part of package and DRAM, and of pods."""

    zones: dict[str, list[Spans]] = field(default_factory=dict)
    active: list[Spans] = field(default_factory=list)
    usage: Points = ()
    pods: dict[Pod, list[Spans]] = field(default_factory=dict)
    estimated: bool = False

    @property
    def cpu(self) -> list[Spans]:
        """Counters of package and DRAM, which CPU time shares out."""
        return [spans for zone in (PACKAGE, DRAM) for spans in self.zones.get(zone, ())]


def read_cpu(series: Iterable[Series], max_gap_ms: int) -> Cpu:
    """The CPUs of one node. Where both dialects tell of a time, the new one is taken."""
    found = list(series)
    new = _new(found, max_gap_ms)
    old = _old(found, max_gap_ms)
    zones = {
        zone: beside(new.zones.get(zone, []), old.zones.get(zone, ()))
        for zone in (PACKAGE, DRAM, PLATFORM)
        if zone in new.zones or zone in old.zones
    }
    pods = {pod: beside(new.pods.get(pod, []), old.pods.get(pod, ())) for pod in (*new.pods, *old.pods)}
    return Cpu(zones, beside(new.active, old.active), new.usage, pods, old.estimated and not new.zones)


# Key of a counter -> the exporter that it was read from -> its samples, as often as series repeat them.
_Gathered = dict[tuple[str, ...], dict[tuple[str, ...], list[Points]]]


def _gather(series: Iterable[Series], names: Iterable[str], key: tuple[str, ...]) -> _Gathered:
    """Samples by name and these labels; labels that are not named here, as `state`, do not tell counters apart."""
    wanted = frozenset(names)
    found: _Gathered = defaultdict(lambda: defaultdict(list))
    for one in series:
        if one.name in wanted:
            labels = (one.name, *(one.label(label) for label in key))
            found[labels][_exporter(one)].append(one.points)
    return found


def _exporter(series: Series) -> tuple[str, ...]:
    """What was scraped, and by whom; a counter of Kepler begins anew with each of its processes."""
    return tuple(
        series.label(name) for name in ("job", "instance", "prometheus", "prometheus_replica", "replica")
    )


def _counter(exporters: Mapping[tuple[str, ...], list[Points]], max_gap_ms: int) -> list[Spans]:
    """One counter, of as many exporters as tell of it; each time counts once."""
    spans: list[Spans] = []
    for exporter in sorted(exporters):
        spans = beside(spans, [counted(union(exporters[exporter]), max_gap_ms)])
    return spans


def _new(series: list[Series], max_gap_ms: int) -> Cpu:
    made = Cpu()
    place = ("zone", "path")
    whole, active, idle = (_gather(series, (name,), place) for name in (NODE_TOTAL, NODE_ACTIVE, NODE_IDLE))
    places = sorted({key[1:] for gathered in (whole, active, idle) for key in gathered})
    for where in places:
        zone = _ZONES.get(where[0].partition("-")[0])
        if zone is None:
            continue
        parts = active.get((NODE_ACTIVE, *where), {}), idle.get((NODE_IDLE, *where), {})
        # The total is the meter's own register and wraps with it; active and idle are summed up by Kepler.
        split = {who: [total([union(p[who]) for p in parts])] for who in parts[0].keys() & parts[1].keys()}
        spans = beside(_counter(split, max_gap_ms), _counter(whole.get((NODE_TOTAL, *where), {}), max_gap_ms))
        made.zones.setdefault(zone, []).extend(spans)
        if zone in (PACKAGE, DRAM):
            made.active.extend(_counter(parts[0], max_gap_ms))
    usage = [one.points for one in series if one.name == NODE_USAGE]
    made.usage = union(usage)
    for key, exporters in _gather(
        series, (POD_TOTAL,), ("zone", "pod_namespace", "pod_name", "pod_id")
    ).items():
        if _ZONES.get(key[1].partition("-")[0]) in (PACKAGE, DRAM):
            made.pods.setdefault(Pod(key[2], key[3]), []).extend(_counter(exporters, max_gap_ms))
    return made


def _old(series: list[Series], max_gap_ms: int) -> Cpu:
    made = Cpu()
    for key, exporters in sorted(_gather(series, OLD_NODE, ("mode", "package", "source")).items()):
        zone = OLD_NODE[key[0]]
        spans = _counter(exporters, max_gap_ms)
        made.zones.setdefault(zone, []).extend(spans)
        made.estimated |= "model" in key[3]
        if zone in (PACKAGE, DRAM) and key[1] == DYNAMIC:
            made.active.extend(spans)
    parts = any(one.name in OLD_CONTAINER for one in series)
    names = OLD_CONTAINER if parts else (OLD_CONTAINER_ALL,)
    labels = ("mode", "container_namespace", "pod_name", "container_id")
    for key, exporters in sorted(_gather(series, names, labels).items()):
        if key[1] == DYNAMIC:
            made.pods.setdefault(Pod(key[2], key[3]), []).extend(_counter(exporters, max_gap_ms))
    return made
