"""Report energy and CO2e by user, model, run, node, namespace, pod or region over a range of time."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Annotated

import typer

from joulestream.context import context
from joulestream.output import AsJson, DataDir, MongoUri, print_json, print_table
from joulestream.reports import render
from joulestream.reports.reading import open_reader, utc_now, when
from joulestream.reports.report import Range, make_report
from joulestream.reports.units import in_fitting_units


class By(str, Enum):
    """What the lines of a report are."""

    USER = "user"
    MODEL = "model"
    RUN = "run"
    NODE = "node"
    NAMESPACE = "namespace"
    POD = "pod"
    REGION = "region"


class Format(str, Enum):
    """How a report is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def command(
    by: Annotated[By, typer.Option(help="What each line is.")] = By.USER,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="RFC 3339, a date, or how long ago (7d).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this time.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Report energy and CO2e by user, model, run, node, namespace, pod or region.

    Sums the stored windows of the range, which is widened to whole windows and stated in the output. Without
    --from and --to it holds all windows. Every ratio is a sum over a sum; the last line is the sum of the
    others. Exit code: 0, also for a range without data; 1 where the store does not answer; 2 wrong usage.
    """
    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    now = utc_now()
    since = when(start, now, "--from") if start else None
    until = when(end, now, "--to") if end else None
    if since and until and since >= until:
        raise typer.BadParameter(
            f"{end!r} is not after --from {start!r}; give a later time", param_hint="--to"
        )
    wanted = Range.around(since, until, ctx.settings.stream.window_s)
    with open_reader(ctx) as reader:
        own = ctx.settings.node
        report = make_report(reader, by.value, wanted, {own.node_id: own.region_iso})
    if as_json or form is Format.JSON:
        print_json(render.document(report))
    elif form is Format.CSV:
        sys.stdout.write(render.csv_text(report))
    else:
        sys.stdout.write(render.heading(report) + "\n")
        print_table(in_fitting_units(render.table_rows(report)), empty=render.nothing(report))
        sys.stdout.write(render.sources_text(report))
