"""Charts of one run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard import display
from dashboard.charts.base import BLUE, GREEN, GRID, ORANGE, PINK, Chart, bar_marker, laid_out
from dashboard.display import ENERGY, POWER, scale_for
from dashboard.power import Segment, Step
from dashboard.store.rows import Energy, RunPoint

MEASURES = {"loss": "Loss", "accuracy": "Accuracy"}
# The height of a chart of two rows, and of three.
HEIGHTS = (400, 560)


def over_time(pieces: Sequence[Segment], points: Sequence[RunPoint], measure: str) -> Chart:
    """Power, cumulative energy, and loss or accuracy over event time, one unit per axis."""
    unit_p = scale_for(POWER, (piece.power_w for piece in pieces))
    known = [(p.at, p.energy_kwh) for p in points if p.energy_kwh is not None]
    sums = list(accumulate(value for _, value in known))
    unit_e = scale_for(ENERGY, sums)
    marks = [(p.at, getattr(p, measure)) for p in points if getattr(p, measure) is not None]
    titles = [f"Power ({unit_p.unit})", f"Energy so far ({unit_e.unit})"]
    figure = _rows([*titles, MEASURES[measure]] if marks else titles)
    both = len({piece.estimated for piece in pieces if piece.power_w is not None}) > 1
    for estimated in (False, True):
        x, y = _stairs(pieces, estimated)
        if x:
            name = "estimated" if estimated else "measured"
            line = {
                "color": ORANGE if estimated else BLUE,
                "width": 2,
                "dash": "dot" if estimated and both else "solid",
            }
            trace = go.Scatter(
                x=x,
                y=unit_p.all(y),
                name=f"Power, {name}",
                mode="lines",
                line=line,
                connectgaps=False,
                hovertemplate=f"%{{y:.4g}} {unit_p.unit}",
            )
            figure.add_trace(trace, row=1, col=1)
    _shade_gaps(figure, pieces)
    x, y = _broken([at for at, _ in known], unit_e.all(sums), pieces)
    figure.add_trace(_line(x, y, "Energy so far", GREEN, "dash", unit_e.unit), row=2, col=1)
    if marks:
        x, y = _broken([at for at, _ in marks], [value for _, value in marks], pieces)
        _add_measure(figure, x, y, measure)
    figure.update_xaxes(type="date")
    figure.update_xaxes(title_text="Event time (UTC)", row=3 if marks else 2, col=1)
    summary = _summary(pieces, sums, [value for _, value in marks], measure)
    table: dict[str, Sequence[Any]] = {
        "Interval ends (UTC)": [display.day_and_time(p.at) for p in points],
        f"Energy ({unit_e.unit})": unit_e.all(p.energy_kwh for p in points),
        "Covered (s)": [p.covered_s for p in points],
        "Loss": [p.loss for p in points],
        "Accuracy": [p.accuracy for p in points],
        "Epoch": [p.epoch for p in points],
        "Step": [p.step for p in points],
        "Measurement": [display.known(p.measurement) for p in points],
    }
    return Chart(_in_rows(figure, bool(marks), measure), summary, table)


def over_progress(steps: Sequence[Step], axis: str, measure: str) -> Chart:
    """The same over steps or epochs."""
    unit_p = scale_for(POWER, (step.power_w for step in steps))
    x = [step.x for step in steps]
    sums = list(accumulate(step.energy_kwh or 0.0 for step in steps))
    unit_e = scale_for(ENERGY, sums)
    values = [getattr(step, measure) for step in steps]
    known = [value for value in values if value is not None]
    titles = [f"Power ({unit_p.unit})", f"Energy so far ({unit_e.unit})"]
    figure = _rows([*titles, MEASURES[measure]] if known else titles)
    power = _line(x, unit_p.all(step.power_w for step in steps), "Power", BLUE, "solid", unit_p.unit)
    figure.add_trace(power, row=1, col=1)
    figure.add_trace(_line(x, unit_e.all(sums), "Energy so far", GREEN, "dash", unit_e.unit), row=2, col=1)
    if known:
        _add_measure(figure, x, values, measure)
    figure.update_xaxes(title_text=axis.capitalize(), row=3 if known else 2, col=1)
    ends = f"{axis} {x[0]:,g} to {x[-1]:,g}" if x else f"no {axis} known"
    summary = f"Over {ends}: {display.energy(sums[-1] if sums else None)} used{_trend(known, measure)}."
    table: dict[str, Sequence[Any]] = {
        axis.capitalize(): x,
        f"Energy ({unit_e.unit})": unit_e.all(step.energy_kwh for step in steps),
        f"Mean power ({unit_p.unit})": unit_p.all(step.power_w for step in steps),
        "Loss": [step.loss for step in steps],
        "Accuracy": [step.accuracy for step in steps],
    }
    return Chart(_in_rows(figure, bool(known), measure), summary, table)


def devices(energy: Energy) -> Chart | None:
    """Energy by device as one bar; what no device was named for is `other`. None if nothing is known."""
    parts = [
        ("CPU", energy.cpu_energy_kwh),
        ("GPU", energy.gpu_energy_kwh),
        ("Memory", energy.ram_energy_kwh),
    ]
    known = [(name, value) for name, value in parts if value is not None]
    if not known:
        return None
    rest = (energy.energy_kwh or 0.0) - sum(value for _, value in known)
    if energy.energy_kwh and rest > 1e-6 * energy.energy_kwh:
        known.append(("Other", rest))
    whole = sum(value for _, value in known)
    unit = scale_for(ENERGY, (value for _, value in known))
    figure = go.Figure()
    for number, (name, value) in enumerate(known):
        figure.add_trace(
            go.Bar(
                x=[unit.of(value)],
                y=[""],
                name=name,
                orientation="h",
                marker=bar_marker(number),
                hovertemplate=f"%{{x:.4g}} {unit.unit}",
            )
        )
    laid_out(figure, 150).update_layout(barmode="stack", hovermode="closest", bargap=0.3)
    figure.update_xaxes(title_text=f"Energy ({unit.unit})", showgrid=True, gridcolor=GRID)
    figure.update_yaxes(showticklabels=False)
    words = [f"{name} {display.energy(value)} ({display.share(value, whole)})" for name, value in known]
    table: dict[str, Sequence[Any]] = {
        "Device": [name for name, _ in known],
        f"Energy ({unit.unit})": unit.all(value for _, value in known),
        "Share": [display.share(value, whole) for _, value in known],
    }
    return Chart(figure, f"By device: {', '.join(words)}.", table)


def _rows(titles: Sequence[str]) -> go.Figure:
    """One row per title, the first one higher, over one x axis."""
    figure = make_subplots(
        rows=len(titles),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        row_heights=[0.4, *(0.3 for _ in titles[1:])],
    )
    for row, title in enumerate(titles, start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    return figure


def _in_rows(figure: go.Figure, has_measure: bool, measure: str) -> go.Figure:
    """The common look; accuracies are all near the top of what begins at zero."""
    laid_out(figure, HEIGHTS[has_measure])
    if has_measure and measure == "accuracy":
        figure.update_yaxes(rangemode="normal", row=3, col=1)
    return figure


def _line(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, dash: str, unit: str) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        name=name,
        mode="lines",
        line={"color": colour, "width": 2, "dash": dash},
        hovertemplate=f"%{{y:.4g}} {unit}",
    )


def _add_measure(figure: go.Figure, x: Sequence[Any], y: Sequence[Any], measure: str) -> None:
    mode = "lines+markers" if len(x) <= 200 else "lines"
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            name=MEASURES[measure],
            mode=mode,
            line={"color": PINK, "width": 2},
            marker={"size": 4, "symbol": "diamond"},
            hovertemplate="%{y:.4g}",
        ),
        row=3,
        col=1,
    )


def _stairs(pieces: Sequence[Segment], estimated: bool) -> tuple[list[datetime], list[float | None]]:
    """Corners of the stairs of one kind of power; None where there is none of the kind."""
    x: list[datetime] = []
    y: list[float | None] = []
    open_end = False
    for piece in pieces:
        if piece.power_w is not None and piece.estimated == estimated:
            x += [piece.start, piece.end]
            y += [piece.power_w, piece.power_w]
            open_end = True
        elif open_end:
            x.append(piece.start)
            y.append(None)
            open_end = False
    return x, y


def _broken(
    x: Sequence[datetime], y: Sequence[float | None], pieces: Sequence[Segment]
) -> tuple[list[datetime], list[float | None]]:
    """A line with a hole at every gap: a None between the points before and after it."""
    marks: list[tuple[datetime, int, float | None]] = [(at, 0, value) for at, value in zip(x, y, strict=True)]
    # The last point before a gap stands at the gap's start, so the hole comes just after it.
    marks += [(piece.start, 1, None) for piece in pieces if piece.power_w is None]
    marks.sort(key=lambda mark: mark[:2])
    return [at for at, _, _ in marks], [value for _, _, value in marks]


def _shade_gaps(figure: go.Figure, pieces: Sequence[Segment], at_most: int = 50) -> None:
    widest = sorted((p for p in pieces if p.power_w is None), key=lambda p: -p.length_s)[:at_most]
    for number, piece in enumerate(widest):
        label = {"text": "gap", "font": {"size": 11}, "textposition": "top center"} if number < 3 else None
        figure.add_vrect(
            x0=piece.start,
            x1=piece.end,
            fillcolor="gray",
            opacity=0.14,
            line_width=0,
            label=label,
            row=1,
            col=1,
        )


def _trend(values: Sequence[float], measure: str) -> str:
    if not values:
        return f"; no {measure} logged"
    return f"; {measure} from {display.figures(values[0])} to {display.figures(values[-1])}"


def _summary(pieces: Sequence[Segment], sums: Sequence[float], values: Sequence[float], measure: str) -> str:
    known = [piece for piece in pieces if piece.power_w is not None]
    if not known:
        return f"No energy is known yet{_trend(values, measure)}."
    holes = [piece for piece in pieces if piece.power_w is None]
    guessed = sum(piece.length_s for piece in known if piece.estimated)
    low, high = min(p.power_w or 0.0 for p in known), max(p.power_w or 0.0 for p in known)
    said = (
        f"{display.energy(sums[-1] if sums else None)} used at {display.power(low)} to {display.power(high)}"
    )
    said += _trend(values, measure)
    if holes:
        plural = "gap" if len(holes) == 1 else "gaps"
        said += f"; {len(holes)} {plural}, {display.duration(sum(p.length_s for p in holes))} in all"
    return said + (f"; {display.duration(guessed)} estimated." if guessed else ".")
