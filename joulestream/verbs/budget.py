"""Set limits in kWh, kg CO2e or money on runs, users, projects, nodes or all, and see how far they are used."""

from __future__ import annotations

import getpass
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from joulestream.alerting import budgets
from joulestream.alerting.budgets import Budget, BudgetError
from joulestream.alerting.evaluation import status_of
from joulestream.alerting.evaluator import Evaluator
from joulestream.alerting.opening import open_db
from joulestream.alerting.periods import KINDS, TOTAL
from joulestream.alerting.rules import STATUS_EVERY
from joulestream.alerting.service import utc_now
from joulestream.context import Context, context
from joulestream.output import AsJson, DataDir, MongoUri, cell, print_json, print_table, say
from spark_jobs.store import Db, Doc

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False, pretty_exceptions_enable=False)
Name = Annotated[str, typer.Argument(metavar="NAME")]
COLUMNS = (
    "budget",
    "whose",
    "period",
    "limit",
    "spent",
    "%",
    "forecast",
    "p10",
    "p90",
    "breaks",
    "stage",
    "note",
)


@app.command("add")
def add(
    name: Name,
    limit: Annotated[str, typer.Option(metavar="AMOUNT", help="Such as 5kWh, 2kg or 10EUR.")],
    run: Annotated[str | None, typer.Option(metavar="ID", help="Limits this run.")] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Limits the runs of this user.")] = None,
    project: Annotated[
        str | None, typer.Option(metavar="ID", help="Limits the runs of this project.")
    ] = None,
    node: Annotated[str | None, typer.Option(metavar="ID", help="Limits this node.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Limits all runs together.")] = False,
    period: Annotated[
        str, typer.Option(help=f"{', '.join(KINDS)}: the limit holds for each of them anew (UTC).")
    ] = TOTAL,
    on_break: Annotated[
        str, typer.Option(help="notify; or stop: ask the subject's runs to stop when the limit is reached.")
    ] = "notify",
    channel: Annotated[
        list[str] | None,
        typer.Option(help="webhook, mail or command; may be repeated. Default: all that are configured."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change the budget of this name.")] = False,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Add a budget. Exit code 1 if there is one of this name already, or if it makes no sense."""
    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    scope, key = _subject({"run": run, "user": user, "project": project, "node": node}, every)
    value, unit = budgets.parse_limit(limit, ctx.settings.alerts)
    channels = tuple(dict.fromkeys(channel or ()))
    budget = Budget(name, scope, key, value, unit, period, on_break, channels, utc_now(), _me())
    with open_db(ctx) as db:
        budgets.add(db, budget, replace)
    if as_json:
        print_json(_public(budget.to_doc()))
        return
    each = "" if period == TOTAL else f" each {period}"
    say(f"budget {name}: {budget.whose} may use {value:g} {unit}{each}; see: joule budget ls")


@app.command("ls")
def ls(data_dir: DataDir = None, mongodb_uri: MongoUri = None, as_json: AsJson = False) -> None:
    """List budgets: what is spent, what is forecast for the end, how likely it breaks.

    The figures are those of the alerts process; where none runs they are read now.
    """
    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    with open_db(ctx) as db:
        found = _with_status(db, ctx, utc_now())
    if as_json:
        print_json([_public(doc) for doc in found])
        return
    empty = "no budgets; add one with: joule budget add NAME --limit 5kWh --user NAME"
    print_table([_row(doc) for doc in found], COLUMNS, empty=empty)


@app.command("rm")
def rm(name: Name, data_dir: DataDir = None, mongodb_uri: MongoUri = None, as_json: AsJson = False) -> None:
    """Remove a budget; its open alerts are resolved. Exit code 1 if there is none of this name."""
    with open_db(context(data_dir, {"mongodb.uri": mongodb_uri})) as db:
        budgets.remove(db, name)
    if as_json:
        print_json({"removed": name})
        return
    say(f"budget {cell(name)} is removed")


def _subject(keys: dict[str, str | None], every: bool) -> tuple[str, str | None]:
    given: list[tuple[str, str | None]] = [(scope, key) for scope, key in keys.items() if key is not None]
    if every:
        given.append(("all", None))
    if len(given) != 1:
        raise typer.BadParameter("give one of --run, --user, --project, --node, --all", param_hint="whose")
    return given[0]


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return ""


def _with_status(db: Db, ctx: Context, now: datetime) -> list[Doc]:
    """The stored budgets; where a status is old, evaluated now without writing anything."""
    docs = list(budgets.stored(db))
    old_before = now - 2 * STATUS_EVERY - timedelta(seconds=ctx.settings.alerts.every_s)
    old = [doc for doc in docs if (doc.get("status") or {}).get("evaluated_at", old_before) <= old_before]
    if not old:
        return docs
    evaluator = Evaluator(db, ctx.settings)
    evaluator.look(now)
    for doc in old:
        try:
            budget = Budget.from_doc(doc)
        except BudgetError as error:
            doc["status"] = {"note": str(error)}
            continue
        doc["status"] = status_of(evaluator.evaluations(budget, now)[0])
    return docs


def _public(doc: Doc) -> Doc:
    return {name: value for name, value in doc.items() if name != "_id"}


def _row(doc: Doc) -> dict[str, Any]:
    status: Doc = doc.get("status") or {}
    end: Doc = status.get("forecast") or {}
    spent, limit, chance = status.get("actual"), doc.get("limit"), status.get("probability")
    stages = [status.get("stage_pct_actual") or 0, status.get("stage_pct_forecast") or 0]
    key = doc.get("key")
    return {
        "budget": doc["_id"],
        "whose": "all" if key is None else f"{doc.get('scope')} {key}",
        "period": status.get("period", doc.get("period")),
        "limit": f"{limit:g} {doc.get('unit')}" if isinstance(limit, int | float) else None,
        "spent": spent,
        "%": f"{100 * spent / limit:.0f} %" if spent is not None and limit else None,
        **{name: end.get(name) for name in ("p10", "p90")},
        "forecast": end.get("point"),
        "breaks": None if chance is None else f"{100 * chance:.0f} %",
        "stage": " / ".join(f"{stage} %" if stage else "-" for stage in stages),
        "note": status.get("note"),
    }
