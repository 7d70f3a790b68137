"""What forecasting costs: the time that it adds to a batch. (`python -m bench retraining`: what a training costs.)

`python -m bench forecast [--json] [--quick]` starts a document server of its own and a Spark session, trains a model on
seeded series, and feeds the forecaster as the stream does: one closed window of each series per batch. Targets, on
2 cores: 50 series <= 1 s (median), 1,000 series <= 10 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pyspark.sql import SparkSession

from bench.pipeline.servers import machine
from conf.settings import load_settings
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import running
from joulestream.local.store import find_document_server, store_service
from schemas import documents
from schemas.times import from_ms
from spark_jobs.forecast.engine import Horizons
from spark_jobs.forecast.models.features import matrix
from spark_jobs.forecast.models.forest import Forest
from spark_jobs.forecast.models.in_use import InUse
from spark_jobs.forecast.series import Floats, Observation
from spark_jobs.forecast.serving import Forecaster
from spark_jobs.session import spark_session
from spark_jobs.store import Address, Db, connect, ensure_collections

MINUTE_MS = 60_000
HORIZONS_S = (60, 300, 900)
LONG_S = (3600, 21_600, 86_400)
T0 = 1_760_000_400_000 // 900_000 * 900_000
TRAINED = 3 * 24 * 60
# Windows before those that are measured, by number of series: what they cost is not looked at.
WARM_UP = {50: 90, 1000: 20}
SEED = 20
TARGETS = {"batch_50_median_s": 1.0, "batch_1000_median_s": 10.0}


def power_of(minutes: int, seed: int) -> Floats:
    """A node's power (W), shape (minutes,): jobs of half an hour to three hours, idle between, noise."""
    source = np.random.default_rng(seed)
    power = np.full(minutes, 60.0)
    place = 0
    while place < minutes:
        length = int(source.integers(30, 180))
        power[place : place + length] = source.uniform(150, 320)
        place += length + int(source.integers(5, 60))
    return power + source.normal(0, 4, minutes)


def observations(power: Sequence[float]) -> list[Observation]:
    """The same as closed windows of a minute."""
    return [
        Observation(T0 + i * MINUTE_MS, float(w), energy_kwh=float(w) * 60 / 3.6e6)
        for i, w in enumerate(power)
    ]


def window_docs(power: Mapping[str, Floats], place: int) -> dict[str, dict[str, Any]]:
    """Node windows of one minute, as the stream writes them."""
    start = from_ms(T0 + place * MINUTE_MS)
    return {
        f"{node}|{place}": {
            "node_id": node,
            "window_start": start,
            "mean_power_w": float(w[place]),
            "energy_kwh": float(w[place]) * 60 / 3.6e6,
            "attributed": [],
        }
        for node, w in power.items()
    }


def train(spark: SparkSession, minutes: int) -> Forest:
    """A model of one node."""
    power = power_of(minutes, SEED)
    history = observations(power)
    rows = matrix(history, MINUTE_MS, [o.start_ms + MINUTE_MS for o in history])
    changes = {}
    for horizon_s in HORIZONS_S:
        step = horizon_s * 1000 // MINUTE_MS
        changes[horizon_s] = np.concatenate([power[step:] - power[:-step], np.full(step, np.nan)])
    return Forest.fit(spark, rows, changes, "bench")


def batches(db: Db, forest: Forest, series: int, count: int) -> list[float]:
    """Seconds that the forecaster adds to each of `count` batches with one new window of every series."""
    db[documents.FORECASTS].delete_many({})
    db[documents.FORECAST_STATES].delete_many({})
    in_use = InUse(forest, frozenset(HORIZONS_S), None)
    horizons = Horizons(MINUTE_MS, HORIZONS_S, LONG_S, 900)
    forecaster = Forecaster(db, lambda: in_use, horizons, frozenset({"node"}), 240, max(2000, series))
    before = WARM_UP[series]
    power = {f"n{n:04}": power_of(before + count + 1, SEED + n) for n in range(series)}
    warm = {name: doc for place in range(before) for name, doc in window_docs(power, place).items()}
    forecaster.written(documents.NODE_WINDOWS, warm)
    forecaster.flush()
    seconds = []
    for place in range(before, before + count):
        forecaster.written(documents.NODE_WINDOWS, window_docs(power, place))
        forecaster.flush()
        seconds.append(forecaster.seconds)
    return seconds


def measure(quick: bool) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="bench-forecast-") as name:
        folder = Path(name)
        port = any_free()
        store = store_service(folder / "store", port, find_document_server(), folder / "store.log")
        spark = spark_session("bench-forecast", load_settings({"data_dir": folder}))
        try:
            with running(store):
                db = connect(Address.at(f"mongodb://{HOST}:{port}", "bench", 10.0))
                ensure_collections(db, load_settings())
                forest = train(spark, TRAINED)
                fifty = batches(db, forest, 50, 20 if quick else 60)
                thousand = batches(db, forest, 1000, 4 if quick else 16)
                db.client.close()
        finally:
            spark.stop()
    return {
        **machine(),
        "batch_50_median_s": round(statistics.median(fifty), 3),
        "batch_50_max_s": round(max(fifty), 3),
        "batch_1000_median_s": round(statistics.median(thousand), 3),
        "batch_1000_max_s": round(max(thousand), 3),
        "driver_rss_mib": round(psutil.Process().memory_info().rss / 2**20),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench forecast", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    wanted = parser.parse_args(argv)
    found = measure(wanted.quick)
    if wanted.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for name, value in found.items():
        target = TARGETS.get(name)
        verdict = (
            "" if target is None else f"   target <= {target:g}: {'met' if value <= target else 'missed'}"
        )
        sys.stdout.write(f"{name:24} {value}{verdict}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
