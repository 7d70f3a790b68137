"""Panels as the dashboards write them, and pieces of PromQL that they share."""

from __future__ import annotations

from collections.abc import Mapping

from joulestream.dashboards.grafana import BAD, WARN
from joulestream.dashboards.model import Column, Link, Panel, Query, Show, Step, Unit
from schemas.units import J_PER_KWH, S_PER_H

RANGE = "$__range"
RATE = "$__rate_interval"
UP = {"0": "down", "1": "up"}
DOWN = (Step(0, BAD), Step(1, "#009E73"))


def stat(
    title: str,
    description: str,
    unit: Unit,
    expr: str,
    legend: str = "",
    *,
    width: int = 4,
    steps: tuple[Step, ...] = (),
    words: Mapping[str, str] | None = None,
    without: str = "no data",
    link: Link | None = None,
) -> Panel:
    """The value of now, in large."""
    return Panel(
        title,
        description,
        Show.STAT,
        unit,
        (Query(expr, legend),),
        width,
        4,
        steps=steps,
        words=words,
        without=without,
        links=(link,) if link else (),
    )


def lines(
    title: str,
    description: str,
    unit: Unit,
    *queries: Query,
    width: int = 12,
    stacked: bool = False,
    steps: tuple[Step, ...] = (),
    most: float | None = None,
    link: Link | None = None,
) -> Panel:
    """Values over time."""
    return Panel(
        title,
        description,
        Show.LINES,
        unit,
        queries,
        width,
        stacked=stacked,
        steps=steps,
        most=most,
        links=(link,) if link else (),
    )


def bars(
    title: str,
    description: str,
    unit: Unit,
    expr: str,
    legend: str,
    *,
    width: int = 8,
    steps: tuple[Step, ...] = (),
    most: float | None = None,
    link: Link | None = None,
) -> Panel:
    """One bar a series, longest first."""
    return Panel(
        title,
        description,
        Show.BARS,
        unit,
        (Query(f"sort_desc({expr})", legend),),
        width,
        steps=steps,
        most=most,
        links=(link,) if link else (),
    )


def table(
    title: str,
    description: str,
    queries: tuple[Query, ...],
    columns: tuple[Column, ...],
    *,
    width: int = 24,
    without: str = "no data",
) -> Panel:
    """One row a series; the value of each query is a column."""
    return Panel(title, description, Show.TABLE, Unit.NONE, queries, width, columns=columns, without=without)


def limits(warn: float, bad: float) -> tuple[Step, ...]:
    """Orange from the first value on, vermilion from the second."""
    return (Step(warn, WARN), Step(bad, BAD))


def once(metric: str, *labels: str) -> str:
    """A metric of the exporter, which may be scraped twice while its pod is replaced."""
    return f"max by ({', '.join(labels)}) ({metric})" if labels else f"max({metric})"


def total(vector: str, *labels: str) -> str:
    """A sum; of a counter's growth, since an exporter that follows another counts on where that one ended."""
    return f"sum by ({', '.join(labels)}) ({vector})" if labels else f"sum({vector})"


def in_range(counter: str, *labels: str) -> str:
    """By how much a counter grew in the range that is shown."""
    return total(f"increase({counter}[{RANGE}])", *labels)


def rate(counter: str, *labels: str) -> str:
    """Growth of a counter per second; of joules: watts."""
    return total(f"rate({counter}[{RATE}])", *labels)


def watt_hours(joules: str) -> str:
    """Joules as watt-hours."""
    return f"{joules} / {S_PER_H:g}"


def grams_per_kwh(grams: str, joules: str) -> str:
    """Mean carbon intensity: a sum over a sum; absent where no energy came."""
    return f"{grams} / ({joules} > 0) * {J_PER_KWH:g}"
