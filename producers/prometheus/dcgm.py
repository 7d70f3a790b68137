"""DCGM's series of one node: energy and state of each GPU, and which pods held it.

https://github.com/NVIDIA/dcgm-exporter: one series for each GPU, repeated with the whole GPU's values for each pod
where a GPU is time-sliced, and for each instance (`GPU_I_ID`) where it is partitioned. So samples are joined by `UUID`:
a joule counts once, and pods get shares of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import fsum

from producers.prometheus.kepler import Pod
from producers.prometheus.series import Points, Series
from producers.prometheus.spans import Spans, counted, integrated, union
from schemas.units import MJ_PER_J

METER = "dcgm"
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"  # mJ since the driver was loaded
POWER = "DCGM_FI_DEV_POWER_USAGE"  # W
UTILISATION = "DCGM_FI_DEV_GPU_UTIL"  # %
MEMORY = "DCGM_FI_DEV_FB_USED"  # MiB
SM_ACTIVE = "DCGM_FI_PROF_SM_ACTIVE"  # 0..1, of the instance where there are instances
ENGINE_ACTIVE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"  # 0..1
NAMES = (ENERGY, POWER, UTILISATION, MEMORY, SM_ACTIVE, ENGINE_ACTIVE)

# Values that stand for "not known": DCGM_INT64_BLANK and above, DCGM_FP64_BLANK to its last kind.
_INT64_BLANK = float(0x7FFFFFFFFFFFFFF0)
_FP64_BLANK, _FP64_KINDS = 140_737_488_355_328.0, 16.0
_INT32_BLANK = float(0x7FFFFFF0)


@dataclass(slots=True)
class Gpu:
    """One GPU: its counter, its state, and at each scrape which pod held which part of it (sum at most 1)."""

    uuid: str
    index: int | None = None
    name: str | None = None
    spans: Spans = ()
    estimated: bool = False
    power_w: Points = ()
    utilization_pct: Points = ()
    memory_used_mib: Points = ()
    held: dict[int, dict[Pod, float]] = field(default_factory=dict)

    def shares(self, start_ms: int, end_ms: int) -> dict[Pod, float]:
        """Each pod's part of the GPU over the scrapes from start to end."""
        scrapes = [at for at in self.held if start_ms < at <= end_ms]
        parts: dict[Pod, list[float]] = defaultdict(list)
        for at in scrapes:
            for pod, part in self.held[at].items():
                parts[pod].append(part)
        return {pod: fsum(found) / len(scrapes) for pod, found in sorted(parts.items())}


def read_gpus(series: Iterable[Series], max_gap_ms: int) -> list[Gpu]:
    """The GPUs of one node, by uuid."""
    found: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        if one.name in NAMES and one.label("UUID", "uuid"):
            found[one.label("UUID", "uuid")].append(one)
    return [_gpu(uuid, found[uuid], max_gap_ms) for uuid in sorted(found)]


def _gpu(uuid: str, series: list[Series], max_gap_ms: int) -> Gpu:
    known = partial(_known, series)
    energy, power = known(ENERGY), known(POWER)
    spans = (
        counted(energy, max_gap_ms, 1 / MJ_PER_J, from_zero=True) if energy else integrated(power, max_gap_ms)
    )
    index = next((one.label("gpu") for one in series if one.label("gpu").isdecimal()), None)
    instances = any(one.label("GPU_I_ID") for one in series)
    return Gpu(
        uuid=uuid,
        index=None if index is None else int(index),
        name=next((one.label("modelName") for one in series if one.label("modelName")), None),
        spans=spans,
        estimated=not energy,
        power_w=power,
        utilization_pct=known(UTILISATION) or (() if instances else _percent(known(ENGINE_ACTIVE))),
        memory_used_mib=() if instances else known(MEMORY),
        held=_held([one for one in series if one.name == (ENERGY if energy else POWER)], _activity(series)),
    )


def _percent(ratio: Points) -> Points:
    return tuple((at, value * 100.0) for at, value in ratio)


def _known(series: Iterable[Series], name: str) -> Points:
    return union(tuple(p for p in one.points if not _blank(p[1])) for one in series if one.name == name)


def _blank(value: float) -> bool:
    return (
        value < 0
        or value >= _INT64_BLANK
        or _FP64_BLANK <= value < _FP64_BLANK + _FP64_KINDS
        or _INT32_BLANK <= value < _INT32_BLANK + _FP64_KINDS
    )


_Holder = tuple[Pod | None, str]


def _holder(series: Series) -> _Holder:
    return pod_of(series), series.label("GPU_I_ID")


def pod_of(series: Series) -> Pod | None:
    """The pod that a series is about; None where it is about none.

    Where the scrape adds labels of the exporter's own pod, those of the metric are called `exported_…`; and a GPU
    that nobody holds has the exporter's only.
    """
    namespace, name = series.label("exported_namespace"), series.label("exported_pod")
    if not name:
        namespace, name = series.label("namespace"), series.label("pod")
        if "dcgm-exporter" in name or series.label("container") in ("dcgm-exporter", "nvidia-dcgm-exporter"):
            return None
    return Pod(namespace, name) if namespace and name else None


def _activity(series: Iterable[Series]) -> dict[tuple[_Holder, int], float]:
    """How busy each holder's part was at each scrape, where a profiling metric tells."""
    found: dict[tuple[_Holder, int], float] = {}
    for name in (ENGINE_ACTIVE, SM_ACTIVE):  # the latter is taken where both are there
        for one in series:
            if one.name == name:
                found.update({(_holder(one), at): value for at, value in one.points if 0 <= value <= 1})
    return found


def _held(series: list[Series], activity: Mapping[tuple[_Holder, int], float]) -> dict[int, dict[Pod, float]]:
    """At each scrape the part of each pod: by how busy its part was, else equally."""
    sizes: dict[int, dict[_Holder, float]] = defaultdict(dict)
    for one in series:
        holder = _holder(one)
        for at, _ in one.points:
            sizes[at][holder] = _slices(one)
    return {at: _parts(held, at, activity) for at, held in sizes.items()}


def _slices(series: Series) -> float:
    """Size of a GPU instance, from its profile such as `2g.20gb`."""
    head = series.label("GPU_I_PROFILE").partition("g.")[0]
    return float(head) if head.isdecimal() else 1.0


def _parts(
    held: Mapping[_Holder, float], at: int, activity: Mapping[tuple[_Holder, int], float]
) -> dict[Pod, float]:
    weights = {holder: size * activity.get((holder, at), 1.0) for holder, size in held.items()}
    everything = fsum(weights.values())
    if everything <= 0:
        weights, everything = dict(held), fsum(held.values())
    parts: dict[Pod, float] = defaultdict(float)
    for (pod, _), weight in weights.items():
        if pod is not None:
            parts[pod] += weight / everything
    return dict(parts)
