"""Charts of forecasts: the fan ahead, past forecasts against actuals, the weights of the layers, errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import plotly.graph_objects as go

from dashboard import display
from dashboard.charts.base import BLACK, BLUE, RED, Chart, bar_marker, colour, dash, laid_out
from dashboard.display import POWER, Scale, scale_for
from dashboard.store.forecast_rows import Forecast, Past, PastSeries, Score

Point = tuple[datetime, float | None]
# Light and dark: the 80 % interval lies on the 90 % one.
FILLS = {"90": "rgba(213,94,0,0.13)", "80": "rgba(213,94,0,0.26)"}
ENDS = {"90": ("p05", "p95"), "80": ("p10", "p90")}
# A hole longer than this many usual distances between points is a gap.
GAP = 1.5
MARKED = 20
LEAST = timedelta(minutes=10)
LAYERS = {"batch": "Batch model", "speed": "Speed model", "last": "Last value", "seasonal": "Day before"}


def fan(actuals: Sequence[Point], ahead: Sequence[Forecast]) -> Chart:
    """The last actual powers, and the newest forecast of each horizon with its intervals."""
    start = max((f.issued_at for f in ahead), default=None)
    anchor = next((f.last_value for f in ahead if f.issued_at == start and f.last_value is not None), None)
    values = [value for _, value in actuals] + [v for f in ahead for v in (f.point, f.p95)]
    unit = scale_for(POWER, values)
    figure = go.Figure()
    for name, (low, high) in ENDS.items():
        rows = [(f.target_at, getattr(f, low), getattr(f, high)) for f in ahead]
        if start is not None and anchor is not None:
            rows = [(start, anchor, anchor), *rows]
        _add_band(figure, [rows], f"{name} % interval", FILLS[name], unit)
    _add_line(figure, broken(actuals), "Actual", BLUE, "solid", unit)
    points: list[Point] = [(f.target_at, f.point) for f in ahead]
    if start is not None and anchor is not None:
        points = [(start, anchor), *points]
    _add_line(figure, points, "Forecast", RED, "dash", unit, marked=True)
    _dressed(figure, 380, f"Power ({unit.unit})")
    if start is not None:
        figure.add_vline(x=start, line={"color": BLACK, "width": 1, "dash": "dot"})
    table: dict[str, Sequence[Any]] = {
        "Horizon": [display.span(f.horizon_s) for f in ahead],
        "Issued (UTC)": [display.day_and_time(f.issued_at) for f in ahead],
        "Target (UTC)": [display.day_and_time(f.target_at) for f in ahead],
    }
    for name in ("p05", "p10", "point", "p90", "p95"):
        table[f"{name.capitalize()} ({unit.unit})"] = unit.all(getattr(f, name) for f in ahead)
    return Chart(figure, _fan_words(ahead), table)


def _fan_words(ahead: Sequence[Forecast]) -> str:
    ahead = [f for f in ahead if f.point is not None]
    if not ahead:
        return "Nothing is forecast beyond the newest window."
    parts = [
        f"in {display.span(f.horizon_s)} {display.power(f.point)} "
        f"(80 %: {display.power(f.p10)} to {display.power(f.p90)})"
        for f in ahead
    ]
    return f"Expected {'; '.join(parts)}. Issued at {display.moment(max(f.issued_at for f in ahead))}."


def against_actuals(past: PastSeries, drifts: Iterable[datetime] = ()) -> Chart:
    """Forecasts of one horizon with their 80 % interval beside what came; both at the target time."""
    points = past.points
    unit = scale_for(POWER, (v for p in points for v in (p.actual, p.point, p.p90)))
    pieces = contiguous(points)
    figure = go.Figure()
    bands = [[(p.at, p.p10, p.p90) for p in piece] for piece in pieces]
    _add_band(figure, bands, "80 % interval", FILLS["80"], unit)
    _add_line(figure, broken([(p.at, p.actual) for p in points]), "Actual", BLUE, "solid", unit)
    _add_line(figure, broken([(p.at, p.point) for p in points]), "Forecast", RED, "dash", unit)
    _mark_drifts(figure, drifts)
    _dressed(figure, 340, f"Power ({unit.unit})")
    _at_least(figure, [p.at for p in points])
    n, n_joined = sum(p.n for p in points), sum(p.n_joined for p in points)
    summary = "No forecast has its target in this range."
    if points:
        met = "has its" if n_joined == 1 else "have their"
        summary = f"{display.counted(n, 'forecast')}, of which {n_joined:,} {met} actual"
        holes = len(pieces) - 1
        summary += f"; {holes} {'gap' if holes == 1 else 'gaps'}" if holes else ""
        joint = n > len(points)
        summary += f". Each point is a mean over {display.duration(past.width_s)}." if joint else "."
    table: dict[str, Sequence[Any]] = {"Target (UTC)": [display.day_and_time(p.at) for p in points]}
    for name in ("actual", "point", "p05", "p10", "p50", "p90", "p95"):
        title = "Forecast" if name == "point" else name.capitalize()
        table[f"{title} ({unit.unit})"] = unit.all(getattr(p, name) for p in points)
    return Chart(figure, summary, table)


def weights(past: PastSeries, drifts: Iterable[datetime] = ()) -> Chart:
    """How much each layer had to say, over time; drift alarms are marked."""
    drifts = list(drifts)
    series: dict[str, list[Point]] = {}
    for point in past.points:
        given = dict(point.weights)
        for layer in LAYERS:
            value = given.get(layer)
            series.setdefault(layer, []).append((point.at, None if value is None else 100 * value))
    known = {layer: line for layer, line in series.items() if any(v is not None for _, v in line)}
    figure = go.Figure()
    percent = Scale("%", 1.0)
    for number, (layer, line) in enumerate(known.items()):
        _add_line(figure, broken(line), LAYERS[layer], colour(number), dash(number), percent)
    _mark_drifts(figure, drifts)
    _dressed(figure, 280, "Weight (%)")
    _at_least(figure, [p.at for p in past.points])
    figure.update_yaxes(range=[0, 104])
    last = {layer: next(v for _, v in reversed(line) if v is not None) for layer, line in known.items()}
    words = ", ".join(f"{LAYERS[layer].lower()} {value:.0f} %" for layer, value in last.items())
    summary = f"Weights last: {words}." if words else "No weights are known in this range."
    if drifts:
        summary += f" Drift alarm at {', '.join(display.moment(at) for at in sorted(drifts)[-3:])}."
    table: dict[str, Sequence[Any]] = {"Target (UTC)": [display.day_and_time(p.at) for p in past.points]}
    table |= {f"{LAYERS[layer]} (%)": [value for _, value in line] for layer, line in known.items()}
    return Chart(figure, summary, table)


def errors(scores: Mapping[str, Score]) -> Chart:
    """Mean absolute error of the served forecasts beside strong naive, per span of time."""
    known = {span: score for span, score in scores.items() if score.n}
    unit = scale_for(POWER, (v for s in known.values() for v in (s.served_mae, s.naive_mae)))
    pairs = (
        ("Served", [score.served_mae for score in known.values()]),
        ("Strong naive", [score.naive_mae for score in known.values()]),
    )
    figure = go.Figure()
    for number, (name, values) in enumerate(pairs):
        figure.add_trace(
            go.Bar(
                x=[f"last {span}" for span in known],
                y=unit.all(values),
                name=name,
                marker=bar_marker(number),
                text=[display.figures(value) for value in unit.all(values)],
                textposition="outside",
                cliponaxis=False,
                hovertemplate=f"%{{y:.4g}} {unit.unit}",
            )
        )
    laid_out(figure, 300).update_layout(barmode="group", bargap=0.35)
    figure.update_yaxes(title_text=f"Mean absolute error ({unit.unit})")
    words = [
        f"last {span}: {display.figures(score.ratio)} of strong naive ({display.counted(score.n, 'forecast')})"
        for span, score in known.items()
    ]
    summary = f"Error, {'; '.join(words)}." if words else "No forecast has its actual yet."
    table: dict[str, Sequence[Any]] = {
        "Span": [f"last {span}" for span in scores],
        "Forecasts": [score.n for score in scores.values()],
        f"Served ({unit.unit})": unit.all(score.served_mae for score in scores.values()),
        f"Strong naive ({unit.unit})": unit.all(score.naive_mae for score in scores.values()),
        "Better naive": [score.naive_name if score.n else None for score in scores.values()],
        "Ratio": [score.ratio for score in scores.values()],
    }
    return Chart(figure, summary, table)


def contiguous(points: Sequence[Past]) -> list[list[Past]]:
    """Points without a gap between them, piece by piece."""
    longest = GAP * usual_s([point.at for point in points])
    pieces: list[list[Past]] = []
    for point in points:
        if not pieces or (point.at - pieces[-1][-1].at).total_seconds() > longest:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def usual_s(times: Sequence[datetime]) -> float:
    """The usual distance between neighbours (s)."""
    distances = [(b - a).total_seconds() for a, b in pairwise(times)]
    return median(distances) if distances else 60.0


def broken(points: Sequence[Point]) -> list[Point]:
    """A line with a hole at every gap: a None after the point before it."""
    longest = GAP * usual_s([at for at, _ in points])
    found: list[Point] = []
    for at, value in points:
        if found and (at - found[-1][0]).total_seconds() > longest:
            found.append((found[-1][0] + timedelta(milliseconds=1), None))
        found.append((at, value))
    return found


def _add_line(
    figure: go.Figure,
    points: Sequence[Point],
    name: str,
    shade: str,
    style: str,
    unit: Scale,
    marked: bool = False,
) -> None:
    few = marked or len(points) <= 3
    figure.add_trace(
        go.Scatter(
            x=[at for at, _ in points],
            y=unit.all(value for _, value in points),
            name=name,
            mode="lines+markers" if few else "lines",
            line={"color": shade, "width": 2, "dash": style},
            marker={"size": 7, "symbol": "diamond" if marked else "circle"},
            connectgaps=False,
            hovertemplate=f"%{{y:.4g}} {unit.unit}",
        )
    )


def _add_band(
    figure: go.Figure,
    pieces: Iterable[Sequence[tuple[datetime, float | None, float | None]]],
    name: str,
    fill: str,
    unit: Scale,
) -> None:
    """Polygons, one a piece: a filled line would run over the gaps."""
    x: list[datetime | None] = []
    y: list[float | None] = []
    for piece in pieces:
        known = [(at, low, high) for at, low, high in piece if low is not None and high is not None]
        if known:
            x += [*(at for at, _, _ in known), *(at for at, _, _ in reversed(known)), None]
            y += unit.all([*(low for _, low, _ in known), *(high for _, _, high in reversed(known)), None])
    line = {"width": 0, "color": RED}
    trace = go.Scatter(
        x=x, y=y, name=name, mode="lines", line=line, fill="toself", fillcolor=fill, hoverinfo="skip"
    )
    figure.add_trace(trace)


def _at_least(figure: go.Figure, times: Sequence[datetime]) -> None:
    """An axis of some minutes: of a single point it would count milliseconds."""
    if times and max(times) - min(times) < LEAST:
        middle = min(times) + (max(times) - min(times)) / 2
        figure.update_xaxes(range=[middle - LEAST / 2, middle + LEAST / 2])


def _mark_drifts(figure: go.Figure, drifts: Iterable[datetime]) -> None:
    for at in sorted(drifts)[-MARKED:]:
        figure.add_vline(x=at, line={"color": BLACK, "width": 1.5, "dash": "dashdot"})
        figure.add_annotation(
            x=at, y=1, yref="paper", text="drift", showarrow=False, xanchor="right", font={"size": 11}
        )


def _dressed(figure: go.Figure, height: int, title: str) -> None:
    laid_out(figure, height)
    # An interval is narrow beside the level: the axis begins where the data do.
    figure.update_yaxes(title_text=title, rangemode="normal")
    figure.update_xaxes(title_text="Event time (UTC)")
