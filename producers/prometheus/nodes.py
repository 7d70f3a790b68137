"""Series of a cluster become samples of its nodes: one for each node and cell of time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from producers.ports import ESTIMATED, MEASURED, combined
from producers.prometheus import dcgm, kepler
from producers.prometheus.dcgm import Gpu
from producers.prometheus.kepler import DRAM, PACKAGE, PLATFORM, Cpu, Pod
from producers.prometheus.series import Points, Series
from producers.prometheus.spans import Spans, covered_ms, energy_j
from schemas.events import SCHEMA_VERSION, Consumer, GpuReading, GpuShare, NodeSample
from schemas.times import from_ms
from schemas.units import MS_PER_S

# One length for all, in every version: a cell's sample has one name, whenever and by whomever it is made. So what
# is read twice is a duplicate.
CELL_MS = 30 * MS_PER_S
PRODUCER_ID = f"prometheus-{CELL_MS // MS_PER_S}s"
NAMES = (*kepler.NAMES, *dcgm.NAMES)
MAX_CONSUMERS = 1024
_OTHER_THAN_ID = re.compile(r"[^A-Za-z0-9._:@/+-]")
_PORT = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of time of fixed length, aligned to the epoch."""

    start_ms: int

    @property
    def end_ms(self) -> int:
        """Its end, which is the next one's start."""
        return self.start_ms + CELL_MS


def floor_ms(ms: int) -> int:
    """Start of the cell that holds a time."""
    return ms - ms % CELL_MS


def selector(match: str | None) -> str:
    """PromQL that selects all series that are read; `match` are further matchers."""
    more = f",{match}" if match else ""
    return f'{{__name__=~"{"|".join(NAMES)}"{more}}}'


@dataclass(frozen=True, slots=True)
class NodeSeries:
    """What is known of one node over a range. `seen_ms`: the newest scrape of each exporter."""

    node_id: str
    cpu: Cpu
    gpus: tuple[Gpu, ...]
    seen_ms: Mapping[str, int]
    region_iso: str | None = None

    def settled(self, end_ms: int, now_ms: int, max_gap_ms: int) -> bool:
        """Whether what is known of the time before an end stays: each exporter was seen after it, or is gone."""
        return all(at >= end_ms or now_ms - at > max_gap_ms for at in self.seen_ms.values())

    def sample(self, cell: Cell) -> NodeSample | None:
        """The node over a cell; None where no energy is known of it.

        Its time is the cell's last millisecond, so that it counts in the window that the cell is in.
        """
        start, end = cell.start_ms, cell.end_ms
        gpus = [gpu for gpu in self.gpus if energy_j([gpu.spans], start, end) is not None]
        zones = {zone: energy_j(spans, start, end) for zone, spans in self.cpu.zones.items()}
        counters = [s for spans in self.cpu.zones.values() for s in spans] + [gpu.spans for gpu in gpus]
        known_ms = covered_ms(counters, start, end)
        if not known_ms:
            return None
        has_cpu = any(value is not None for value in zones.values())
        kinds = {ESTIMATED if gpu.estimated else MEASURED for gpu in gpus}
        kinds |= {ESTIMATED if self.cpu.estimated else MEASURED} if has_cpu else set()
        utilization, cpu_shares = _cpu_use(self.cpu, start, end)
        return NodeSample(
            node_id=self.node_id,
            timestamp=from_ms(end - 1),
            schema_version=SCHEMA_VERSION,
            producer_id=PRODUCER_ID,
            sequence=start // CELL_MS,
            region_iso=self.region_iso,
            interval_s=known_ms / MS_PER_S,
            cpu_energy_j=zones.get(PACKAGE),
            dram_energy_j=zones.get(DRAM),
            platform_energy_j=zones.get(PLATFORM),
            gpus=tuple(_reading(gpu, cell) for gpu in gpus) or None,
            cpu_utilization_pct=utilization,
            consumers=_consumers(cpu_shares, {gpu.uuid: gpu.shares(start, end) for gpu in gpus}) or None,
            measurement=combined(kinds),
            meters=tuple(m for m, used in ((kepler.METER, has_cpu), (dcgm.METER, bool(gpus))) if used),
        )


def read_nodes(
    series: Iterable[Series], node_label: str | None, max_gap_ms: int, region_iso: str | None = None
) -> list[NodeSeries]:
    """The nodes that series tell of, by name."""
    by_node: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        name = node_of(one, node_label)
        if name:
            by_node[name].append(one)
    return [
        NodeSeries(
            name,
            kepler.read_cpu(by_node[name], max_gap_ms),
            tuple(dcgm.read_gpus(by_node[name], max_gap_ms)),
            _seen(by_node[name]),
            region_iso,
        )
        for name in sorted(by_node)
    ]


def node_of(series: Series, node_label: str | None) -> str:
    """The node's name, as an identifier; empty where no label has it."""
    if node_label is not None:
        name = series.label(node_label)
    else:
        name = series.label("node_name", "node", "kubernetes_node", "Hostname", "exported_instance")
        name = name or _PORT.sub("", series.label("instance"))
    return as_id(name)


def as_id(text: str) -> str:
    """The nearest identifier of the contract."""
    return _OTHER_THAN_ID.sub("-", text)[:200]


def _seen(series: Iterable[Series]) -> dict[str, int]:
    seen: dict[str, int] = {}
    for one in series:
        meter = dcgm.METER if one.name in dcgm.NAMES else kepler.METER
        if one.points:
            seen[meter] = max(seen.get(meter, 0), one.points[-1][0])
    return seen


def _cpu_use(cpu: Cpu, start: int, end: int) -> tuple[float | None, dict[Pod, float]]:
    """Active part of the CPUs' energy (%), and each pod's share of the active energy."""
    whole_j, active_j = energy_j(cpu.cpu, start, end), energy_j(cpu.active, start, end)
    if not whole_j:
        return None, {}
    ratio = active_j / whole_j if active_j is not None else _mean(cpu.usage, start, end)
    busy_j = whole_j if ratio is None else whole_j * min(1.0, ratio)
    if busy_j <= 0:
        return 0.0, {}
    used = {pod: energy_j(spans, start, end) for pod, spans in cpu.pods.items() if all(pod)}
    shares = {pod: value / busy_j for pod, value in used.items() if value}
    # Pods are read a moment apart from their node: what they have above it is scaled down.
    scale = max(1.0, fsum(shares.values()))
    percent = None if ratio is None else min(1.0, ratio) * 100.0
    return percent, {pod: min(1.0, share / scale) for pod, share in shares.items()}


def _mean(points: Points, start: int, end: int) -> float | None:
    values = [value for at, value in points if start < at <= end]
    return fsum(values) / len(values) if values else None


def _last(points: Points, start: int, end: int) -> float | None:
    return next((value for at, value in reversed(points) if start < at <= end), None)


def _reading(gpu: Gpu, cell: Cell) -> GpuReading:
    start, end = cell.start_ms, cell.end_ms
    utilization = _mean(gpu.utilization_pct, start, end)
    return GpuReading(
        uuid=as_id(gpu.uuid),
        index=gpu.index,
        name=gpu.name,
        energy_j=energy_j([gpu.spans], start, end),
        power_w=_last(gpu.power_w, start, end),
        utilization_pct=None if utilization is None else min(100.0, utilization),
        memory_used_mib=_last(gpu.memory_used_mib, start, end),
    )


def _consumers(cpu: Mapping[Pod, float], gpus: Mapping[str, Mapping[Pod, float]]) -> tuple[Consumer, ...]:
    """One for each pod; of too many those with the largest shares."""
    weights: dict[Pod, float] = defaultdict(float)
    for shares in (cpu, *gpus.values()):
        for pod, share in shares.items():
            weights[pod] += share
    kept = sorted(weights, key=lambda pod: (-weights[pod], pod))[:MAX_CONSUMERS]
    return tuple(_consumer(pod, cpu, gpus) for pod in sorted(kept))


def _consumer(pod: Pod, cpu: Mapping[Pod, float], gpus: Mapping[str, Mapping[Pod, float]]) -> Consumer:
    held = {uuid: min(1.0, shares[pod]) for uuid, shares in gpus.items() if pod in shares}
    return Consumer(
        namespace=as_id(pod.namespace),
        pod=as_id(pod.name),
        cpu_time_share=cpu.get(pod),
        gpus=tuple(GpuShare(uuid=as_id(uuid), share=share) for uuid, share in held.items()) or None,
    )


__all__ = ["CELL_MS", "Cell", "NodeSeries", "Spans", "floor_ms", "read_nodes", "selector"]
