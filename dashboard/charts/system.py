"""Charts of nodes and of the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard import display
from dashboard.charts.base import BLUE, Chart, bar_marker, colour, dash, laid_out
from dashboard.display import POWER, scale_for
from dashboard.store.rows import NodeWindow, Progress
from dashboard.text import for_plotly, shortened
from schemas.units import w_from_kwh

LEAST_LAG = 10
SPLIT = (("attributed", "attributed_kwh"), ("idle", "idle_kwh"), ("unattributed", "unattributed_kwh"))


def node_power(windows: Sequence[NodeWindow]) -> Chart:
    """Mean power of a node per window, stacked by what it was used for. Missing windows are gaps."""
    width_s = (windows[0].end - windows[0].start).total_seconds() if windows else 60.0
    split = [(name, [_mean_w(getattr(window, field), window) for window in windows]) for name, field in SPLIT]
    whole = [_mean_w(window.energy_kwh, window) for window in windows]
    unit = scale_for(POWER, whole)
    figure = go.Figure()
    for number, (name, values) in enumerate(split):
        figure.add_trace(
            go.Bar(
                x=[w.start for w in windows],
                y=unit.all(values),
                width=width_s * 1000,
                offset=0,
                name=name,
                marker=bar_marker(number),
                hovertemplate=f"%{{y:.4g}} {unit.unit}",
            )
        )
    laid_out(figure, 360).update_layout(barmode="stack", bargap=0)
    figure.update_xaxes(title_text="Event time (UTC)")
    figure.update_yaxes(title_text=f"Mean power ({unit.unit})")
    known = [value for value in whole if value is not None]
    summary = "No energy of this node in this range."
    if known:
        low, high = display.power(min(known)), display.power(max(known))
        span = low if low == high else f"Between {low} and {high}"
        windows_of = f"{display.counted(len(known), 'window')} of {display.duration(width_s)}"
        summary = f"{span} over {windows_of}."
    table: dict[str, Sequence[Any]] = {
        "Window starts (UTC)": [display.day_and_time(w.start) for w in windows]
    }
    columns = [("Power", whole), *split]
    table |= {f"{name.capitalize()} ({unit.unit})": unit.all(values) for name, values in columns}
    return Chart(figure, summary, table)


def _mean_w(energy_kwh: float | None, window: NodeWindow) -> float | None:
    if energy_kwh is None or not window.covered_s:
        return None
    return w_from_kwh(energy_kwh, window.covered_s)


def rejected_by_reason(reasons: Sequence[tuple[str, int]]) -> Chart:
    """Rejected messages by reason."""
    figure = go.Figure(
        go.Bar(
            x=[n for _, n in reasons],
            y=list(range(len(reasons))),
            orientation="h",
            marker={"color": BLUE},
            text=[f"{n:,}" for _, n in reasons],
            textposition="outside",
            textangle=0,
            cliponaxis=False,
            hovertemplate="%{x:,}<extra></extra>",
        )
    )
    laid_out(figure, 70 + 32 * max(1, len(reasons)), legend=False).update_layout(
        hovermode="closest", bargap=0.3
    )
    names = [for_plotly(reason) for reason, _ in reasons]
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, autorange="reversed", showgrid=False
    )
    figure.update_xaxes(title_text="Rejected messages", tickformat=",d")
    words = ", ".join(f"{shortened(reason)} {n:,}" for reason, n in reasons[:5])
    summary = f"Rejected by reason: {words}." if reasons else "Nothing was rejected."
    return Chart(figure, summary, {"Reason": [r for r, _ in reasons], "Messages": [n for _, n in reasons]})


def lag(progress: Mapping[str, Sequence[Progress]]) -> Chart:
    """Messages that each query has not read yet, over time."""
    figure = go.Figure()
    for number, (query, batches) in enumerate(progress.items()):
        known = [batch for batch in batches if batch.at is not None]
        figure.add_trace(
            go.Scatter(
                x=[b.at for b in known],
                y=[b.lag for b in known],
                mode="lines",
                name=for_plotly(query),
                line={"color": colour(number), "dash": dash(number), "width": 2, "shape": "hv"},
                hovertemplate="%{y:,}",
            )
        )
    laid_out(figure, 280)
    figure.update_xaxes(title_text="Time (UTC)")
    figure.update_yaxes(title_text="Lag (messages)", tickformat=",d")
    if max((b.lag or 0 for batches in progress.values() for b in batches), default=0) < LEAST_LAG:
        # Messages are whole, and a line at zero would lie on the frame.
        figure.update_yaxes(range=[-0.04 * LEAST_LAG, LEAST_LAG])
    ends = [f"{shortened(query)} {display.count(b[-1].lag)}" for query, b in progress.items() if b]
    rows = [batch for batches in progress.values() for batch in batches]
    table: dict[str, Sequence[Any]] = {
        "Query": [batch.query for batch in rows],
        "At (UTC)": [display.day_and_time(batch.at) for batch in rows],
        "Lag (messages)": [batch.lag for batch in rows],
        "Rows": [batch.rows_in for batch in rows],
        "Batch took (s)": [batch.duration_s for batch in rows],
    }
    return Chart(figure, f"Lag now: {', '.join(ends)}." if ends else "No batch has run yet.", table)
