"""Budgets as bars in percent of their limits, with the stages at which alerts are raised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard import display
from dashboard.charts.base import BLACK, BLUE, GRID, ORANGE, Chart, laid_out, pattern
from dashboard.store.budgets import Budget
from dashboard.text import for_plotly, shortened

STAGES = (50, 80, 90, 100)
TOP = 30
# The axis ends here however far beyond its limit a budget is; the numbers stand in the table.
END, LEAST, LONG = 250.0, 112.0, 180.0
MONEY_DIGITS = 4
# Of the height of a row.
BAR = 0.55


def amount(value: float | None, unit: str | None) -> str:
    """An amount in the unit of a budget: kWh and kg scaled, money as it is."""
    if unit == "kWh":
        return display.energy(value)
    if unit == "kg":
        return display.co2e(value)
    return (
        display.NOT_KNOWN if value is None else f"{display.figures(value, MONEY_DIGITS)} {unit or ''}".strip()
    )


def bars(budgets: Sequence[Budget]) -> Chart:
    """Spent and expected as percent of the limit, one bar a budget; the interval is the 80 % one."""
    shown = budgets[:TOP]
    spent = [b.share(b.status.actual) if b.status else None for b in shown]
    ahead = [b.status.forecast if b.status else None for b in shown]
    points = [b.share(f.point) if f else None for b, f in zip(shown, ahead, strict=True)]
    low = [b.share(f.p10) if f else None for b, f in zip(shown, ahead, strict=True)]
    high = [b.share(f.p90) if f else None for b, f in zip(shown, ahead, strict=True)]
    end = min(END, max([LEAST, *(1.05 * v for v in (*spent, *points, *high) if v is not None)]))
    rows = list(range(len(shown)))
    figure = go.Figure()
    figure.add_trace(_bar(rows, spent, [0.0] * len(rows), "Spent", {"color": BLUE}, end))
    hatched = {"color": ORANGE, "pattern": pattern(1)}
    figure.add_trace(_bar(rows, points, [s or 0.0 for s in spent], "Expected until the end", hatched, end))
    figure.add_trace(_interval(rows, points, low, high, end))
    for stage in STAGES:
        line = {"color": BLACK, "width": 2 if stage == 100 else 1, "dash": "solid" if stage == 100 else "dot"}
        figure.add_vline(x=stage, line=line)
    laid_out(figure, 110 + 46 * max(1, len(shown))).update_layout(barmode="overlay", hovermode="closest")
    figure.update_xaxes(
        title_text="Percent of the limit",
        range=[0, end],
        # On a narrow screen 90, and on a long axis 80, has no room beside 100; their lines tell.
        tickvals=[
            0,
            *((50, 80, 100) if end <= LONG else (50, 100)),
            *(v for v in (150, 200, 250) if v <= end),
        ],
        tickangle=0,
        showgrid=True,
        gridcolor=GRID,
    )
    names = [for_plotly(b.name, 26) for b in shown]
    figure.update_yaxes(tickvals=rows, ticktext=names, range=[len(shown) - 0.4, -0.6], showgrid=False)
    return Chart(figure, _words(budgets, end), _table(budgets))


def _cut(value: float, end: float) -> float:
    """A value where it can be drawn: a browser is busy for long with a pattern of a huge width."""
    return min(max(value, 0.0), 2 * end)


def _bar(
    rows: Sequence[int],
    to: Sequence[float | None],
    base: Sequence[float],
    name: str,
    marker: dict[str, Any],
    end: float,
) -> go.Bar:
    """Bars from `base` to `to` percent."""
    known = [(row, _cut(a, end), b) for row, a, b in zip(rows, base, to, strict=True) if b is not None]
    return go.Bar(
        x=[max(0.0, _cut(b, end) - a) for _, a, b in known],
        y=[row for row, _, _ in known],
        base=[a for _, a, _ in known],
        customdata=[b for _, _, b in known],
        orientation="h",
        # Else a trace of a single bar makes it as wide as the axis lets it.
        width=BAR,
        name=name,
        marker=marker | {"line": {"width": 0}},
        hovertemplate="%{customdata:.3g} % of the limit",
    )


def _interval(
    rows: Sequence[int],
    points: Sequence[float | None],
    low: Sequence[float | None],
    high: Sequence[float | None],
    end: float,
) -> go.Scatter:
    known = [
        (row, p, p if a is None else a, p if b is None else b)
        for row, p, a, b in zip(rows, points, low, high, strict=True)
        if p is not None
    ]
    return go.Scatter(
        x=[_cut(p, end) for _, p, _, _ in known],
        y=[row for row, _, _, _ in known],
        customdata=[p for _, p, _, _ in known],
        mode="markers",
        name="Forecast, 80 % interval",
        marker={"color": BLACK, "symbol": "diamond", "size": 10, "line": {"width": 1, "color": "white"}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, _cut(b, end) - _cut(p, end)) for _, p, _, b in known],
            "arrayminus": [max(0.0, _cut(p, end) - _cut(a, end)) for _, p, a, _ in known],
            "color": BLACK,
            "thickness": 1.5,
            "width": 5,
        },
        hovertemplate="%{customdata:.3g} % of the limit",
    )


def _words(budgets: Sequence[Budget], end: float) -> str:
    risky = [b for b in budgets if b.at_risk]
    said = f"{len(budgets)} {'budget' if len(budgets) == 1 else 'budgets'}, {len(risky)} at risk"
    for b in risky[:3]:
        spent = b.share(b.status.actual) if b.status else None
        chance = b.status.probability if b.status else None
        part = f"{display.figures(spent)} % spent" if spent is not None else "spent not known"
        part += f", break probability {100 * chance:.0f} %" if chance is not None else ""
        said += f"; {shortened(b.name)}: {part}"
    highest = max((b.share(b.status.actual) or 0.0 for b in budgets if b.status), default=0.0)
    said += ". Bars beyond the axis are cut" if highest > end else ""
    said += f". Drawn: the first {TOP}" if len(budgets) > TOP else ""
    return f"{said}."


def _table(budgets: Sequence[Budget]) -> dict[str, Sequence[Any]]:
    states = [b.status for b in budgets]
    ends = [s.forecast if s else None for s in states]
    pairs = list(zip(budgets, ends, strict=True))
    return {
        "Budget": [b.name for b in budgets],
        "Unit": [b.unit for b in budgets],
        "Limit": [b.limit for b in budgets],
        "Spent": [s.actual if s else None for s in states],
        "Spent (%)": [b.share(s.actual) if s else None for b, s in zip(budgets, states, strict=True)],
        "Forecast": [f.point if f else None for f in ends],
        "Forecast (%)": [b.share(f.point) if f else None for b, f in pairs],
        "P10": [f.p10 if f else None for f in ends],
        "P90": [f.p90 if f else None for f in ends],
    }
