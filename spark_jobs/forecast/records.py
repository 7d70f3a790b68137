"""Forecasts and states as documents, and back. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Any

from schemas import documents
from schemas.times import from_ms, rfc3339, to_ms
from spark_jobs.forecast.cells import Cell, Issued, Joined
from spark_jobs.forecast.engine import Series
from spark_jobs.forecast.layers.hybrid import Layers

Doc = dict[str, Any]

NO_MODEL = "none"
QUANTILES = ("p05", "p10", "p50", "p90", "p95")
# The layer `last` alone is the naive forecast.
NAIVE_WEIGHT = 0.999


def target_of(dimension: str, key: str) -> str:
    """The name of a series: `node/gpu-1`, `run/r1`, `user/ann`, `all/`."""
    return f"{dimension}/{key}"


def forecast_id(target: str, issued_ms: int, horizon_s: int, version: str) -> str:
    """`_id` of a forecast."""
    return f"{target}|{rfc3339(from_ms(issued_ms))}|{horizon_s}|{version}"


def id_of(issued: Issued) -> str:
    """`_id` of a forecast."""
    return forecast_id(issued.target, issued.issued_ms, issued.horizon_s, issued.model_version)


def issued_doc(issued: Issued) -> Doc:
    """A document of `energy_forecasts`, as issued."""
    dimension, _, key = issued.target.partition("/")
    naive = issued.layers.weights.get("last", 0.0) >= NAIVE_WEIGHT
    doc: Doc = {
        "_id": id_of(issued),
        "schema_version": documents.DOCUMENT_VERSION,
        "target": issued.target,
        "dimension": dimension,
        "unit": "W",
        "issued_at": from_ms(issued.issued_ms),
        "target_at": from_ms(issued.target_ms),
        "horizon_s": issued.horizon_s,
        "model_version": issued.model_version,
        "model": "naive" if naive else "hybrid",
        "last_value": issued.last,
        "point": issued.layers.point,
        **dict(zip(QUANTILES, issued.quantiles, strict=True)),
        "layers": dict(issued.layers.values),
        "weights": dict(issued.layers.weights),
    }
    if key:
        doc["key"] = key
    if issued.fallback:
        doc["fallback"] = issued.fallback
    if issued.seasonal is not None:
        doc["seasonal_naive"] = issued.seasonal
    if issued.energy_kwh is not None:
        doc |= _amounts(issued.energy_kwh, issued.kg_per_kwh)
    return doc


def _amounts(energy_kwh: tuple[float, float, float], kg_per_kwh: float | None) -> Doc:
    names = ("point", "p10", "p90")
    doc: Doc = {"energy": {"unit": "kWh", **dict(zip(names, energy_kwh, strict=True))}}
    if kg_per_kwh is not None and isfinite(kg_per_kwh):
        kilograms = [kwh * kg_per_kwh for kwh in energy_kwh]
        doc["emissions"] = {
            "unit": "kg",
            **dict(zip(names, kilograms, strict=True)),
            "g_per_kwh": kg_per_kwh * 1000,
            "source": "emissions per energy of the series' newest closed window",
        }
    return doc


def issued_from_doc(doc: Mapping[str, Any]) -> Issued:
    """A forecast as it was issued."""
    energy = doc.get("energy")
    emissions = doc.get("emissions")
    return Issued(
        target=doc["target"],
        issued_ms=to_ms(doc["issued_at"]),
        horizon_s=doc["horizon_s"],
        model_version=doc["model_version"],
        last=doc["last_value"],
        seasonal=doc.get("seasonal_naive"),
        layers=Layers(doc["layers"], doc["weights"], doc["point"]),
        quantiles=tuple(doc[name] for name in QUANTILES),
        fallback=doc.get("fallback"),
        energy_kwh=(energy["point"], energy["p10"], energy["p90"]) if energy else None,
        kg_per_kwh=emissions["g_per_kwh"] / 1000 if emissions else None,
    )


def actual_fields(joined: Joined, now: datetime) -> Doc:
    """What a forecast's document gets when its actual is known. Errors are forecast minus actual (W)."""
    issued, actual = joined.issued, joined.actual
    p05, p10, _, p90, p95 = issued.quantiles
    fields: Doc = {
        "actual": actual,
        "error": issued.layers.point - actual,
        "naive_error": issued.last - actual,
        "in_80": p10 <= actual <= p90,
        "in_90": p05 <= actual <= p95,
        "joined_at": now,
    }
    if issued.seasonal is not None:
        fields["seasonal_error"] = issued.seasonal - actual
    if joined.energy_kwh is not None:
        fields["actual_energy_kwh"] = joined.energy_kwh
    return fields


def head_doc(series: Series) -> Doc:
    """What is written of `forecast_states` at every window, without `_id`: that the series is there, and up to when."""
    target = series.target
    dimension, _, key = target.partition("/")
    return {
        "schema_version": documents.DOCUMENT_VERSION,
        "target": target,
        "dimension": dimension,
        **({"key": key} if key else {}),
        **({"last_window_end": from_ms(series.last_ms)} if series.last_ms else {}),
    }


def state_doc(series: Series, version: str, now: datetime) -> Doc:
    """A document of `forecast_states`, without `_id`; of a series without closed windows, what it starts with."""
    return {
        **head_doc(series),
        "learned_until": from_ms(series.last_ms or 0),
        "model_version": version,
        **({"kind": series.kind} if series.kind else {}),
        "horizons": {str(horizon_s): cell.to_doc() for horizon_s, cell in series.cells.items()},
        **({"anomalies": series.watch.to_doc()} if series.watch is not None else {}),
        "updated_at": now,
    }


def cells_from_doc(doc: Mapping[str, Any]) -> dict[int, Cell]:
    """The cells of a stored state."""
    return {int(horizon_s): Cell.from_doc(cell) for horizon_s, cell in doc["horizons"].items()}
