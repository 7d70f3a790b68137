"""What a run was expected to use in all, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard import display
from dashboard.charts.base import BLUE, RED, Chart, laid_out
from dashboard.display import ENERGY, Scale, scale_for
from dashboard.store.forecast_rows import EpochForecast, RunForecast

FILL = "rgba(213,94,0,0.2)"
FEW = 2


def by_epoch(forecast: RunForecast) -> Chart:
    """Energy at completion as it was expected after each epoch, with its interval, and what it was in the end."""
    history, actual = forecast.history, forecast.actual_energy_kwh
    values = [v for h in history for v in (h.energy_kwh.point, h.energy_kwh.p90)]
    unit = scale_for(ENERGY, [*values, actual])
    figure = go.Figure()
    if len(history) > FEW:
        _add_band(figure, history, unit)
    points = [h.energy_kwh.point for h in history]
    figure.add_trace(
        go.Scatter(
            x=[h.epoch for h in history],
            y=unit.all(points),
            name="Forecast at completion",
            mode="lines+markers",
            line={"color": RED, "width": 2, "dash": "dash"},
            marker={"symbol": "diamond", "size": 7},
            error_y=_bars(history, unit) if len(history) <= FEW else None,
            hovertemplate=f"%{{y:.4g}} {unit.unit}",
        )
    )
    if actual is not None:
        ends = [history[0].epoch, history[-1].epoch]
        trace = go.Scatter(
            x=ends,
            y=unit.all([actual, actual]),
            name="Actual",
            mode="lines",
            line={"color": BLUE, "width": 2},
            hovertemplate=f"%{{y:.4g}} {unit.unit}",
        )
        figure.add_trace(trace)
    laid_out(figure, 300)
    step = "epoch" if forecast.unit in (None, "epochs") else "part of 50"
    figure.update_xaxes(title_text=f"After {step}", tickformat=",d" if len(history) > FEW else None)
    if len(history) <= FEW:
        figure.update_xaxes(tickvals=[h.epoch for h in history])
    figure.update_yaxes(title_text=f"Energy at completion ({unit.unit})", rangemode="normal")
    table: dict[str, Sequence[Any]] = {
        f"After {step}": [h.epoch for h in history],
        "At (UTC)": [display.day_and_time(h.at) for h in history],
        f"Forecast ({unit.unit})": unit.all(points),
        f"P10 ({unit.unit})": unit.all(h.energy_kwh.p10 for h in history),
        f"P90 ({unit.unit})": unit.all(h.energy_kwh.p90 for h in history),
        "Error (%)": [h.error_pct for h in history],
    }
    return Chart(figure, _words(history, actual, step), table)


def _add_band(figure: go.Figure, history: Sequence[EpochForecast], unit: Scale) -> None:
    known = [h for h in history if h.energy_kwh.p10 is not None and h.energy_kwh.p90 is not None]
    x = [h.epoch for h in known]
    low, high = [h.energy_kwh.p10 for h in known], [h.energy_kwh.p90 for h in known]
    figure.add_trace(
        go.Scatter(
            x=[*x, *reversed(x)],
            y=unit.all([*low, *reversed(high)]),
            name="80 % interval",
            mode="lines",
            line={"width": 0, "color": RED},
            fill="toself",
            fillcolor=FILL,
            hoverinfo="skip",
        )
    )


def _bars(history: Sequence[EpochForecast], unit: Scale) -> dict[str, Any]:
    spans = [h.energy_kwh for h in history]
    return {
        "type": "data",
        "symmetric": False,
        "array": unit.all(max(0.0, (s.p90 if s.p90 is not None else s.point) - s.point) for s in spans),
        "arrayminus": unit.all(max(0.0, s.point - (s.p10 if s.p10 is not None else s.point)) for s in spans),
    }


def _words(history: Sequence[EpochForecast], actual: float | None, step: str) -> str:
    if not history:
        return "No epoch has ended yet."
    first, last = history[0], history[-1]
    said = f"Expected {display.energy(first.energy_kwh.point)} after {step} {first.epoch:,g}"
    if len(history) > 1:
        said += f", {display.energy(last.energy_kwh.point)} after {step} {last.epoch:,g}"
    return said + (f"; it was {display.energy(actual)}." if actual is not None else ".")
