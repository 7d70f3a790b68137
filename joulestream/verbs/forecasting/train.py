"""Train a challenger to the model in use; the score decides whether it serves."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer

from joulestream.context import Context, context
from joulestream.output import DEGRADED, ERROR, OK, AsJson, DataDir, MongoUri, print_json, print_table, say

SHOWN = ("mae_w", "naive_mae_w", "seasonal_mae_w", "ratio", "coverage_80", "coverage_90", "n")


def command(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", exists=True, help="Learn from this Parquet file or folder instead of the windows."
        ),
    ] = None,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Let it serve if its score says so.")
    ] = True,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Train a challenger to the model in use; the score decides whether it serves.

    Learns from the closed windows of the last forecast.train_days, in a process of its own at low priority.
    A running stream swaps the model by itself within seconds.
    Exit code: 0 promoted, 1 an error, 4 not promoted (too little data, or its score does not suffice).
    """
    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    found = _train(ctx, data, promote)
    if as_json:
        print_json(found)
    else:
        _show(found)
    raise typer.Exit(OK if found["promoted"] else DEGRADED)


def _train(ctx: Context, data: Path | None, promote: bool) -> dict[str, Any]:
    """Run the training as a process of its own: it needs Spark, and gives way to all others."""
    from joulestream.local.java import find_java
    from joulestream.local.process import ROOT, python

    flags = ["--progress", *(["--data", str(data.absolute())] if data else [])]
    flags += [] if promote else ["--no-promote"]
    say(
        "training a model (a Spark job at low priority; this takes a minute or two where nothing else runs) …"
    )
    environment = {"JAVA_HOME": str(find_java().home), "SPARK_CONF_DIR": str(ROOT / "conf")}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            python("spark_jobs.forecast.retrain", *flags),
            env={**os.environ, **ctx.settings.environment(), **environment},
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("JOULE_DEBUG") else errors,
            cwd=ROOT,
        ) as process,
    ):
        found = _followed(process.stdout or ())
        if process.wait() not in (OK, DEGRADED) or found is None:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            say(f"the training failed: {lines[-1] if lines else 'JOULE_DEBUG=1 shows why'}")
            raise typer.Exit(ERROR)
    return found


def _followed(lines: Iterable[bytes]) -> dict[str, Any] | None:
    """The result of a training, whose progress is said as it comes; None where it ends without one."""
    began_s = monotonic()
    found = None
    for line in lines:
        told: dict[str, Any] = json.loads(line)
        if "progress" in told:
            say(f"{monotonic() - began_s:5.0f} s  {told['progress']}")
        else:
            found = told
    return found


def _show(found: Mapping[str, Any]) -> None:
    if found["version"] is None:
        say(f"nothing was trained: {found['reason']}")
        return
    rows = [
        {"horizon_s": int(horizon), **{name: score.get(name) for name in SHOWN}}
        for horizon, score in found["scores"].items()
    ]
    print_table(rows)
    say(f"model {found['version']} is {found['verdict']}: {found['reason']}")
