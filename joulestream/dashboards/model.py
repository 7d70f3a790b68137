"""What a dashboard says, without Grafana's way of saying it: queries, panels, sections, variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Show(str, Enum):
    """Grafana's kind of panel."""

    STAT = "stat"
    LINES = "timeseries"
    BARS = "bargauge"
    TABLE = "table"


class Unit(str, Enum):
    """Grafana's name of a unit; it scales by itself (mW to MW, g to t)."""

    COUNT = "short"
    JOULE = "joule"
    WATT = "watt"
    WATT_HOUR = "watth"
    GRAM_CO2E = "si:gCO2e"
    GRAM_CO2E_PER_KWH = "suffix: gCO2e/kWh"
    SECOND = "s"
    BYTE = "bytes"
    SHARE = "percentunit"
    PER_SECOND = "cps"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression; `legend` is Grafana's pattern (`{{node}}`) or a plain word."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """From a panel's values to another dashboard. `variables` maps its variable to the label that sets it."""

    title: str
    dashboard: str
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on the colour is this one."""

    value: float
    colour: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the label, or `Value #A` for the first query's value."""

    field: str
    title: str
    unit: Unit = Unit.NONE


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. Stats, bars and tables ask for the value of now, so that nothing old is shown as current."""

    title: str
    description: str
    show: Show
    unit: Unit
    queries: tuple[Query, ...]
    width: int
    height: int = 8
    steps: tuple[Step, ...] = ()
    stacked: bool = False
    least: float | None = 0.0
    most: float | None = None
    decimals: int | None = None
    words: Mapping[str, str] | None = None
    columns: tuple[Column, ...] = ()
    without: str = "no data"
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under one heading, laid out from left to right; `folded` ones are opened by a click."""

    title: str
    panels: tuple[Panel, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label of a metric."""

    name: str
    title: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard. `slug` is its file, and its address in Grafana."""

    slug: str
    title: str
    description: str
    sections: tuple[Section, ...]
    variables: tuple[Variable, ...] = ()
