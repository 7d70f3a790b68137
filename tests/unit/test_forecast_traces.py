"""Measured power read from files: what a file is, its windows, its gaps."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from spark_jobs.forecast.backtest.traces import NODE, RUN, TraceError, files_of, read_traces

START = pd.Timestamp("2026-01-01T00:00:00Z")


def frame(seconds: list[int], powers: list[float], **more: object) -> pd.DataFrame:
    """Readings of one run on one node."""
    return pd.DataFrame(
        {
            "run_id": "run-1",
            "architecture": "net",
            "observed_at": [START + timedelta(seconds=s) for s in seconds],
            "power_w": powers,
            **more,
        }
    )


def test_columns_and_not_names_say_what_a_file_is(tmp_path: Path) -> None:
    frame([0], [1.0], node_id="n").to_parquet(tmp_path / "b.parquet")
    frame([0], [1.0], machine="m", elapsed_s=0.0).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"observed_at": [START]}).to_parquet(tmp_path / "c.parquet")
    assert files_of(tmp_path) == {NODE: [tmp_path / "b.parquet"], RUN: [tmp_path / "a.parquet"]}


def test_a_minute_is_the_mean_of_its_readings_and_a_gap_is_none(tmp_path: Path) -> None:
    seconds = [0, 1, 2, 59, 180, 181]
    file = tmp_path / "x.parquet"
    frame(seconds, [10.0, 20.0, 30.0, 20.0, 50.0, float("nan")], node_id="n").to_parquet(file)
    (trace,) = read_traces([file], NODE, 60_000)
    first, last = trace.observations
    assert (first.power_w, last.power_w) == (20.0, 50.0)
    assert last.start_ms - first.start_ms == 180_000
    assert first.energy_kwh == pytest.approx(20.0 * 4 / 3.6e6)
    assert trace.groups == ("net", "net")


def test_windows_of_a_run_begin_with_it(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    frame([7, 16, 17], [10.0, 20.0, 40.0], machine="m", elapsed_s=[0, 9, 10]).to_parquet(file)
    (trace,) = read_traces([file], RUN, 10_000)
    assert [one.power_w for one in trace.observations] == [15.0, 40.0]


def test_nodes_are_series_of_their_own(tmp_path: Path) -> None:
    for node in ("a", "b"):
        frame([0], [1.0], node_id=node).to_parquet(tmp_path / f"{node}.parquet")
    traces = read_traces(files_of(tmp_path)[NODE], NODE, 60_000)
    assert [trace.target for trace in traces] == ["node/a", "node/b"]


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda p: None, "is not there"),
        (lambda p: p.write_text("no"), "cannot be read as Parquet"),
        (lambda p: pd.DataFrame({"a": [1]}).to_parquet(p), "no power over time"),
    ],
    ids=["missing", "damaged", "other columns"],
)
def test_what_is_no_trace_is_said_in_a_sentence(write, match: str, tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    write(file)
    with pytest.raises(TraceError, match=match):
        files_of(file)
