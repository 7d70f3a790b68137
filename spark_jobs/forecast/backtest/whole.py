"""The published table: every task that the given data allows, scored with what was known when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from spark_jobs.forecast.backtest.nodes import WINDOW_MS, Say, node_rows
from spark_jobs.forecast.backtest.run_energy import TASK as RUN_ENERGY
from spark_jobs.forecast.backtest.run_energy import epoch_rows
from spark_jobs.forecast.backtest.run_energy import rows as energy_rows
from spark_jobs.forecast.backtest.runs import WINDOW_MS as RUN_WINDOW_MS
from spark_jobs.forecast.backtest.runs import run_rows
from spark_jobs.forecast.backtest.traces import NODE, RUN, Trace, TraceError, files_of, read_traces

TASKS = (NODE, RUN, RUN_ENERGY)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be judged. `test_from`: the share of windows that is not judged, where no history is given."""

    data: Path
    tasks: tuple[str, ...] = TASKS
    history: Path | None = None
    test_from: float = 0.6
    seed: int = 1
    offline: bool = True


def backtest(spark: Callable[[], SparkSession], wanted: Wanted, say: Say) -> list[dict[str, Any]]:
    """The rows of the table. Raises TraceError where the data does not allow any of the tasks."""
    files = files_of(wanted.data)
    found: list[dict[str, Any]] = []
    if NODE in wanted.tasks and NODE in files:
        found += _nodes(spark(), files[NODE], wanted, say)
    if RUN in wanted.tasks and RUN in files:
        traces = read_traces(files[RUN], RUN, RUN_WINDOW_MS)
        found += run_rows(spark(), traces, wanted.seed, say, wanted.offline)
    if RUN_ENERGY in wanted.tasks and RUN in files:
        for file in files[RUN]:
            found += energy_rows(file)
            say(f"{RUN_ENERGY}: {file.name} judged")
        # Measured runs have no epochs in the data, so those that are made up stand in for them.
        found += [{**one, "at": f"{one['at']} (made-up runs)"} for one in epoch_rows()]
    if not found:
        raise TraceError(f"{wanted.data} holds no data for {', '.join(wanted.tasks)}")
    return found


def _nodes(spark: SparkSession, files: Sequence[Path], wanted: Wanted, say: Say) -> list[dict[str, Any]]:
    traces = read_traces(files, NODE, WINDOW_MS)
    if wanted.history is None:
        starts = np.concatenate([[one.start_ms for one in trace.observations] for trace in traces])
        test_ms = int(np.quantile(starts, wanted.test_from, method="lower")) + WINDOW_MS
    else:
        test_ms = min(trace.observations[0].start_ms for trace in traces) + WINDOW_MS
        earlier = files_of(wanted.history).get(NODE)
        if not earlier:
            raise TraceError(f"{wanted.history} holds no node series")
        traces = _joined(read_traces(earlier, NODE, WINDOW_MS), traces, test_ms)
    return node_rows(spark, traces, test_ms, wanted.seed, say, wanted.offline)


def _joined(earlier: Sequence[Trace], later: Sequence[Trace], test_ms: int) -> list[Trace]:
    """Series of the same name put together; of the earlier ones only what lies before the later begins."""
    found = {trace.target: trace for trace in later}
    for trace in earlier:
        own = found.get(trace.target)
        until = own.observations[0].start_ms if own else test_ms - WINDOW_MS
        n = sum(one.start_ms < until for one in trace.observations)
        if n:
            rest = (own.observations, own.groups) if own else ((), ())
            observations, groups = trace.observations[:n] + rest[0], trace.groups[:n] + rest[1]
            found[trace.target] = Trace(trace.target, observations, groups)
    return [found[name] for name in sorted(found)]
