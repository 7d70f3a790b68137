"""Charts over many runs: energy over time, by user or model, comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from dashboard import display
from dashboard.charts.base import (
    BLACK,
    BLUE,
    COLOURS,
    GRID,
    SYMBOLS,
    Chart,
    bar_marker,
    colour,
    dash,
    laid_out,
    pattern,
)
from dashboard.display import ENERGY, scale_for
from dashboard.store.rows import Group, Run, RunPoint, Window
from dashboard.text import for_plotly, shortened

TOP = 12
STACKED = 6
# Energies further apart than this are drawn on a logarithmic axis.
WIDE = 30.0
# Beside the longest bar its text has room.
ROOM = 1.3


def energy_over_time(windows: Sequence[Window], final_before: datetime | None) -> Chart:
    """Energy per window of everything; hatched where the window can still grow. Missing windows are gaps."""
    unit = scale_for(ENERGY, (window.energy_kwh for window in windows))
    width_s = (windows[0].end - windows[0].start).total_seconds() if windows else 60.0
    figure = go.Figure()
    for is_final in (True, False):
        some = [w for w in windows if (final_before is not None and w.end <= final_before) == is_final]
        if some:
            shape = pattern(0 if is_final else 1)
            figure.add_trace(
                go.Bar(
                    x=[w.start for w in some],
                    y=unit.all(w.energy_kwh for w in some),
                    width=width_s * 920,
                    offset=0,
                    name="final" if is_final else "can still grow",
                    marker={"color": BLUE, "pattern": shape},
                    hovertemplate=f"%{{y:.4g}} {unit.unit}",
                )
            )
    laid_out(figure, 300).update_layout(barmode="overlay")
    figure.update_xaxes(title_text="Event time (UTC)")
    figure.update_yaxes(title_text=f"Energy ({unit.unit}) per {display.duration(width_s)}")
    known = [(w.energy_kwh, w.start) for w in windows if w.energy_kwh is not None]
    summary = "No energy in this range."
    if known:
        most, at = max(known)
        summary = (
            f"{display.energy(sum(e for e, _ in known))} in {len(known)} windows "
            f"of {display.duration(width_s)}; "
            f"the largest is {display.energy(most)} at {display.moment(at)}."
        )
    table: dict[str, Sequence[Any]] = {
        "Window starts (UTC)": [display.day_and_time(w.start) for w in windows],
        f"Energy ({unit.unit})": unit.all(w.energy_kwh for w in windows),
        "Events": [w.n_events for w in windows],
    }
    return Chart(figure, summary, table)


def by_group(groups: Sequence[Group], what: str) -> Chart:
    """Energy of the largest users, models or regions as bars; the others together."""
    known = [group for group in groups if group.energy_kwh is not None]
    rows = [(display.known(g.key), g.energy_kwh or 0.0) for g in known[:TOP]]
    if known[TOP:]:
        rows.append((f"{len(known) - TOP} others", sum(g.energy_kwh or 0.0 for g in known[TOP:])))
    unit = scale_for(ENERGY, (value for _, value in rows))
    figure = go.Figure(
        go.Bar(
            x=unit.all(value for _, value in rows),
            y=list(range(len(rows))),
            orientation="h",
            marker={"color": BLUE},
            hoverinfo="skip",
        )
    )
    # Texts apart from the bars: of a bar that is too short to be drawn Plotly shows none.
    figure.add_trace(
        go.Scatter(
            x=unit.all(value for _, value in rows),
            y=list(range(len(rows))),
            mode="text",
            text=[f" {display.energy(value)}" for _, value in rows],
            textposition="middle right",
            cliponaxis=False,
            hovertemplate="%{text}<extra></extra>",
        )
    )
    laid_out(figure, 60 + 34 * max(len(rows), 1), legend=False).update_layout(hovermode="closest", bargap=0.3)
    longest = unit.of(max((value for _, value in rows), default=0.0)) or 1.0
    figure.update_xaxes(title_text=f"Energy ({unit.unit})", range=[0, ROOM * longest])
    names = [for_plotly(name, 26) for name, _ in rows]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, autorange="reversed", showgrid=False)
    whole = sum(value for _, value in rows)
    words = [f"{shortened(name)} {display.energy(v)} ({display.share(v, whole)})" for name, v in rows[:3]]
    summary = f"Energy by {what}: {', '.join(words)}." if words else f"No energy of any {what} in this range."
    return Chart(
        figure,
        summary,
        {what.capitalize(): [n for n, _ in rows], f"Energy ({unit.unit})": unit.all(v for _, v in rows)},
    )


def groups_over_time(windows: Sequence[Window], groups: Sequence[Group], what: str) -> Chart:
    """Energy per window, stacked by the largest groups; the others together."""
    top = [group.key for group in groups[:STACKED]]
    width_s = (windows[0].end - windows[0].start).total_seconds() if windows else 60.0
    series: dict[str | None, dict[datetime, float]] = {}
    rest: dict[datetime, float] = {}
    for window in windows:
        if window.energy_kwh is not None:
            into = series.setdefault(window.key, {}) if window.key in top else rest
            into[window.start] = into.get(window.start, 0.0) + window.energy_kwh
    named = [(display.known(key), series[key]) for key in top if key in series]
    named += [("others", rest)] if rest else []
    starts = sorted({window.start for window in windows})
    sums = {start: sum(values.get(start, 0.0) for _, values in named) for start in starts}
    unit = scale_for(ENERGY, sums.values())
    figure = go.Figure()
    for number, (name, values) in enumerate(named):
        figure.add_trace(
            go.Bar(
                x=list(values),
                y=unit.all(values.values()),
                width=width_s * 920,
                offset=0,
                name=for_plotly(name, 24),
                marker=bar_marker(number),
                hovertemplate=f"%{{y:.4g}} {unit.unit}",
            )
        )
    laid_out(figure, 340).update_layout(barmode="stack")
    figure.update_xaxes(title_text="Event time (UTC)")
    figure.update_yaxes(title_text=f"Energy ({unit.unit}) per {display.duration(width_s)}")
    table: dict[str, Sequence[Any]] = {
        "Window starts (UTC)": [display.day_and_time(start) for start in starts]
    }
    table |= {f"{name} ({unit.unit})": unit.all(v.get(s) for s in starts) for name, v in named}
    summary = (
        f"Energy per {display.duration(width_s)} by {what}, {len(named)} series over {len(starts)} windows."
    )
    return Chart(figure, summary, table)


def pareto(runs: Sequence[Run]) -> list[Run]:
    """Runs that no other beats in accuracy with as little energy, by energy."""
    best: list[Run] = []
    known = [run for run in runs if run.energy_kwh is not None and run.best_accuracy is not None]
    for run in sorted(known, key=lambda r: (r.energy_kwh or 0.0, -(r.best_accuracy or 0.0))):
        if not best or (run.best_accuracy or 0.0) > (best[-1].best_accuracy or 0.0):
            best.append(run)
    return best


def accuracy_and_energy(runs: Sequence[Run]) -> Chart:
    """Best accuracy over energy, one mark per run, with the line of those that no other beats."""
    known = [run for run in runs if run.energy_kwh is not None and run.best_accuracy is not None]
    front = pareto(known)
    unit = scale_for(ENERGY, (run.energy_kwh for run in known))
    figure = go.Figure()
    if len(front) > 1:
        x, y = unit.all(run.energy_kwh for run in front), [run.best_accuracy for run in front]
        line = {"color": BLACK, "width": 1.5, "dash": "dot", "shape": "hv"}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", name="Pareto line", line=line, hoverinfo="skip"))
    for number, run in enumerate(known):
        marker = {
            "color": COLOURS[number % len(COLOURS)],
            "symbol": SYMBOLS[number % len(SYMBOLS)],
            "size": 13,
        }
        figure.add_trace(
            go.Scatter(
                x=[unit.of(run.energy_kwh)],
                y=[run.best_accuracy],
                mode="markers",
                marker=marker,
                name=for_plotly(run.run_id),
                hovertemplate=f"%{{x:.4g}} {unit.unit}, accuracy %{{y:.4g}}",
            )
        )
    laid_out(figure, 380).update_layout(hovermode="closest")
    figure.update_xaxes(title_text=f"Energy ({unit.unit})", rangemode="tozero", showgrid=True, gridcolor=GRID)
    energies = [run.energy_kwh for run in known if run.energy_kwh]
    if len(energies) == len(known) > 1 and max(energies) > WIDE * min(energies):
        figure.update_xaxes(
            type="log", title_text=f"Energy ({unit.unit}, logarithmic)", dtick=1, exponentformat="power"
        )
    accuracies = [run.best_accuracy or 0.0 for run in known] or [0.0, 1.0]
    pad = max(0.08 * (max(accuracies) - min(accuracies)), 0.01 * max(map(abs, accuracies)), 1e-3)
    span = [min(accuracies) - pad, max(accuracies) + pad]
    figure.update_yaxes(title_text="Best accuracy", range=span, rangemode="normal")
    best = ", ".join(shortened(run.run_id) for run in front)
    missing = len(runs) - len(known)
    summary = f"On the Pareto line, by energy: {best}." if front else "No run has both energy and accuracy."
    summary += f" Not drawn, as energy or accuracy is not known: {missing}." if missing and front else ""
    table: dict[str, Sequence[Any]] = {
        "Run": [run.run_id for run in known],
        f"Energy ({unit.unit})": unit.all(run.energy_kwh for run in known),
        "Best accuracy": [run.best_accuracy for run in known],
        "On the Pareto line": [run in front for run in known],
    }
    return Chart(figure, summary, table)


def measure_over_energy(series: Mapping[str, Sequence[RunPoint]], measure: str) -> Chart:
    """Loss or accuracy over the energy used so far, one line per run."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for run_id, points in series.items():
        used = list(accumulate(point.energy_kwh or 0.0 for point in points))
        pairs = [(e, getattr(p, measure)) for e, p in zip(used, points, strict=True)]
        known = [(e, value) for e, value in pairs if value is not None]
        if known:
            lines[run_id] = ([e for e, _ in known], [value for _, value in known])
    unit = scale_for(ENERGY, (x[-1] for x, _ in lines.values()))
    figure = go.Figure()
    for number, (run_id, (x, y)) in enumerate(lines.items()):
        figure.add_trace(
            go.Scatter(
                x=unit.all(x),
                y=y,
                mode="lines",
                name=for_plotly(run_id),
                line={"color": colour(number), "dash": dash(number), "width": 2},
                hovertemplate=f"%{{y:.4g}} at %{{x:.4g}} {unit.unit}",
            )
        )
    laid_out(figure, 340).update_layout(hovermode="closest")
    figure.update_xaxes(title_text=f"Energy so far ({unit.unit})", rangemode="tozero")
    ends_at = [x[-1] for x, _ in lines.values()]
    if len(ends_at) > 1 and max(ends_at) > WIDE * min(ends_at) and all(x[0] > 0 for x, _ in lines.values()):
        title = f"Energy so far ({unit.unit}, logarithmic)"
        figure.update_xaxes(type="log", title_text=title, dtick=1, exponentformat="power")
    figure.update_yaxes(title_text=measure.capitalize(), rangemode="normal")
    ends = [
        f"{shortened(run_id)} {display.figures(y[-1])} after {display.energy(x[-1])}"
        for run_id, (x, y) in lines.items()
    ]
    summary = f"Last {measure}: {'; '.join(ends)}." if ends else f"None of these runs logged a {measure}."
    table: dict[str, Sequence[Any]] = {
        "Run": [run_id for run_id, (x, _) in lines.items() for _ in x],
        f"Energy so far ({unit.unit})": [unit.of(e) for x, _ in lines.values() for e in x],
        measure.capitalize(): [value for _, y in lines.values() for value in y],
    }
    return Chart(figure, summary, table)
