"""The benchmark of the anomaly rules: labels say what was done, and the counts are what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import anomalies
from bench.anomalies import AFTER, APART, WARM, WINDOW_MS, Tally, injected, rows_of, windows_of
from spark_jobs.forecast.anomalies.injections import KINDS, Label, Trace, inject, places, synthetic
from spark_jobs.forecast.anomalies.watch import IDLE, POWER, RULES, STUCK
from spark_jobs.forecast.series import Observation


def node(seed: int = 1, n: int = 400) -> Trace:
    return synthetic(np.random.default_rng(seed), "node/s", n, WINDOW_MS, 0)


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 2**32), st.integers(5, 20))
def test_an_injection_changes_its_own_windows_and_says_which(kind: str, seed: int, length: int) -> None:
    trace = node()
    first = places(trace.windows, WINDOW_MS, WARM, length)[0]
    made = inject(trace, kind, first, length, np.random.default_rng(seed))
    assert made == inject(trace, kind, first, length, np.random.default_rng(seed))
    assert made.labels == (Label(kind, KINDS[kind].rule, first, first + length - 1),)
    assert len(made.windows) == len(trace.windows)
    changed = [
        n for n, pair in enumerate(zip(trace.windows, made.windows, strict=True)) if pair[0] != pair[1]
    ]
    assert changed
    assert set(changed) <= set(range(first, first + length))
    assert all(
        w.start_ms == v.start_ms and w.power_w >= 0 for w, v in zip(made.windows, trace.windows, strict=True)
    )


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("spike", 1.25, 1.6), ("drop", 0.4, 0.75), ("zero", 0.0, 0.0)]
)
def test_power_is_changed_by_as_much_as_the_page_says(kind: str, low: float, high: float) -> None:
    trace = node()
    made = inject(trace, kind, 30, 8, np.random.default_rng(3))
    ratios = [made.windows[n].power_w / trace.windows[n].power_w for n in range(30, 38)]
    assert all(low - 1e-9 <= ratio <= high + 1e-9 for ratio in ratios)


def test_a_stuck_meter_repeats_itself_while_the_utilisation_moves() -> None:
    made = inject(node(), "stuck", 30, 8, np.random.default_rng(3)).windows[30:38]
    assert len({w.power_w for w in made}) == 1
    used = [w.gpu_utilization_pct or 0.0 for w in made]
    assert max(used) - min(used) >= 3.0


def test_a_place_is_inside_a_run_warm_and_without_a_gap() -> None:
    run = [Observation(n * WINDOW_MS, 100.0, 90.0, None, None, "a") for n in range(40)]
    gap = [Observation((41 + n) * WINDOW_MS, 100.0, 90.0, None, None, "a") for n in range(30)]
    other = [Observation((71 + n) * WINDOW_MS, 100.0, 90.0, None, None, "b") for n in range(26)]
    found = places([*run, *gap, *other], WINDOW_MS, 20, 5)
    assert found == [*range(20, 36), *range(60, 66), *range(90, 92)]
    idle = [Observation(n * WINDOW_MS, 20.0, 0.0, None, None, "a") for n in range(60)]
    assert places(idle, WINDOW_MS, 20, 5) == []


@given(st.integers(0, 2**32))
def test_injections_keep_apart_and_within_their_runs(seed: int) -> None:
    made = injected(node(n=1500), np.random.default_rng(seed))
    ends = -APART
    for label in made.labels:
        assert label.first - ends >= APART
        assert len({made.windows[n].run_id for n in range(label.first - WARM, label.last + 1)}) == 1
        ends = label.last


def test_the_counts_are_what_they_are_called() -> None:
    windows = node(n=200).windows
    labels = (Label("spike", POWER, 50, 60), Label("hang", IDLE, 100, 110), Label("drop", POWER, 150, 155))
    put, clean = Tally(), Tally()
    put.add(
        Trace("t", windows, labels),
        [(POWER, 52), (POWER, 60 + AFTER), (POWER, 61 + AFTER), (STUCK, 105), (POWER, 10)],
    )
    clean.add(Trace("t", windows), [(POWER, 7)])
    rows = list(rows_of("g", put, clean))
    kinds = {row["kind"]: row for row in rows if row["kind"] != "all"}
    rules = {row["rule"]: row for row in rows if row["kind"] == "all"}
    assert (kinds["spike"]["recall"], kinds["spike"]["delay_windows"]) == (1.0, 3.0)
    assert (kinds["hang"]["recall"], kinds["drop"]["recall"]) == (0.0, 0.0)
    assert kinds["zero"]["recall"] is None
    assert (rules[POWER]["alerts"], rules[POWER]["precision"]) == (4, 0.5)
    assert (rules[STUCK]["alerts"], rules[STUCK]["precision"]) == (1, 1.0)
    assert rules[IDLE]["precision"] is None
    assert rules[POWER]["false_per_10000"] == 50.0


def test_seconds_become_minute_windows_and_a_minute_without_one_is_a_gap() -> None:
    at = pd.to_datetime(["2026-01-01T00:00:10Z", "2026-01-01T00:00:50Z", "2026-01-01T00:02:00Z"])
    frame = pd.DataFrame(
        {
            "observed_at": at.astype("datetime64[us, UTC]"),
            "power_w": [100.0, 200.0, 50.0],
            "gpu_utilization_pct": [90, 70, 0],
            "cpu_utilization_pct": [None, 10.0, None],
            "run_id": ["a", "a", "b"],
        }
    )
    assert windows_of(frame) == (
        Observation(1_767_225_600_000, 150.0, 80.0, 10.0, None, "a"),
        Observation(1_767_225_720_000, 50.0, 0.0, None, None, "b"),
    )


def test_the_command_prints_a_row_per_kind_and_rule(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOULE_BENCH_DATA", raising=False)
    monkeypatch.setattr(anomalies, "synthetic_traces", lambda seed: [node(seed, 700)])
    assert anomalies.main(["--rounds", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in found["rows"]] == [*KINDS, *["all"] * len(RULES)]
    put = {row["kind"]: row for row in found["rows"] if row.get("injected")}
    assert put
    assert all(row["recall"] == 1.0 for row in put.values() if row["rule"] in (IDLE, STUCK))
    assert anomalies.main(["--rounds", "1"]) == 0
    assert "false alarms per 10,000 windows" in capsys.readouterr().out


def test_a_folder_without_the_data_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        anomalies.main(["--data", str(tmp_path)])
    assert "has no node_power_open.parquet" in capsys.readouterr().err
