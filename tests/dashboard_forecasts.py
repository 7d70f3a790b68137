"""Builders of forecasts as the stream writes them, made from windows that are in the store or before them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from schemas.times import rfc3339, to_ms
from schemas.units import kwh_from_j
from tests.dashboard_documents import Documents

MINUTE = timedelta(minutes=1)
SHORT, LONG = (60, 300, 900), (3600, 21_600, 86_400)
ALL_HORIZONS = timedelta(hours=4)
LAYERS = ("batch", "speed", "last", "seasonal")
VERSION = "20260131-0600"
INTENSITY, SOURCE = 344.0, "Ember, Yearly Electricity Data"


def watts_of(db: Documents, dimension: str, key: str | None) -> dict[datetime, float]:
    """Power per end of window, as the store has it."""
    if dimension == "node":
        found = db.node_aggregates.find({"node_id": key})
    else:
        found = db.aggregated_metrics.find({"dimension": dimension, "key": key or "all"})
    return {row["window_end"]: row["mean_power_w"] for row in found}


def with_past(watts: Mapping[datetime, float], rng: random.Random, hours: float) -> dict[datetime, float]:
    """The same with windows before the first, so that it spans some hours; windows that lack stay away."""
    first = min(watts)
    level = sum(watts.values()) / len(watts)
    found = dict(watts)
    for minute in range(1, int(hours * 60)):
        at = first - minute * MINUTE
        wave = 0.3 * math.sin(minute / 9) + 0.1 * math.sin(minute / 57)
        found[at] = level * (1 + wave + rng.uniform(-0.04, 0.04))
    return found


def forecast(
    target: str, issued_at: datetime, horizon_s: int, last: float, point: float, sigma: float
) -> dict[str, Any]:
    """One forecast whose actual is not known yet."""
    dimension, _, key = target.partition("/")
    used = kwh_from_j(0.5 * (last + point) * horizon_s)
    wide = kwh_from_j(1.28 * sigma * horizon_s * 0.6)
    energy = {"point": used, "p10": max(0.0, used - wide), "p90": used + wide}
    quantiles = {"p05": -1.645, "p10": -1.282, "p50": 0.0, "p90": 1.282, "p95": 1.645}
    return {
        "_id": f"{target}|{rfc3339(issued_at)}|{horizon_s}|{VERSION}",
        "schema_version": 1,
        "target": target,
        "dimension": dimension,
        "key": key,
        "unit": "W",
        "issued_at": issued_at,
        "target_at": issued_at + timedelta(seconds=horizon_s),
        "horizon_s": horizon_s,
        "model_version": VERSION,
        "model": "hybrid",
        "last_value": last,
        "point": point,
        **{name: max(0.0, point + z * sigma) for name, z in quantiles.items()},
        "energy": {"unit": "kWh", **energy},
        "emissions": {
            "unit": "kg",
            **{name: value * INTENSITY / 1000 for name, value in energy.items()},
            "g_per_kwh": INTENSITY,
            "source": SOURCE,
        },
    }


def layered(document: dict[str, Any], share: float) -> None:
    """Layers and weights; the batch model has `share`."""
    weights = dict(zip(LAYERS, (share, 0.7 * (1 - share), 0.2 * (1 - share), 0.1 * (1 - share)), strict=True))
    document["weights"] = weights
    document["layers"] = {name: document["point"] * (1 + 0.02 * n) for n, name in enumerate(LAYERS)}


def joined(document: dict[str, Any], watts: Mapping[datetime, float]) -> None:
    """The actual of a forecast, where its window was observed."""
    actual = watts.get(document["target_at"])
    seasonal = watts.get(document["target_at"] - timedelta(days=1))
    if seasonal is not None:
        document["seasonal_naive"] = seasonal
    if actual is None:
        return
    document |= {
        "actual": actual,
        "error": document["point"] - actual,
        "naive_error": document["last_value"] - actual,
        "in_80": document["p10"] <= actual <= document["p90"],
        "in_90": document["p05"] <= actual <= document["p95"],
        "joined_at": document["target_at"] + timedelta(seconds=3),
    }
    if seasonal is not None:
        document["seasonal_error"] = seasonal - actual


def add_forecasts(
    db: Documents, rng: random.Random, target: str, hours: float = 0.0, fallback: str | None = None
) -> None:
    """Forecasts of a series after each of its windows, and the state of its forecaster."""
    dimension, _, key = target.partition("/")
    watts = watts_of(db, dimension, key)
    if hours:
        watts = with_past(watts, rng, hours)
    documents = []
    for issued_at in sorted(watts):
        quarter = issued_at.minute % 15 == 0 or issued_at == max(watts)
        due = (*SHORT, *LONG) if quarter else SHORT
        # Of the more distant past one horizon is enough, and quicker to store.
        for horizon_s in due if max(watts) - issued_at <= ALL_HORIZONS else (300,):
            documents.append(_issued(rng, target, issued_at, horizon_s, watts, fallback))
    db.energy_forecasts.insert_many(documents)
    at = max(watts) - timedelta(minutes=25)
    drift = {"drift_ms": to_ms(at)} if fallback is None else {}
    db.forecast_states.insert_one(
        {
            "_id": target,
            "target": target,
            "dimension": dimension,
            "key": key,
            "last_window_end": max(watts),
            "model_version": "none" if fallback else VERSION,
            "horizons": {str(h): {"skill": {"n": len(watts)}, **drift} for h in SHORT},
            "updated_at": max(watts),
            "schema_version": 1,
        }
    )


def _issued(
    rng: random.Random,
    target: str,
    issued_at: datetime,
    horizon_s: int,
    watts: Mapping[datetime, float],
    fallback: str | None,
) -> dict[str, Any]:
    last = watts[issued_at]
    hint = watts.get(issued_at + timedelta(seconds=horizon_s), last)
    noise = 0.02 * last * (1 + math.log10(horizon_s / 60 + 1))
    point = last if fallback else max(0.0, 0.45 * last + 0.55 * hint + rng.gauss(0, noise))
    document = forecast(target, issued_at, horizon_s, last, point, 0.28 * abs(hint - last) + 0.8 * noise)
    if fallback:
        document |= {"model": "naive", "model_version": "none", "fallback": fallback}
        document["_id"] = document["_id"].replace(VERSION, "none")
        document["weights"] = {"last": 1.0}
    else:
        layered(document, 0.55 + 0.3 * math.sin(issued_at.timestamp() / 4000))
    joined(document, watts)
    return document


def add_models(db: Documents, now: datetime) -> None:
    """A model that serves, and one that did before."""
    for version, state, ratio in ((VERSION, "serving", 0.81), ("20260130-1800", "kept", 0.84)):
        db.model_registry.insert_one(
            {
                "_id": version,
                "version": version,
                "state": state,
                "created_at": now - timedelta(hours=6 if state == "serving" else 18),
                "serving_since": now - timedelta(hours=6 if state == "serving" else 18),
                "reason": "beats strong naive at every horizon",
                "features": ["last", "diff_1", "hour_sin"],
                "horizons_s": list(SHORT),
                "served_horizons_s": [60, 300],
                "n_rows": 20_160,
                "data": {"first": now - timedelta(days=14), "last": now - timedelta(hours=6), "series": 4},
                "window_s": 60,
                "scores": {str(h): {"mae": 9.1, "mae_ratio": ratio, "coverage_80": 0.79} for h in SHORT},
            }
        )


def add_run_forecast(
    db: Documents, run_id: str, method: str, now: datetime, epochs: int, total: int | None, **more: Any
) -> None:
    """The forecast of a run at completion, after each epoch."""
    per_epoch = 0.012
    whole = per_epoch * (total or epochs)
    history = [
        {
            "epoch": epoch,
            "at": now - timedelta(minutes=2 * (epochs - epoch)),
            "energy_kwh": {
                "point": whole * (1 + 0.3 / epoch),
                "p10": whole * (1 - 0.25 / epoch),
                "p90": whole * (1 + 0.7 / epoch),
            },
        }
        for epoch in range(1, epochs + 1)
    ]
    band = history[-1]["energy_kwh"] if history else {"point": whole, "p10": 0.6 * whole, "p90": 1.7 * whole}
    document: dict[str, Any] = {
        "issued_at": now - timedelta(seconds=20),
        "method": method,
        "epoch": epochs,
        "total_epochs": total,
        "unit": "epochs",
        "note": "from its own epochs; with 4 similar runs (same model, dataset and node)",
        "n_similar": 4,
        "per_epoch_kwh": per_epoch,
        "per_epoch_s": 120.0,
        "history": history,
    }
    if method != "rate":
        document["energy_kwh"] = band
        document["emissions_kg"] = {name: value * INTENSITY / 1000 for name, value in band.items()}
        document["emissions_kg"] |= {"g_per_kwh": INTENSITY, "source": SOURCE}
        left = timedelta(minutes=2 * ((total or epochs) - epochs) + 1)
        document["finishes_at"] = {"point": now + left, "p10": now + 0.9 * left, "p90": now + 1.3 * left}
    db.training_run_summary.update_one({"_id": run_id}, {"$set": {"forecast": document | more}})
