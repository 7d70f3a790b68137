"""What the anomaly rules find of labelled injections, and how often they cry wolf.

    python -m bench anomalies [--data FOLDER] [--rounds N] [--json]

Traces: minute windows of the open node series and of the open training runs (FOLDER or JOULE_BENCH_DATA; without it
only synthetic ones), and synthetic nodes. Into copies of them anomalies of known kind, place and length are put with
a fixed seed; the forecasts come from the same engine as in the stream, without a batch model. An anomaly is found if
its own rule raises an alert while it lasts or in the two windows after; an alert is true if any anomaly is there or was
in the two windows before. False alarms are also counted on the traces as they are, where nothing was put in; in the
real ones some of them may be right.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.pipeline.servers import machine
from spark_jobs.forecast.anomalies.injections import KINDS, Trace, inject, places, synthetic
from spark_jobs.forecast.anomalies.watch import RAISED, RULES, AnomalyWatch
from spark_jobs.forecast.engine import Horizons, Series
from spark_jobs.forecast.series import Observation

WINDOW_MS = 60_000
HORIZONS = Horizons(WINDOW_MS, (60, 300, 900))
HISTORY = 240
SEED = 20_260_115
AFTER = 2  # windows after an anomaly in which its alert still counts
WARM = 20  # windows of a run before something is put into it
APART = 30  # windows between two injections
NODES = "node_power_open.parquet"
RUNS = "training_runs_open.parquet"


def windows_of(frame: pd.DataFrame) -> tuple[Observation, ...]:
    """Minute windows of second readings, each of the run that used most of it. A minute without a reading is a gap."""
    minute = frame.observed_at.dt.floor("min").rename("minute")
    grouped = frame.groupby(minute)
    made = pd.DataFrame(
        {
            "power": grouped.power_w.mean(),
            "gpu": grouped.gpu_utilization_pct.mean(),
            "cpu": grouped.cpu_utilization_pct.mean(),
            "run": grouped.run_id.agg(lambda ids: ids.value_counts().index[0]),
        }
    )
    starts = made.index.as_unit("ms").astype("int64")
    return tuple(
        Observation(int(at), float(row.power), _known(row.gpu), _known(row.cpu), None, str(row.run))
        for at, row in zip(starts, made.itertuples(), strict=True)
    )


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def real_traces(folder: Path) -> dict[str, list[Trace]]:
    """The open data as traces, by group."""
    nodes, runs = pd.read_parquet(folder / NODES), pd.read_parquet(folder / RUNS)
    return {
        "node": [Trace(f"node/{name}", windows_of(part)) for name, part in nodes.groupby("node_id")],
        "runs": [Trace(f"node/{name}", windows_of(part)) for name, part in runs.groupby("run_id")],
    }


def synthetic_traces(seed: int, count: int = 10, days: float = 1.0) -> list[Trace]:
    """So many synthetic nodes, each of so many days."""
    draw = np.random.default_rng(seed)
    n = int(days * 1440)
    return [synthetic(draw, f"node/s{i}", n, WINDOW_MS, 1_700_000_040_000) for i in range(count)]


def injected(trace: Trace, draw: np.random.Generator) -> Trace:
    """The trace with anomalies of kinds, places and lengths that are drawn; at most one per run and APART windows."""
    free, used = 0, set()
    for first in places(trace.windows, WINDOW_MS, WARM, 5):
        run = trace.windows[first].run_id
        if first < free or run in used or draw.random() < 0.8:
            continue
        kind = str(draw.choice(list(KINDS)))
        length = int(draw.integers(KINDS[kind].shortest, KINDS[kind].longest + 1))
        if first not in places(trace.windows[: first + length], WINDOW_MS, WARM, length):
            continue  # it would reach over the run's end
        trace = inject(trace, kind, first, length, draw)
        used.add(run)
        free = first + length + APART
    return trace


def alerts_of(trace: Trace) -> list[tuple[str, int]]:
    """Rule and window of each alert that is raised on the trace, as the stream would raise it."""
    series, watch = Series(trace.target, HORIZONS, HISTORY), AnomalyWatch(trace.target, WINDOW_MS)
    raised = []
    for place, window in enumerate(trace.windows):
        judged = [(j.issued.horizon_s, j.issued.quantiles, j.actual) for j in series.close(window)]
        raised += [(s.rule, place) for s in watch.observe(window, judged) if s.state == RAISED]
        series.issue({}, "none", {})
    return raised


@dataclass
class Tally:
    """Counts over traces of a group."""

    windows: int = 0
    injected: dict[str, int] = field(default_factory=dict)
    delays: dict[str, list[int]] = field(default_factory=dict)
    true: dict[str, int] = field(default_factory=dict)
    false: dict[str, int] = field(default_factory=dict)

    def add(self, trace: Trace, raised: Sequence[tuple[str, int]]) -> None:
        """Count what was found of the trace's labels, and which alerts had no cause."""
        self.windows += len(trace.windows)
        for label in trace.labels:
            self.injected[label.kind] = self.injected.get(label.kind, 0) + 1
            reach = range(label.first, label.last + AFTER + 1)
            found = [place for rule, place in raised if rule == label.rule and place in reach]
            if found:
                self.delays.setdefault(label.kind, []).append(min(found) - label.first + 1)
        for rule, place in raised:
            cause = any(label.first <= place <= label.last + AFTER for label in trace.labels)
            side = self.true if cause else self.false
            side[rule] = side.get(rule, 0) + 1


def rows_of(group: str, put: Tally, clean: Tally) -> Iterable[dict[str, Any]]:
    """The result of a group: a row per kind of anomaly, and one per rule."""
    for kind, made in KINDS.items():
        count, delays = put.injected.get(kind, 0), put.delays.get(kind, [])
        yield {
            "group": group,
            "kind": kind,
            "rule": made.rule,
            "injected": count,
            "recall": round(len(delays) / count, 3) if count else None,
            "delay_windows": round(float(np.mean(delays)), 1) if delays else None,
        }
    for rule in RULES:
        true, false = put.true.get(rule, 0), put.false.get(rule, 0)
        yield {
            "group": group,
            "kind": "all",
            "rule": rule,
            "alerts": true + false,
            "precision": round(true / (true + false), 3) if true + false else None,
            "false_per_10000": round(1e4 * clean.false.get(rule, 0) / clean.windows, 2),
            "clean_windows": clean.windows,
        }


def measured(group: str, traces: Sequence[Trace], rounds: int, seed: int) -> list[dict[str, Any]]:
    """The rows of a group: the traces as they are, and `rounds` times with anomalies put in."""
    clean, put = Tally(), Tally()
    for trace in traces:
        clean.add(trace, alerts_of(trace))
    for number in range(rounds):
        draw = np.random.default_rng([seed, number])
        for trace in traces:
            changed = injected(trace, draw)
            put.add(changed, alerts_of(changed))
    return list(rows_of(group, put, clean))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = ["group      kind         rule           injected  recall  delay (windows)"]
    for row in rows:
        if row["kind"] != "all":
            cells = [
                f"{row[n] if row[n] is not None else '-':>8}" for n in ("injected", "recall", "delay_windows")
            ]
            lines.append(f"{row['group']:10} {row['kind']:12} {row['rule']:14} {'  '.join(cells)}")
    lines += [
        "",
        "group      rule             alerts  precision  false alarms per 10,000 windows (nothing put in)",
    ]
    for row in rows:
        if row["kind"] == "all":
            value = "-" if row["precision"] is None else row["precision"]
            false = f"{row['false_per_10000']:>8} of {row['clean_windows']:,} windows"
            lines.append(f"{row['group']:10} {row['rule']:14} {row['alerts']:>8}  {value:>9}  {false}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. Exit code 0; 2 where the data folder lacks the files."""
    parser = argparse.ArgumentParser(prog="python -m bench anomalies", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("JOULE_BENCH_DATA"), metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=3, help="how often anomalies are put into each trace")
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    given = parser.parse_args(argv)
    began = time.monotonic()
    groups = {"synthetic": synthetic_traces(SEED)}
    if given.data is not None:
        missing = [name for name in (NODES, RUNS) if not (Path(given.data) / name).is_file()]
        if missing:
            parser.error(f"{given.data} has no {' and no '.join(missing)}")
        groups |= real_traces(Path(given.data))
    rows = [row for name, traces in groups.items() for row in measured(name, traces, given.rounds, SEED)]
    about = {
        "machine": machine(),
        "seed": SEED,
        "rounds": given.rounds,
        "took_s": round(time.monotonic() - began),
    }
    if given.json:
        print(json.dumps({**about, "rows": rows}, indent=2))
    else:
        print(table(rows))
        print(f"\n{json.dumps(about)}")
    return 0
