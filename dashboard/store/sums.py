"""Sums in the server that keep "not known" apart from zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ENERGY_FIELDS = (
    "energy_kwh",
    "cpu_energy_kwh",
    "gpu_energy_kwh",
    "ram_energy_kwh",
    "emissions_kg",
    "covered_s",
)
_KNOWN = "_known"


def accumulators(names: Sequence[str] = ENERGY_FIELDS) -> dict[str, Any]:
    """Accumulators for `$group`. `$sum` of nothing is 0, so `$max` tells whether there was anything."""
    sums: dict[str, Any] = {name: {"$sum": f"${name}"} for name in names}
    return sums | {name + _KNOWN: {"$max": f"${name}"} for name in names}


def totals(document: Mapping[str, Any], names: Sequence[str] = ENERGY_FIELDS) -> dict[str, Any]:
    """The sums of one group; a field that no document of the group had is left out."""
    return {name: document[name] for name in names if document.get(name + _KNOWN) is not None}


def bucket_of(name: str, width_s: int) -> dict[str, Any]:
    """Expression: start of the bucket that a date falls in, in milliseconds since 1970."""
    at: dict[str, Any] = {"$toLong": f"${name}"}
    return {"$subtract": [at, {"$mod": [at, width_s * 1000]}]}
