"""What each field of the wire means, in one line: the JSON Schema and the reference page both show it."""

from __future__ import annotations

from collections.abc import Mapping

_GENERAL: Mapping[str, str] = {
    "action": "what the run is asked to do",
    "event_id": "the sender's own name of this event; unique within its run or node",
    "event_type": "which moment of the run's life this is; absent means `metric`",
    "interval_s": "length of the interval that ends at `timestamp`",
    "is_estimated": "whether the source calls the value an estimate",
    "measurement": "how the energy was obtained",
    "meters": "names of the meters that the energy comes from",
    "node_id": "the machine",
    "producer_id": "the sending process; new for every start of it",
    "reason": "why, in words",
    "region_iso": (
        "where the electricity is drawn: ISO 3166 alpha-2 or alpha-3, either case; "
        "kept as alpha-3 where known"
    ),
    "run_id": "the training run",
    "schema_version": "version of this contract; absent means 1",
    "scope": "whether upstream emissions are included",
    "sequence": "counts the producer's events; with `producer_id` it names the event",
    "signal": "average and marginal intensity answer different questions and are never mixed",
    "source": "who says so",
    "timestamp": "event time, and the end of the interval that the energies cover",
    "uuid": "the GPU, by the name that its driver gives it",
    "zone": "grid zone, such as an ISO 3166 code",
}

_TRAINING: Mapping[str, str] = {
    "user_id": "who runs it",
    "project": "what it belongs to",
    "model_name": "what is trained",
    "dataset_name": "what it is trained on",
    "framework": "with what it is trained",
    "environment": "such as `prod` or `laptop`",
    "hyperparameters": "settings of the run; keys with `$`, `.` or NUL are stored as an array of `{k, v}`",
    "rank": "which of the run's processes sends this",
    "world_size": "how many processes the run has",
    "epoch": "epochs done; a fraction is allowed",
    "total_epochs": "epochs planned",
    "step": "steps done",
    "total_steps": "steps planned",
    "loss": "training loss",
    "accuracy": "accuracy or another score; not assumed to be within 0 and 1",
    "status": "how the run ended; on `run_finished`",
    "energy_kwh": "IT energy at the devices over the interval; never multiplied by PUE",
    "cpu_energy_kwh": "part of the CPUs",
    "gpu_energy_kwh": "part of the GPUs",
    "ram_energy_kwh": "part of the memory",
    "emissions_kg": "CO2e of the interval; the stream fills it where only the energy is given",
    "cumulative_energy_kwh": "this producer's total so far: kept, never summed",
    "cumulative_emissions_kg": "this producer's total so far: kept, never summed",
    "cpu_utilization_pct": "mean over the CPUs",
    "gpu_utilization_pct": "mean over the GPUs",
    "gpu_power_w": "power of the GPUs",
    "gpu_memory_used_mib": "memory in use on the GPUs",
    "memory_used_mib": "main memory in use",
    "carbon_intensity_g_per_kwh": "intensity behind `emissions_kg`, or the one to fill it with",
    "carbon_intensity_source": "where that intensity comes from",
    "pue": "power usage effectiveness of the site: kept beside the energy, never multiplied into it",
}

_REPORTED: Mapping[str, str] = {
    "start_timestamp": "when the client says that the run began",
    "end_timestamp": "when it says that the run ended; stands in for an absent `timestamp`",
    "total_energy_kwh": "its own total",
    "total_emissions_kg": "its own total",
    "n_metric_events": "how many metric events it says it sent",
    "total_duration_s": "its own duration",
}

_NODE: Mapping[str, str] = {
    "cpu_energy_j": "CPU packages over the interval",
    "dram_energy_j": "memory over the interval",
    "platform_energy_j": "whole machine over the interval; contains the others and is never added to them",
    "gpus": "one entry per GPU",
    "cpu_utilization_pct": "mean over the CPUs",
    "memory_used_mib": "main memory in use",
    "memory_total_mib": "main memory installed",
    "consumers": "which run or pod used what; per device the shares sum to at most 1",
}

_GPU: Mapping[str, str] = {
    "index": "its place on this node",
    "name": "product name",
    "energy_j": "energy over the interval",
    "power_w": "power at the end of the interval",
    "utilization_pct": "utilisation at the end of the interval",
    "memory_used_mib": "memory in use at the end of the interval",
    "temperature_c": "temperature at the end of the interval",
}

_CONSUMER: Mapping[str, str] = {
    "namespace": "Kubernetes namespace of a pod; with `pod`, where the consumer is no run",
    "pod": "name of the pod",
    "cpu_time_share": "the consumer's part of the node's busy CPU time",
    "gpus": "the consumer's part of each GPU's busy time",
    "share": "the consumer's part of this GPU's busy time",
}

_GRID: Mapping[str, str] = {
    "timestamp": "valid from",
    "valid_for_s": "how long it holds",
    "g_per_kwh": "emissions of one kWh, in CO2e",
}

_CONTROL: Mapping[str, str] = {"timestamp": "when it was asked"}

_BY_CLASS: Mapping[str, Mapping[str, str]] = {
    "TrainingEvent": _TRAINING,
    "RunSummaryTotals": _REPORTED,
    "NodeSample": _NODE,
    "GpuReading": _GPU,
    "GpuShare": _CONSUMER,
    "Consumer": _CONSUMER,
    "GridIntensity": _GRID,
    "RunControl": _CONTROL,
}


def meaning_of(event_class: type[object], name: str) -> str:
    """What a field of an event class means. Raises KeyError where nobody has written it down."""
    own = _BY_CLASS[event_class.__name__]
    return own[name] if name in own else _GENERAL[name]
