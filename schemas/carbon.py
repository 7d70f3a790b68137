"""Carbon intensity of electricity by country, each value with its source, year, kind and scope.

The table `data/grid_intensity.json` is the country table of codecarbon's package data (MIT; figures of Our
World in Data and Ember, CC-BY-4.0), with ISO 3166 alpha-2 codes beside the alpha-3 ones. Order of fallback:
a value given with the event, then the country, then the world average, each named in `source`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Intensity:
    """Grid intensity in g CO2e per kWh, and where it comes from. `zone` is alpha-3, or `world`."""

    g_per_kwh: float
    source: str
    year: int
    kind: str
    scope: str
    zone: str


@cache
def table() -> dict[str, Any]:
    """The committed table: `source`, `kind`, `scope`, `fallback` and `countries` by alpha-3 code."""
    text = resources.files("schemas").joinpath("data/grid_intensity.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _alpha_3() -> dict[str, str]:
    codes = {entry["alpha_2"]: code for code, entry in table()["countries"].items() if entry["alpha_2"]}
    return {**codes, **{code: code for code in table()["countries"]}}


def normal_region(region: str) -> str:
    """ISO 3166 alpha-2 or alpha-3 of either case as upper-case alpha-3; anything else as it is."""
    return _alpha_3().get(region.strip().upper(), region)


def intensity(region_iso: str | None) -> Intensity:
    """Intensity of a region: its country's (also for `US-CA` and the like), else the world average.

    Never raises; `source` says which it is, and why where it is the fallback.
    """
    return _intensity(region_iso)


@lru_cache(maxsize=1024)
def _intensity(region: str | None) -> Intensity:
    code = None if region is None else _country(region)
    if code is None:
        why = "region not given" if region is None else f"region {region[:40]!r} not in the country table"
        world = table()["fallback"]
        return Intensity(
            world["g_per_kwh"],
            f"{world['source']} ({why})",
            world["year"],
            world["kind"],
            world["scope"],
            world["name"],
        )
    entry = table()["countries"][code]
    source = f"{table()['source']}, country {code}, {entry['year']}"
    return Intensity(entry["g_per_kwh"], source, entry["year"], table()["kind"], table()["scope"], code)


def _country(region: str) -> str | None:
    codes = _alpha_3()
    upper = region.strip().upper()
    return codes.get(upper) or codes.get(upper.partition("-")[0])
