"""Amounts of a table in units that fit them: `13.5 mWh`, never `1.35e-05 kWh`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.display import ENERGY, MASS, Scale, scale_for

# What a column's title says of its unit, as stored, and the units that it may be shown in.
LADDERS: Mapping[str, Sequence[Scale]] = {"kWh": ENERGY, "kg": MASS}


def in_fitting_units(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with one unit for all energies and one for all masses, scaled to the largest of each.

    A column is known by its title, such as `idle kWh` or `kg CO2e`, which gets the new unit.
    """
    titles = list(dict.fromkeys(title for row in rows for title in row))
    shown = {title: (title, 1.0) for title in titles}
    for stored, ladder in LADDERS.items():
        mine = [title for title in titles if stored in title.split()]
        scale = scale_for(ladder, [row.get(title) for row in rows for title in mine])
        shown |= {title: (title.replace(stored, scale.unit), scale.base) for title in mine}
    return [{shown[title][0]: _in(value, shown[title][1]) for title, value in row.items()} for row in rows]


def _in(value: Any, base: float) -> Any:
    return value if value is None or base == 1.0 else value / base
