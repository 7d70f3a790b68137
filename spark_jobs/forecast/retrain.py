"""The training of the forecasts' model, as a process of its own beside the stream and at low priority.

`python -m spark_jobs.forecast.retrain [--data PATH] [--no-promote] [--scheduled] [--progress]` prints one JSON object.
The score decides who serves; the stream follows the registry's pointer by itself. With `--scheduled` it trains only
where the newest model is older than forecast.retrain_every_s. With `--progress` lines before it, {"progress": TEXT}
each, say what is done.

Exit code: 0 a model was promoted (or, scheduled, there was nothing to do), 1 an error, 4 none was.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # under spark-submit the folder of this file is on the path, not the project
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from conf import logs
from conf.settings import Settings, load_settings
from schemas.errors import PipelineError
from spark_jobs.forecast.learning.challenge import silent
from spark_jobs.forecast.learning.lock import BusyError, alone
from spark_jobs.forecast.learning.mirror import mirror
from spark_jobs.forecast.learning.tracking import tell_mlflow
from spark_jobs.forecast.learning.trainer import (
    Trained,
    horizons_of,
    is_due,
    past_of_file,
    past_of_store,
    train_and_store,
)
from spark_jobs.forecast.learning.training import Table, TooLittleError, cut_of, enough_for, table_of
from spark_jobs.forecast.models.registry import Registry
from spark_jobs.store import Address, connect, server_errors

NOT_PROMOTED = 4
NICE = 15


def main(argv: Sequence[str] | None = None) -> int:
    """Load settings, wire, run, exit code."""
    logs.begin("WARNING")
    parser = argparse.ArgumentParser(prog="spark_jobs.forecast.retrain", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="PATH", help="learn from this file or folder instead")
    parser.add_argument("--no-promote", action="store_true", help="store the model, but let it not serve")
    parser.add_argument("--scheduled", action="store_true", help="only where the newest model is old enough")
    parser.add_argument("--progress", action="store_true", help="also a line for each thing that is done")
    wanted = parser.parse_args(argv)
    os.nice(max(0, NICE - os.nice(0)))
    try:
        settings = load_settings()
        logs.configure(settings, "WARNING")
        with alone(settings.data_dir):
            said = _run(settings, wanted)
    except TooLittleError as error:
        said = {"version": None, "promoted": False, "reason": str(error)}
    except BusyError as error:
        if not wanted.scheduled:
            return _failed(error)
        said = {"version": None, "promoted": False, "reason": str(error)}
    except PipelineError as error:
        return _failed(error)
    sys.stdout.write(json.dumps(said, default=str) + "\n")
    return 0 if said["promoted"] or wanted.scheduled else NOT_PROMOTED


def _failed(error: PipelineError) -> int:
    logs.fail("retrain", error)
    return 1


def _run(settings: Settings, wanted: argparse.Namespace) -> Mapping[str, Any]:
    now = datetime.now(timezone.utc)
    registry = Registry(settings.model_registry)
    if wanted.scheduled and not is_due(registry, settings, now):
        return {"version": None, "promoted": False, "reason": "the newest model is not old enough"}
    trained = _train(settings, registry, wanted, now)
    # A training from a file needs no document store; one that is away is no reason to lose the model.
    try:
        with server_errors("the document store", settings.mongodb):
            mirror(connect(Address.of(settings)), registry)
    except PipelineError as error:
        logging.getLogger(__name__).warning("model_registry is not up to date: %s", error)
    if trained.promoted:
        cache = settings.data_dir / "cache" / "models"
        tell_mlflow(settings.forecast.mlflow_uri, registry, trained.manifest.version, cache)
    return trained.to_doc()


def _train(settings: Settings, registry: Registry, wanted: argparse.Namespace, now: datetime) -> Trained:
    say = _progress if wanted.progress else silent
    say("reading the past")
    table, source = _past(settings, wanted.data, now)
    enough_for(table, cut_of(table))  # before Spark starts, which takes seconds and hundreds of MiB
    from spark_jobs.session import spark_session

    say(f"{len(table.issued_ms)} windows; starting Spark")
    small = settings.model_copy(update={"stream": settings.stream.model_copy(update=_SMALL)})
    spark = spark_session("joulestream-retrain", small, _NUMERIC)
    try:
        return train_and_store(spark, settings, registry, table, source, not wanted.no_promote, now, say)
    finally:
        spark.stop()


def _progress(said: str) -> None:
    sys.stdout.write(json.dumps({"progress": said}) + "\n")
    sys.stdout.flush()


_SMALL = {"master": "local[2]"}
# Nearly all of a training is arithmetic in Spark's own code, which Java's last compiler makes about half as dear again;
# what it shuffles within its one process is not worth compressing.
_NUMERIC = {
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",
    "spark.shuffle.compress": "false",
    "spark.shuffle.spill.compress": "false",
}


def _past(settings: Settings, data: Path | None, now: datetime) -> tuple[Table, str]:
    window_ms = settings.stream.window_s * 1000
    if data is not None:
        series, source = past_of_file(data, window_ms), data.name
    else:
        series, source = past_of_store(settings, now), "documents"
    return table_of(series, window_ms, horizons_of(settings)), source


if __name__ == "__main__":
    sys.exit(main())
