"""Power flows through the real broker; forecasts land in the store, meet their actuals, and the page shows them.

The power is that of a real node where JOULE_BENCH_DATA names the folder of the traces, else a simulated day's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.settings import load_settings
from joulestream.local.ports import any_free
from joulestream.local.process import running
from joulestream.local.services import dashboard_service
from schemas import documents, topics
from schemas.times import rfc3339
from spark_jobs.forecast.engine import Horizons, Series
from spark_jobs.forecast.learning.history import observation_of_node_window
from tests.e2e.browser import Browser, headless
from tests.e2e.live_stack import ROOT, LiveStack, live_stack

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.timeout(500)]

MINUTES = 200
NODE = "traced-node"
# The trace ends now, as if it were live.
BEGAN = datetime.now(timezone.utc).replace(second=0, microsecond=0) - timedelta(minutes=MINUTES)


def minutes_of_power() -> list[float | None]:
    """Mean power (W) of each minute, None where nothing was observed."""
    folder = os.environ.get("JOULE_BENCH_DATA")
    if folder is None:
        source = np.random.default_rng(3)
        jobs = np.repeat(source.uniform(60, 300, 10), MINUTES // 10)
        return [float(w) for w in jobs + source.normal(0, 5, MINUTES)]
    import pyarrow.parquet as pq

    table = pq.read_table(Path(folder) / "node_power_open.parquet", columns=["observed_at", "power_w"])
    frame = table.to_pandas().set_index("observed_at")["power_w"].resample("1min").mean()
    return [None if np.isnan(w) else float(w) for w in frame.iloc[:MINUTES]]


def samples(power: list[float | None]) -> Iterator[dict[str, Any]]:
    """Node samples every 15 s, with the energy of the interval."""
    sequence = 0
    for minute, watts in enumerate(power):
        for quarter in range(4):
            if watts is None:
                continue
            at = BEGAN.timestamp() + minute * 60 + (quarter + 1) * 15 - 0.001
            sequence += 1
            yield {
                "node_id": NODE,
                "timestamp": rfc3339(datetime.fromtimestamp(at, timezone.utc)),
                "producer_id": "trace",
                "sequence": sequence,
                "interval_s": 15.0,
                "measurement": "measured",
                "gpus": [{"uuid": "GPU-0", "index": 0, "energy_j": watts * 15.0}],
            }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with live_stack(tmp_path_factory.mktemp("forecast"), max_offsets_per_trigger=200) as live:
        yield live


@pytest.fixture(scope="module")
def forecasts(stack: LiveStack) -> list[dict[str, Any]]:
    """Send the trace, kill the stream in the middle of it, and let the rest come."""
    file = stack.folder / "node.ndjson"
    file.write_text("".join(json.dumps(sample) + "\n" for sample in samples(minutes_of_power())))
    stack.start_stream()
    command = [sys.executable, "-m", "joulestream", "replay", str(file), "--topic", topics.NODE_METRICS]
    subprocess.run(command, env=stack.env, cwd=ROOT, check=True, capture_output=True, timeout=120)
    stack.wait("first forecasts", lambda: stack.db[documents.FORECASTS].find_one() is not None)
    stack.kill_stream("all")
    stack.start_stream()
    stack.drain()
    assert stack.stop_stream() == 0
    return list(stack.db[documents.FORECASTS].find({"target": f"node/{NODE}"}))


def test_each_forecast_was_issued_before_and_judged_after(
    stack: LiveStack, forecasts: list[dict[str, Any]]
) -> None:
    windows = {doc["window_end"]: doc for doc in stack.db[documents.NODE_WINDOWS].find({"node_id": NODE})}
    newest = max(windows)
    assert len(forecasts) > 300
    for doc in forecasts:
        assert doc["issued_at"] < doc["target_at"]
        assert "no model" in doc["fallback"]
        actual = windows.get(doc["target_at"])
        if actual is None or doc["target_at"] == newest:
            assert "actual" not in doc, "a gap, or a window that is not closed"
        else:
            assert doc["actual"] == pytest.approx(actual["mean_power_w"], rel=1e-9)
            assert doc["error"] == pytest.approx(doc["point"] - actual["mean_power_w"], abs=1e-9)


def test_the_stream_and_the_backtest_forecast_alike(
    stack: LiveStack, forecasts: list[dict[str, Any]]
) -> None:
    """Mean absolute error of what was streamed, over a restart, beside that of the same engine offline: within 1 %."""
    docs = stack.db[documents.NODE_WINDOWS].find({"node_id": NODE}).sort("window_start", 1)
    windows = [window for doc in docs if (window := observation_of_node_window(doc)) is not None]
    series = Series(f"node/{NODE}", Horizons(60_000, (60, 300, 900)), 240)
    offline: dict[int, list[float]] = {}
    for window in windows[:-1]:
        for joined in series.close(window):
            error = abs(joined.issued.layers.point - joined.actual)
            offline.setdefault(joined.issued.horizon_s, []).append(error)
        series.issue({}, "none", {})
    for horizon_s, errors in offline.items():
        streamed = [abs(d["error"]) for d in forecasts if d["horizon_s"] == horizon_s and "error" in d]
        assert len(streamed) >= 0.98 * len(errors)
        assert np.mean(streamed) == pytest.approx(np.mean(errors), rel=0.01), horizon_s


@pytest.mark.browser
def test_the_page_shows_them(stack: LiveStack, forecasts: list[dict[str, Any]], tmp_path: Path) -> None:
    flags = {"mongodb.uri": stack.uri, "dashboard.port": any_free(), "data_dir": tmp_path}
    settings = load_settings(flags)
    with running(dashboard_service(settings, tmp_path / "dashboard.log")), headless(tmp_path / "b") as driver:
        browser = Browser(driver)
        browser.open(f"http://127.0.0.1:{settings.dashboard.port}/forecast", "Forecast", NODE, "no model")
        assert browser.complaints() == []
