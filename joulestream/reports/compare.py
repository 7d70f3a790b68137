"""Runs side by side, against the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboard.export import plain
from dashboard.store import Run

FACTS = (
    *("status", "user_id", "project", "model_name", "dataset_name", "framework", "environment", "region_iso"),
    *("node_id", "started_at", "duration_s", "n_events", "energy_kwh", "cpu_energy_kwh", "gpu_energy_kwh"),
    *("ram_energy_kwh", "emissions_kg", "carbon_intensity_g_per_kwh", "mean_power_w", "peak_power_w"),
    *(
        "best_loss",
        "last_loss",
        "best_accuracy",
        "last_accuracy",
        "co2e_per_point_kg",
        "epoch",
        "total_epochs",
    ),
    *("measurement", "gap_s"),
)


def comparison(runs: Sequence[Run], *, only_differences: bool) -> list[dict[str, Any]]:
    """Per field the value of each run, and for numbers its ratio to the first run's (None if not known)."""
    rows = [_row(name, [plain(getattr(run, name)) for run in runs]) for name in FACTS]
    for name in sorted({key for run in runs for key, _ in run.hyperparameters}):
        values = [dict(run.hyperparameters).get(name) for run in runs]
        rows.append(_row(f"hyperparameters.{name}", values))
    known = [row for row in rows if any(value is not None for value in row["values"])]
    return [row for row in known if not only_differences or any(v != row["values"][0] for v in row["values"])]


def _row(name: str, values: list[Any]) -> dict[str, Any]:
    base = values[0]
    return {"field": name, "values": values, "ratios": [_ratio(value, base) for value in values]}


def _ratio(value: Any, base: Any) -> float | None:
    numbers = isinstance(value, (int, float)) and isinstance(base, (int, float))
    return value / base if numbers and base else None
