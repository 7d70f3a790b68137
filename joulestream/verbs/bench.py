"""Measure the pipeline: rows a second of each step, latency, memory; as a table and JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[2]
context_settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def command(ctx: typer.Context) -> None:
    """Measure the pipeline: rows a second of each step, latency, memory; as a table and JSON."""
    from joulestream.local.jars import ensure_jars
    from joulestream.local.java import find_java
    from joulestream.output import say

    java = find_java()
    ensure_jars(java, say)
    os.environ["JAVA_HOME"] = str(java.home)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "bench", *ctx.args])  # noqa: S606 - a list, no shell
