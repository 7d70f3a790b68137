"""List, show, compare, export and stop training runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from conf.links import run_url
from dashboard.export import run_record, runs_csv, runs_json
from dashboard.store import Run, RunFilter, Store
from joulestream.context import Context, context
from joulestream.output import AsJson, DataDir, KafkaBootstrap, MongoUri, cell, print_json, print_table, say
from joulestream.reports.compare import comparison
from joulestream.reports.reading import base_url, open_store, utc_now, when
from joulestream.reports.units import in_fitting_units
from schemas.errors import PipelineError

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False, pretty_exceptions_enable=False)
MANY = 100_000
LISTED = {
    "run_id": "run",
    "status": "status",
    "user_id": "user",
    "model_name": "model",
    "started_at": "started",
    "duration_s": "s",
    "energy_kwh": "kWh",
    "emissions_kg": "kg CO2e",
    "mean_power_w": "mean W",
    "best_accuracy": "best acc.",
}

Status = Annotated[
    list[str] | None,
    typer.Option(help="running, stale, completed, failed or stopped; may be repeated."),
]
RunIds = Annotated[list[str], typer.Argument(metavar="RUN", help="Run id.")]


class Format(str, Enum):
    """Formats of an export."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"


@app.command("ls")
def ls(
    status: Status = None,
    user: Annotated[list[str] | None, typer.Option(help="Only runs of this user.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only runs of this model.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs with an event since then (24h, a date).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest event first."""
    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    now = utc_now()
    wanted = RunFilter(
        statuses=_statuses(status),
        users=tuple(user or ()),
        models=tuple(model or ()),
        active_from=when(since, now, "--since") if since else None,
    )
    with open_store(ctx) as store:
        found = store.runs(wanted, now=now, limit=limit)
    if as_json:
        print_json([_record(ctx, run) for run in found.runs])
        return
    rows = [{title: getattr(run, name) for name, title in LISTED.items()} for run in found.runs]
    print_table(in_fitting_units(rows), empty="no runs match; start one with: joule track -- python …")
    if found.matching > len(found.runs):
        say(f"{len(found.runs)} of {found.matching} runs; give a larger --limit to see more")
    if found.runs:
        say(f"a run on the dashboard: {run_url(base_url(ctx), found.runs[0].run_id)}")


@app.command("show")
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one run. Exit code 1 if there is none of this id."""
    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    with open_store(ctx) as store:
        (run,) = _found(store, [run_id])
    record = _record(ctx, run)
    if as_json:
        print_json(record)
        return
    known = {name: value for name, value in record.items() if value is not None}
    rows = [
        {"field": name, "value": cell(value)} for name, value in known.items() if value not in ((), [], {})
    ]
    print_table(rows)


@app.command("compare")
def compare(
    run_ids: RunIds,
    every: Annotated[bool, typer.Option("--all", help="Also the lines in which the runs agree.")] = False,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs side by side; the first one is the baseline. Exit code 1 if one is not there."""
    if len(set(run_ids)) < 2:
        raise typer.BadParameter("give at least two different runs", param_hint="RUN")
    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    with open_store(ctx) as store:
        runs = _found(store, run_ids)
    rows = comparison(runs, only_differences=not every)
    if as_json:
        print_json({"baseline": runs[0].run_id, "runs": [_record(ctx, run) for run in runs], "rows": rows})
        return
    print_table([_flat(row, runs) for row in rows], empty="the runs agree in everything; see --all")


@app.command("export")
def export(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN")] = None,
    every: Annotated[bool, typer.Option("--all", help="All runs.")] = False,
    form: Annotated[
        Format, typer.Option("--format", help="csv is safe to open in a spreadsheet.")
    ] = Format.CSV,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of stdout.")] = None,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
) -> None:
    """Export one run, or all of them, to stdout or a file."""
    if (run_id is None) is not every:
        raise typer.BadParameter("name one run, or give --all", param_hint="RUN")
    with open_store(context(data_dir, {"mongodb.uri": mongodb_uri})) as store:
        runs = _all(store) if run_id is None else _found(store, [run_id])
    text = _export(runs, form)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise PipelineError(
            f"{out} cannot be written ({error.strerror}); name another file with --out"
        ) from None
    say(f"{len(runs)} run(s) written to {out}")


@app.command("stop")
def stop(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; the run's end repeats it.")] = None,
    kafka_bootstrap: KafkaBootstrap = None,
    data_dir: DataDir = None,
) -> None:
    """Ask a run to stop. It obeys if its tracker was told to: `on_budget="stop"`, or `joule track --on-budget stop`.

    The broker has the request when this returns, whether or not such a run is there.
    """
    from joulestream.stopping import request_stop

    kafka = context(data_dir, {"kafka.bootstrap": kafka_bootstrap}).settings.kafka
    request_stop(kafka, run_id, reason, utc_now())
    say(f"run {cell(run_id)} is asked to stop; it does so at its next log, if it was started to obey")


def _statuses(given: list[str] | None) -> tuple[str, ...]:
    known = ("running", "stale", "completed", "failed", "stopped", "unknown")
    wrong = [status for status in given or () if status not in known]
    if wrong:
        raise typer.BadParameter(
            f"{wrong[0]!r} is no status; expected one of {', '.join(known)}", param_hint="--status"
        )
    return tuple(given or ())


def _record(ctx: Context, run: Run) -> dict[str, Any]:
    """A run as JSON, with its link."""
    derived = {"co2e_per_point_kg": run.co2e_per_point_kg, "url": run_url(base_url(ctx), run.run_id)}
    first = {"run_id": run.run_id, "status": run.status}
    rest = asdict(run) | {"hyperparameters": dict(run.hyperparameters)}
    return first | rest | derived


def _all(store: Store) -> tuple[Run, ...]:
    found = store.runs(now=utc_now(), limit=MANY)
    if found.matching > len(found.runs):
        say(f"the newest {len(found.runs)} of {found.matching} runs; older ones: export them one by one")
    return found.runs


def _found(store: Store, run_ids: list[str]) -> tuple[Run, ...]:
    runs = store.some_runs(run_ids, now=utc_now())
    missing = sorted(set(run_ids) - {run.run_id for run in runs})
    if missing:
        names = ", ".join(cell(name) for name in missing)
        raise PipelineError(f"no run is called {names}; the runs that there are: joule runs ls")
    return runs


def _flat(row: dict[str, Any], runs: Iterable[Run]) -> dict[str, Any]:
    values = zip(runs, row["values"], row["ratios"], strict=True)
    shown = {"field": row["field"]}
    for position, (run, value, ratio) in enumerate(values):
        factor = f"  ×{ratio:.3g}" if position and ratio is not None else ""
        shown[cell(run.run_id)] = cell(value) + factor
    return shown


def _export(runs: tuple[Run, ...], form: Format) -> str:
    if form is Format.CSV:
        return runs_csv(runs)
    if form is Format.JSON:
        return runs_json(runs) + "\n"
    return "".join(_lines(runs))


def _lines(runs: tuple[Run, ...]) -> Iterator[str]:
    for run in runs:
        yield json.dumps(run_record(run), ensure_ascii=True, allow_nan=False) + "\n"
