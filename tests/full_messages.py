"""Messages that together fill every field of every document that the stream writes."""

from __future__ import annotations

from datetime import timedelta

from tests.messages import ABSENT, message, node, training
from tests.stream_model import BASE

EVENT_FIELDS = {
    "event_id": ABSENT,
    "producer_id": "p",
    "user_id": "ann",
    "project": "demo",
    "model_name": "resnet",
    "dataset_name": "digits",
    "framework": "torch",
    "environment": "lab",
    "region_iso": "de",
    "hyperparameters": {"lr": 0.1},
    "node_id": "n1",
    "rank": 0,
    "world_size": 2,
    "total_epochs": 3,
    "total_steps": 30,
    "measurement": "measured",
    "meters": ["rapl"],
    "cumulative_energy_kwh": 1.0,
    "cumulative_emissions_kg": 1.0,
    "cpu_utilization_pct": 50,
    "gpu_utilization_pct": 50,
    "gpu_power_w": 100,
    "gpu_memory_used_mib": 10,
    "memory_used_mib": 10,
    "pue": 1.2,
    "temperature": 4,
}


def at(seconds: float) -> str:
    return (BASE + timedelta(seconds=seconds)).isoformat()


def training_messages() -> list[bytes]:
    """One run with every field, a client's summary of another, late, repeated and broken messages."""
    energy = {"interval_s": 5, "energy_kwh": 0.004, "cpu_energy_kwh": 0.001, "gpu_energy_kwh": 0.002}
    progress = {"epoch": 1, "step": 10, "loss": 0.5, "accuracy": 0.8, "ram_energy_kwh": 0.001}
    first = training(
        **{**EVENT_FIELDS, "run_id": "my-run", "sequence": 0, "timestamp": at(10), **energy, **progress}
    )
    end = {"event_type": "run_finished", "status": "completed"}
    return [
        training(run_id="my-run", event_id="start", timestamp=at(0), event_type="run_started"),
        first,
        first,
        training(run_id="my-run", event_id="end", timestamp=at(900), **energy, **end),
        training(
            run_id="my-run", timestamp=at(20), energy_kwh=0.5, user_id="bob", carbon_intensity_g_per_kwh=9
        ),
        message(
            {
                "event_type": "run_summary",
                "run_id": "theirs",
                "start_timestamp": at(0),
                "end_timestamp": at(890),
                "total_energy_kwh": 3.0,
                "total_emissions_kg": 1.0,
                "n_metric_events": 7,
                "total_duration_s": 60,
                "status": "success",
            }
        ),
        training(run_id="theirs", timestamp=at(895), energy_kwh=0.1, emissions_kg=0.9, user_id="bob"),
        b"{",
        training(run_id="x", timestamp="never"),
    ]


def node_messages() -> list[bytes]:
    """Samples with every meter, one of them late, one without an identity of its own."""
    gpu = {"uuid": "GPU-1", "index": 0, "name": "A", "energy_j": 400, "utilization_pct": 50}
    state = {"cpu_utilization_pct": 50, "memory_used_mib": 10, "memory_total_mib": 20}
    used = [
        {"run_id": "my-run", "cpu_time_share": 0.5, "gpus": [{"uuid": "GPU-1", "share": 1}]},
        {"namespace": "ml", "pod": "serve-0", "cpu_time_share": 0.25},
    ]
    common = {
        "node_id": "n1",
        "interval_s": 1,
        "cpu_energy_j": 100,
        "dram_energy_j": 10,
        "platform_energy_j": 600,
        "region_iso": "DEU",
        "gpus": [gpu],
        "consumers": used,
        "measurement": "measured",
        "meters": ["rapl", "nvml"],
        **state,
    }
    return [
        node(**common, timestamp=at(0), producer_id="p", sequence=0),
        node(**common, timestamp=at(900), event_id="e", rack=7),
        node(**common, timestamp=at(10)),
        node(node_id="n2", timestamp=at(900), interval_s=2, cpu_energy_j=30),
    ]
