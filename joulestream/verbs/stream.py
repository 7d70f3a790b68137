"""Run the streaming job in the foreground, against given servers or the running stack's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from joulestream.context import context
from joulestream.output import DataDir, KafkaBootstrap, MongoUri, say

ROOT = Path(__file__).resolve().parents[2]


def command(
    data_dir: DataDir = None,
    kafka_bootstrap: KafkaBootstrap = None,
    mongodb_uri: MongoUri = None,
    checkpoint_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder or URI of the checkpoints.")
    ] = None,
    window_s: Annotated[int | None, typer.Option(help="Length of a window in seconds.")] = None,
    watermark_s: Annotated[int | None, typer.Option(help="How late an event may be, in seconds.")] = None,
    trigger_s: Annotated[float | None, typer.Option(help="Seconds between batches; 0: at once.")] = None,
    max_offsets: Annotated[int | None, typer.Option(help="Most messages of one batch.")] = None,
) -> None:
    """Run the streaming job in the foreground, against given servers or the running stack's.

    SIGTERM or Ctrl-C ends it after the batch in hand. Exit code: 0 when asked to stop, 1 when a query dies.
    """
    from joulestream.local.jars import ensure_jars, sets_for
    from joulestream.local.java import find_java

    flags = {
        "kafka.bootstrap": kafka_bootstrap,
        "mongodb.uri": mongodb_uri,
        "stream.checkpoint_dir": checkpoint_dir,
        "stream.window_s": window_s,
        "stream.watermark_s": watermark_s,
        "stream.trigger_s": trigger_s,
        "stream.max_offsets_per_trigger": max_offsets,
    }
    settings = context(data_dir, flags).settings
    java = find_java()
    if settings.stream.jars_dir is None:
        ensure_jars(java, say, sets_for(settings))
    os.environ.update(settings.environment())
    os.environ.update(
        JAVA_HOME=str(java.home), PYSPARK_PYTHON=sys.executable, SPARK_CONF_DIR=str(ROOT / "conf")
    )
    os.execv(sys.executable, [sys.executable, "-m", "spark_jobs.stream"])  # noqa: S606 - a list, no shell
