"""What one accepted event adds to the sums of its windows: pure functions of the document.

Every value is additive, so that ratios are formed at the end as sum over sum. A value that is not known is
absent, never zero. An event counts wholly in the window that holds its `timestamp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from schemas.units import kwh_from_j

Sums: TypeAlias = dict[str, float]

TRAINING_ENERGIES = ("energy_kwh", "cpu_energy_kwh", "gpu_energy_kwh", "ram_energy_kwh")
TRAINING_SUMS: tuple[str, ...] = (
    "n_events",
    *TRAINING_ENERGIES,
    "emissions_kg",
    "power_kwh",  # energy of the events that say over which interval
    "covered_s",  # those intervals, per rank of a distributed run
    *(f"{value}_{sum}" for value in ("loss", "accuracy") for sum in ("sum", "weight", "plain", "n")),
    "n_measured",
    "n_estimated",
    "n_mixed",
)

NODE_ENERGIES = (
    "energy_kwh",
    "cpu_energy_kwh",
    "dram_energy_kwh",
    "gpu_energy_kwh",
    "platform_energy_kwh",
    "other_energy_kwh",
    "attributed_kwh",
    "idle_kwh",
    "unattributed_kwh",
)
POD_KEY = "pod|"
NODE_MEANS = ("cpu_utilization_pct", "gpu_utilization_pct", "memory_used_mib")
NODE_SUMS: tuple[str, ...] = (
    "n_samples",
    *NODE_ENERGIES,
    "power_kwh",
    "covered_s",
    *(f"{value}_{sum}" for value in NODE_MEANS for sum in ("sum", "weight")),
    "n_measured",
    "n_estimated",
    "n_mixed",
)


def training_sums(doc: Mapping[str, Any]) -> Sums:
    """The additive values of one training event (kWh, kg, s; loss and accuracy weighted by `interval_s`)."""
    sums: Sums = {"n_events": 1.0}
    for name in (*TRAINING_ENERGIES, "emissions_kg"):
        if name in doc:
            sums[name] = doc[name]
    interval_s = doc.get("interval_s")
    if interval_s and "energy_kwh" in doc:
        # Ranks run side by side: their intervals overlap, so each counts as its part of the wall time.
        ranks = doc.get("world_size", 1) if "rank" in doc else 1
        sums["power_kwh"] = doc["energy_kwh"]
        sums["covered_s"] = interval_s / ranks
    for name in ("loss", "accuracy"):
        value = doc.get(name)
        if value is not None:
            sums[f"{name}_plain"] = value
            sums[f"{name}_n"] = 1.0
            if interval_s:
                sums[f"{name}_sum"] = value * interval_s
                sums[f"{name}_weight"] = interval_s
    _count_measurement(sums, doc)
    return sums


def _count_measurement(sums: Sums, doc: Mapping[str, Any]) -> None:
    if "measurement" in doc:
        sums[f"n_{doc['measurement']}"] = 1.0


def node_sums(doc: Mapping[str, Any]) -> tuple[Sums, dict[str, float]]:
    """The additive values of one node sample, and the energy (kWh) of each run or pod on it (`consumer_key`).

    Total = the larger of the platform meter and the sum of its parts: overlapping meters are never summed
    (package ⊂ platform), and a platform meter that reads less than its parts does not contain them all.
    Per device, busy energy = energy × utilisation, of which each run gets its share of the busy time and the
    remainder is unattributed; the rest is idle (the split of Kepler's node model: active = total × usage
    ratio). Where the utilisation is not known nothing is called idle.
    Energy = attributed + idle + unattributed.
    """
    gpus = doc.get("gpus", ())
    gpu_j = [gpu["energy_j"] for gpu in gpus if "energy_j" in gpu]
    known = {
        "cpu_energy_kwh": doc.get("cpu_energy_j"),
        "dram_energy_kwh": doc.get("dram_energy_j"),
        "gpu_energy_kwh": sum(gpu_j) if gpu_j else None,
    }
    sums: Sums = {"n_samples": 1.0}
    sums.update({name: kwh_from_j(value) for name, value in known.items() if value is not None})
    parts_j = sum(value for value in known.values() if value is not None)
    platform_j = doc.get("platform_energy_j")
    if platform_j is not None:
        sums["platform_energy_kwh"] = kwh_from_j(platform_j)
    _means(sums, doc, gpus)
    _count_measurement(sums, doc)
    if platform_j is None and all(value is None for value in known.values()):
        return sums, {}
    total_j = max(platform_j or 0.0, parts_j)
    runs_j, idle_j = _attribute(doc, gpus)
    attributed_j = sum(runs_j.values())
    sums["energy_kwh"] = kwh_from_j(total_j)
    sums["other_energy_kwh"] = kwh_from_j(total_j - parts_j)
    sums["attributed_kwh"] = kwh_from_j(attributed_j)
    sums["idle_kwh"] = kwh_from_j(idle_j)
    sums["unattributed_kwh"] = kwh_from_j(total_j - attributed_j - idle_j)
    if doc.get("interval_s"):
        sums["power_kwh"] = sums["energy_kwh"]
        sums["covered_s"] = doc["interval_s"]
    return sums, {run: kwh_from_j(energy_j) for run, energy_j in runs_j.items()}


def _attribute(doc: Mapping[str, Any], gpus: Any) -> tuple[dict[str, float], float]:
    """Energy per consumer and idle energy (J), from each device's energy, utilisation and shares.

    CPU time is what package and DRAM are shared by.
    """
    runs: dict[str, float] = {}
    idle_j = 0.0
    consumers = doc.get("consumers", ())
    cpu_j = doc.get("cpu_energy_j", 0.0) + doc.get("dram_energy_j", 0.0)
    busy_j = _busy(cpu_j, doc.get("cpu_utilization_pct"))
    idle_j += cpu_j - busy_j
    for consumer in consumers:
        share = consumer.get("cpu_time_share", 0.0)
        key = consumer_key(consumer)
        runs[key] = runs.get(key, 0.0) + busy_j * share
    for gpu in gpus:
        gpu_j = gpu.get("energy_j", 0.0)
        busy_j = _busy(gpu_j, gpu.get("utilization_pct"))
        idle_j += gpu_j - busy_j
        for consumer in consumers:
            share = sum(entry["share"] for entry in consumer.get("gpus", ()) if entry["uuid"] == gpu["uuid"])
            runs[consumer_key(consumer)] += busy_j * share
    return runs, idle_j


def consumer_key(consumer: Mapping[str, Any]) -> str:
    """What a consumer's energy is summed under: its run, else its pod. No identifier has a `|` in it."""
    run: str | None = consumer.get("run_id")
    return run if run is not None else f"{POD_KEY}{consumer['namespace']}|{consumer['pod']}"


def _busy(energy_j: float, utilization_pct: float | None) -> float:
    return energy_j if utilization_pct is None else energy_j * utilization_pct / 100.0


def _means(sums: Sums, doc: Mapping[str, Any], gpus: Any) -> None:
    """Utilisation and memory as weighted sums; the weight is the interval, or one where it is not known."""
    weight = doc.get("interval_s") or 1.0
    used = [gpu["utilization_pct"] for gpu in gpus if "utilization_pct" in gpu]
    values = {
        "cpu_utilization_pct": doc.get("cpu_utilization_pct"),
        "gpu_utilization_pct": sum(used) / len(used) if used else None,
        "memory_used_mib": doc.get("memory_used_mib"),
    }
    for name, value in values.items():
        if value is not None:
            sums[f"{name}_sum"] = value * weight
            sums[f"{name}_weight"] = weight
