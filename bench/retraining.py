"""What a retraining on two weeks of one node costs: the real process, from a file of synthetic minutes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from conf.settings import load_settings

MINUTES = 20_160
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
# As long as between two trainings by the schedule, so that champion and challenger have something to be compared on.
APART_MINUTES = 360
POLL_S = 0.5


def two_weeks(seed: int = 1, minutes: int = MINUTES) -> pd.DataFrame:
    """Jobs one after the other: warm-up, a level, a drop at each epoch's end, noise, some pauses."""
    chance = random.Random(seed)
    frame: pd.DataFrame = pd.DataFrame(list(_minutes(chance, minutes)))
    return frame


def _minutes(chance: random.Random, minutes: int) -> Iterator[dict[str, Any]]:
    at, job = 0, 0
    while at < minutes:
        job += 1
        level, length = chance.uniform(90, 240), chance.randint(40, 400)
        for minute in range(min(length, minutes - at)):
            power_w = level * (1 - 0.4 * 0.7**minute) * (0.75 if minute % 17 == 16 else 1.0)
            power_w = max(0.0, power_w + chance.gauss(0, 2))
            yield {
                "node_id": "bench",
                "run_id": f"run-{job}",
                "architecture": "synthetic",
                "observed_at": START + timedelta(minutes=at + minute),
                "power_w": power_w,
                "gpu_utilization_pct": min(100.0, power_w / 2.4),
                "cpu_utilization_pct": 30 + chance.random(),
            }
        at += length + (chance.randint(1, 30) if chance.random() < 0.3 else 0)


def measure_retraining() -> dict[str, Any]:
    """Wall time (s), CPU time (s) and largest memory (MiB) of a first training and of one with a champion.

    The champion is that of the first training, which did not have the last APART_MINUTES. The CPU time is what it
    takes of one core; the wall time depends on what else runs, as it gives way to all.
    """
    with tempfile.TemporaryDirectory(prefix="joulestream-bench-") as folder:
        minutes = two_weeks(minutes=MINUTES + APART_MINUTES)
        parts = {"first": minutes.iloc[:-APART_MINUTES], "with_champion": minutes.iloc[APART_MINUTES:]}
        data = Path(folder) / "two_weeks.parquet"
        found = {}
        for name, part in parts.items():
            part.to_parquet(data)
            found[name] = _one(data, Path(folder))
        return found


def _one(data: Path, folder: Path) -> dict[str, Any]:
    settings = load_settings({"data_dir": folder / "data"})
    environment = {**os.environ, **settings.environment(), "JOULE_MONGODB_URI": "mongodb://127.0.0.1:1"}
    environment["JAVA_HOME"] = _java_home()
    command = [sys.executable, "-m", "spark_jobs.forecast.retrain", "--data", str(data)]
    began_s = time.monotonic()
    with (
        (folder / "log").open("ab") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as process,
    ):
        watched = _watch(process)
        said = process.stdout.read() if process.stdout else b""
    if process.returncode not in (0, 4):
        raise RuntimeError(f"the training failed: {(folder / 'log').read_text()[-2000:]}")
    found = json.loads(said)
    kept = ("n_rows", "verdict", "reason", "served_horizons_s", "versus_champion")
    return {"wall_s": time.monotonic() - began_s, **watched, **{name: found[name] for name in kept}}


def _watch(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """CPU time and largest resident memory of a process and its children, until it ends."""
    used: dict[int, float] = {}
    peak = 0
    while process.poll() is None:
        family = [psutil.Process(process.pid)]
        resident = 0
        try:
            family += family[0].children(recursive=True)
            for one in family:
                times = one.cpu_times()
                used[one.pid] = times.user + times.system
                resident += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        peak = max(peak, resident)
        time.sleep(POLL_S)
    return {"cpu_s": sum(used.values()), "peak_mib": peak / 2**20}


def _java_home() -> str:
    from joulestream.local.java import find_java

    return str(find_java().home)


if __name__ == "__main__":
    print(json.dumps(measure_retraining(), indent=1))
