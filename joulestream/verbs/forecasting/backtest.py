"""Judge the forecasts on measured data, beside naive and offline models."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulestream.output import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "JOULE_BENCH_DATA"
COLUMNS = (
    "task",
    "group",
    "horizon_s",
    "model",
    "n",
    "mae",
    "mae_ratio",
    "wql_ratio",
    "coverage_80",
    "coverage_90",
)


class Task(str, Enum):
    """What can be judged."""

    NODE_POWER = "node_power"
    RUN_POWER = "run_power"
    RUN_ENERGY = "run_energy"


def command(
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", envvar=VARIABLE, help="Parquet file, or a folder of them.")
    ] = None,
    task: Annotated[list[Task] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    history: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Earlier data of the same series: then all of --data is judged."),
    ] = None,
    test_from: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of a node series before the part that is judged.")
    ] = 0.6,
    seed: Annotated[int, typer.Option(help="Seed of models and splits.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Without the offline regressors.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge the forecasts on measured data: a rolling origin with refits every 6 h, runs apart from one another.

    Ratios are to strong naive (the better of last value and the value of a day before).
    """
    # Threads that wait for one another by spinning crawl on a machine that does other work too.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from spark_jobs.forecast.backtest.whole import TASKS, Wanted, backtest

    if data is None:
        raise typer.BadParameter(f"give --data PATH or set {VARIABLE}")
    tasks = tuple(one.value for one in task) if task else TASKS
    rows = backtest(_session, Wanted(data, tasks, history, test_from, seed, not quick), say)
    if as_json:
        print_json(rows)
        return
    print_table(rows, _columns(rows))


def _columns(rows: Sequence[dict[str, object]]) -> list[str]:
    extra = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in COLUMNS]
    return [*COLUMNS, *(name for name in extra if not name.startswith("worst"))]


def _session() -> SparkSession:
    """A local session of the jobs, without a stack."""
    from conf.settings import load_settings
    from joulestream.local.jars import ensure_jars
    from joulestream.local.java import find_java
    from spark_jobs.session import spark_session

    java = find_java()
    settings = load_settings({})
    if settings.stream.jars_dir is None:
        ensure_jars(java, say)
    os.environ.update(
        JAVA_HOME=str(java.home), PYSPARK_PYTHON=sys.executable, SPARK_CONF_DIR=str(ROOT / "conf")
    )
    spark = spark_session("backtest", settings)
    spark.sparkContext.setLogLevel("ERROR")  # what MLlib says of small trainings helps nobody here
    return spark
