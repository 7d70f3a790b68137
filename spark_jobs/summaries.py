"""Documents from parts: what a window, a node window and a run summary say. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from schemas import documents
from schemas.times import from_ms
from schemas.units import w_from_kwh
from spark_jobs.contributions import NODE_ENERGIES, NODE_MEANS, POD_KEY, TRAINING_ENERGIES
from spark_jobs.facets import fields_of_facets
from spark_jobs.parts import Amounts, Folded, Parts
from spark_jobs.sources import Key
from spark_jobs.store import Doc


def mean_power_w(sums: Mapping[str, float]) -> float | None:
    """Energy over covered time (W); None where no event said over which interval."""
    covered_s = sums.get("covered_s", 0.0)
    return w_from_kwh(sums["power_kwh"], covered_s) if covered_s > 0 else None


def _weighted(sums: Mapping[str, float], name: str) -> float | None:
    """Mean weighted by `interval_s`; the plain mean where no event brought an interval."""
    if sums.get(f"{name}_weight", 0.0) > 0:
        return sums[f"{name}_sum"] / sums[f"{name}_weight"]
    return sums[f"{name}_plain"] / sums[f"{name}_n"] if sums.get(f"{name}_n") else None


def _measurement(sums: Mapping[str, float]) -> str | None:
    kinds = [kind for kind in ("measured", "estimated", "mixed") if sums.get(f"n_{kind}")]
    return None if not kinds else kinds[0] if len(kinds) == 1 else "mixed"


def _known(fields: Mapping[str, Any]) -> Doc:
    """Without what is not known: also a sum that is more than a float can hold."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and (not isinstance(value, float) or isfinite(value))
    }


def _training_fields(sums: Mapping[str, float]) -> Doc:
    amounts = {name: sums.get(name) for name in (*TRAINING_ENERGIES, "emissions_kg", "covered_s")}
    return {"n_events": int(sums.get("n_events", 0)), **amounts}


def window_doc(key: Key, start_ms: int, window_ms: int, parts: Parts) -> Doc:
    """A document of `aggregated_metrics`, without `_id`.

    `mean_power_w` of a run is its energy over its covered time; of all other keys, whose runs go on side by
    side, the energy over the window's length.
    """
    sums = parts.total.sums
    over_window = w_from_kwh(sums["energy_kwh"], window_ms / 1000) if "energy_kwh" in sums else None
    return {
        "schema_version": documents.DOCUMENT_VERSION,
        "dimension": key.dimension,
        "key": key.key,
        "window_start": from_ms(start_ms),
        "window_end": from_ms(start_ms + window_ms),
        **_known(
            {
                **_training_fields(sums),
                "mean_power_w": mean_power_w(sums) if key.dimension == "run" else over_window,
                "loss": _weighted(sums, "loss"),
                "accuracy": _weighted(sums, "accuracy"),
                "measurement": _measurement(sums),
            }
        ),
        "parts": parts.to_doc(),
    }


def node_window_doc(key: Key, start_ms: int, window_ms: int, parts: Parts) -> Doc:
    """A document of `node_aggregates`, without `_id`. Energy = attributed + idle + unattributed."""
    total = parts.total
    sums = total.sums
    return {
        "schema_version": documents.DOCUMENT_VERSION,
        "node_id": key.key,
        "window_start": from_ms(start_ms),
        "window_end": from_ms(start_ms + window_ms),
        "n_samples": int(sums.get("n_samples", 0)),
        **_known(
            {
                **{name: sums.get(name) for name in (*NODE_ENERGIES, "covered_s")},
                **{name: _weighted(sums, name) for name in NODE_MEANS},
                "mean_power_w": mean_power_w(sums),
                "measurement": _measurement(sums),
            }
        ),
        "attributed": [
            {"run_id": run, "energy_kwh": kwh}
            for run, kwh in sorted(total.runs.items())
            if not run.startswith(POD_KEY)
        ],
        "pods": _pods(total.runs),
        "parts": parts.to_doc(),
    }


def _pods(consumers: Mapping[str, float]) -> list[Doc]:
    """Energy of each pod, by namespace and name."""
    found = sorted((key, kwh) for key, kwh in consumers.items() if key.startswith(POD_KEY))
    names = (key.removeprefix(POD_KEY).partition("|") for key, _ in found)
    return [
        {"namespace": namespace, "pod": pod, "energy_kwh": kwh}
        for (namespace, _, pod), (_, kwh) in zip(names, found, strict=True)
    ]


def summary_doc(run_id: str, parts: Parts, folded: Folded, facets: Mapping[str, Any]) -> Doc:
    """A document of `training_run_summary`, without `_id`.

    `gap_s` is the part of the run's duration that no event's interval covers.
    """
    sums = parts.total.sums
    fields = fields_of_facets(facets)
    covered_s = sums.get("covered_s")
    gap_s = None
    if covered_s is not None and "duration_s" in fields:
        gap_s = max(0.0, fields["duration_s"] - covered_s)
    return {
        "schema_version": documents.DOCUMENT_VERSION,
        "run_id": run_id,
        **_known(
            {
                **fields,
                **_training_fields(sums),
                "n_late": int(parts.late.sums.get("n_events", 0)),
                "mean_power_w": mean_power_w(sums),
                "gap_s": gap_s,
            }
        ),
        "parts": {**parts.to_doc(), "folded": folded.to_doc()},
        "facets": dict(facets),
    }


def amounts_of_row(row: Mapping[str, Any], sums: tuple[str, ...]) -> Amounts:
    """The sums that Spark gives of one window and key; null is not known."""
    return Amounts({name: row[name] for name in sums if row[name] is not None})
