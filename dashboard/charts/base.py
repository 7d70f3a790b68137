"""What all charts share: colours, shapes beside colours, layout, text alternative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito (2008), "Color Universal Design"; without yellow, which is too pale for lines.
BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    # Grey: at least 3 : 1 on a white and on a dark page.
    "#7A7A7A",
)
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "cross",
    "triangle-up",
    "x",
    "star",
    "pentagon",
    "hexagon",
    "bowtie",
)
PATTERNS = ("", "/", "x", "-", "|", "\\", "+", ".")
GRID = "rgba(128,128,128,0.18)"


Table = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Chart:
    """A figure, what it shows in words (plain text), and its numbers by column."""

    figure: go.Figure
    summary: str
    table: Table


def colour(number: int) -> str:
    """Colour of the n-th series."""
    return COLOURS[number % len(COLOURS)]


def dash(number: int) -> str:
    """Line style of the n-th series: no two of 42 share colour and style."""
    return DASHES[number % len(DASHES)]


def pattern(number: int) -> dict[str, Any]:
    """Fill of the n-th bar series."""
    return {
        "shape": PATTERNS[number % len(PATTERNS)],
        "size": 6,
        "solidity": 0.25,
        "fgcolor": "white",
        "fillmode": "overlay",
    }


def bar_marker(number: int) -> dict[str, Any]:
    """Colour and fill of the n-th bar series."""
    return {"color": colour(number), "pattern": pattern(number), "line": {"width": 0}}


def laid_out(figure: go.Figure, height: int, legend: bool = True, revision: str = "same") -> go.Figure:
    """The common look. A constant `revision` keeps zoom and hidden traces over a refresh."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 28 if legend else 12, "b": 8},
        showlegend=legend,
        legend={
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "x": 0,
            "xanchor": "left",
            "traceorder": "normal",
        },
        hovermode="x unified",
        uirevision=revision,
        bargap=0.08,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13},
    )
    figure.update_xaxes(showgrid=False, automargin=True, title_standoff=8)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, rangemode="tozero", automargin=True, title_standoff=8)
    return figure
