"""Runs as tables: numbers stay numbers (so that they sort), each column in one unit scaled to its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from dashboard import display
from dashboard.display import ENERGY, MASS, POWER, Scale, scale_for
from dashboard.store.rows import Run
from dashboard.text import visible

# Beyond this, one unit would show the small ones as 0.000…
FAR_APART = 1e4
STATUS_MARK = {"running": "●", "stale": "◌", "completed": "✓", "failed": "✕", "stopped": "■"}


@dataclass(frozen=True)
class Column:
    """A column: title, definition for its hover help, values, and how a number reads."""

    title: str
    values: list[Any]
    definition: str | None = None
    shown: Callable[[Any], str] | None = None
    url: bool = False


def text(title: str, values: Sequence[str | None], definition: str | None = None) -> Column:
    """Names; what is not known is a dash."""
    shown = [visible(value) if value else display.NOT_KNOWN for value in values]
    return Column(title, shown, definition)


def scaled(
    title: str,
    ladder: Sequence[Scale],
    values: Sequence[float | None],
    definition: str,
    beside: Sequence[float | None] = (),
) -> Column:
    """Amounts in the unit that suits the largest; where they are too far apart, each in its own.

    `beside`: amounts of a column that these are compared with, so that both get one unit.
    """
    known = [abs(value) for value in (*values, *beside) if value]
    if known and max(known) > FAR_APART * min(known):
        return Column(title, list(values), definition, lambda value: display.amount(value, ladder))
    unit = scale_for(ladder, (*values, *beside))
    return Column(f"{title} ({unit.unit})", unit.all(values), definition, display.figures)


def numbers(title: str, values: Sequence[float | None], definition: str | None = None) -> Column:
    """Numbers without a unit of ours."""
    return Column(title, list(values), definition, display.figures)


def counts(title: str, values: Sequence[int | None], definition: str | None = None) -> Column:
    """Whole numbers."""
    return Column(title, list(values), definition, lambda value: f"{value:,.0f}")


def run_link(run_id: str) -> str:
    """Address of a run's page, relative to the pages beside it."""
    return f"./run?run={quote(run_id, safe='')}"


def run_columns(runs: Sequence[Run]) -> list[Column]:
    """The table of the Runs page."""
    mean, peak = [run.mean_power_w for run in runs], [run.peak_power_w for run in runs]
    return [
        Column("", [run_link(run.run_id) for run in runs], url=True),
        text("Run", [run.run_id for run in runs]),
        text("Status", [f"{STATUS_MARK.get(r.status, '?')} {r.status}" for r in runs], "stale"),
        scaled("Energy", ENERGY, [run.energy_kwh for run in runs], "energy"),
        scaled("CO₂e", MASS, [run.emissions_kg for run in runs], "co2e"),
        Column("Duration", [run.duration_s for run in runs], "duration", display.duration),
        text("Owner", [run.user_id for run in runs]),
        text("Model", [run.model_name for run in runs]),
        text("Dataset", [run.dataset_name for run in runs]),
        text("Region", [run.region_iso for run in runs]),
        Column("Started (UTC)", [run.started_at for run in runs]),
        scaled("Mean power", POWER, mean, "mean_power", beside=peak),
        scaled("Peak power", POWER, peak, "peak_power", beside=mean),
        numbers("Best acc.", [run.best_accuracy for run in runs], "best_accuracy"),
        numbers("Last acc.", [run.last_accuracy for run in runs]),
        numbers("Best loss", [run.best_loss for run in runs], "best_loss"),
        numbers("Last loss", [run.last_loss for run in runs]),
        scaled("CO₂e / acc. point", MASS, [run.co2e_per_point_kg for run in runs], "co2e_per_point"),
        text("Measurement", [run.measurement for run in runs], "measurement"),
    ]


def frame(columns: Sequence[Column]) -> Any:
    """A styled frame: it shows the text of each number and sorts by the number."""
    data = pd.DataFrame({column.title: _series(column) for column in columns})
    formats: dict[Any, Any] = {column.title: _dashed(column.shown) for column in columns if column.shown}
    dates = {
        column.title: _moment for column in columns if str(data[column.title].dtype).startswith("datetime")
    }
    return data.style.format(formats | dates)


def _series(column: Column) -> Any:
    if column.shown is not None:
        return pd.Series(column.values, dtype="float64")
    return pd.Series(column.values)


def _dashed(shown: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: display.NOT_KNOWN if pd.isna(value) else shown(value)


def _moment(value: Any) -> str:
    return display.NOT_KNOWN if pd.isna(value) else f"{value:%Y-%m-%d %H:%M}"
