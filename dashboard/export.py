"""Runs as CSV and JSON, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboard.store.rows import Run
from schemas.times import rfc3339

# A cell that begins with one of these is a formula to some spreadsheet (OWASP, CSV injection); the wide
# forms are folded to the narrow ones by those that read East Asian text.
FORMULA_STARTS = tuple("=+-@\t\r\n|%＝＋－＠")
COLUMNS = (
    "run_id",
    "status",
    "user_id",
    "project",
    "model_name",
    "dataset_name",
    "region_iso",
    "node_id",
    "started_at",
    "last_event_at",
    "ended_at",
    "duration_s",
    "n_events",
    "energy_kwh",
    "cpu_energy_kwh",
    "gpu_energy_kwh",
    "ram_energy_kwh",
    "emissions_kg",
    "carbon_intensity_g_per_kwh",
    "carbon_intensity_source",
    "carbon_intensity_year",
    "mean_power_w",
    "peak_power_w",
    "last_loss",
    "best_loss",
    "last_accuracy",
    "best_accuracy",
    "co2e_per_point_kg",
    "measurement",
    "gap_s",
)


def plain(value: Any) -> Any:
    """A value as JSON knows it: times as RFC 3339."""
    return rfc3339(value) if isinstance(value, datetime) else value


def cell(value: Any) -> Any:
    """A value as a spreadsheet may read it: a text that would be a formula begins with an apostrophe."""
    shown = plain(value)
    if not isinstance(shown, str):
        return "" if shown is None else shown
    return f"'{shown}" if shown.lstrip(" ").startswith(FORMULA_STARTS) else shown


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV (RFC 4180); what is not known is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([cell(column) for column in columns])
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def run_record(run: Run) -> dict[str, Any]:
    """A run as plain values by column."""
    return {column: plain(getattr(run, column)) for column in COLUMNS}


def runs_csv(runs: Iterable[Run]) -> str:
    """Runs as CSV, one line each."""
    return to_csv((run_record(run) for run in runs), COLUMNS)


def runs_json(runs: Iterable[Run]) -> str:
    """Runs as a JSON array; what is not known is null."""
    return json.dumps([run_record(run) for run in runs], indent=2, ensure_ascii=True, allow_nan=False)
