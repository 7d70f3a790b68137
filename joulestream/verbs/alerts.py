"""See what was noticed and how it was delivered, try the channels, deliver again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer

from dashboard.store.alerts import RULES
from joulestream.alerting.budgets import CHANNELS
from joulestream.alerting.opening import open_db
from joulestream.context import context
from joulestream.output import AsJson, DataDir, KafkaBootstrap, MongoUri, cell, print_json, print_table, say
from schemas import documents
from schemas.errors import PipelineError

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False, pretty_exceptions_enable=False)
Identity = Annotated[str, typer.Argument(metavar="ID", help="As `alerts ls` says.")]


class State(str, Enum):
    """Which alerts are listed."""

    OPEN = "open"
    RESOLVED = "resolved"
    ALL = "all"


@app.command("ls")
def ls(
    state: Annotated[State, typer.Option(help="Only those in this state.")] = State.ALL,
    rule: Annotated[
        str | None, typer.Option(metavar="RULE", help=f"Only of this rule: {', '.join(RULES)}.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """List alerts, newest first."""
    from joulestream.alerting.alerts import newest
    from joulestream.alerting.service import utc_now

    if rule is not None and rule not in RULES:
        problem = f"{rule!r} is no rule; expected one of {', '.join(RULES)}"
        raise typer.BadParameter(problem, param_hint="--rule")
    wanted = None if state is State.ALL else state.value
    with open_db(context(data_dir, {"mongodb.uri": mongodb_uri})) as db:
        found = newest(db, wanted, rule, limit, utc_now())
    if as_json:
        print_json([_public(doc) for doc in found])
        return
    filtered = wanted is not None or rule is not None
    print_table([_row(doc) for doc in found], empty="no alerts match" if filtered else "no alerts")
    if len(found) == limit:
        say(f"the newest {limit}; give a larger --limit to see more")


@app.command("show")
def show(
    identity: Identity, data_dir: DataDir = None, mongodb_uri: MongoUri = None, as_json: AsJson = False
) -> None:
    """Show all of one alert: its evidence, and how each delivery went. Exit code 1 if there is none of this id."""
    with open_db(context(data_dir, {"mongodb.uri": mongodb_uri})) as db:
        found = db[documents.ALERTS].find_one({"_id": identity})
    if found is None:
        raise PipelineError(f"no alert is called {cell(identity)}; those that there are: joule alerts ls")
    record = _public(found)
    if as_json:
        print_json(record)
        return
    print_table([{"field": name, "value": _text(value)} for name, value in record.items()])


@app.command("retry")
def retry(
    identity: Identity, data_dir: DataDir = None, mongodb_uri: MongoUri = None, as_json: AsJson = False
) -> None:
    """Try the failed deliveries of an alert again, with the same key. Exit code 1 if none has failed."""
    from joulestream.alerting.outbox import Outbox
    from joulestream.alerting.service import utc_now

    ctx = context(data_dir, {"mongodb.uri": mongodb_uri})
    with open_db(ctx) as db:
        n_again = Outbox(db, ctx.settings.alerts.timeout_s).retry(identity, utc_now())
    if not n_again:
        raise PipelineError(f"no delivery of {cell(identity)} has failed; look at: joule alerts ls")
    if as_json:
        print_json({"id": identity, "deliveries": n_again})
        return
    say(f"{n_again} delivery(ies) will be tried again by the alerts process")


@app.command("test")
def try_channels(
    channel: Annotated[
        list[str] | None, typer.Option(help="webhook, mail or command; default: all that are configured.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send a test alert through the channels now. Exit code 1 if one does not take it, or none is configured."""
    from joulestream.alerting.channels import NOT_SET, configured, test_alert
    from joulestream.alerting.delivery import delivery_key
    from joulestream.alerting.service import utc_now

    unknown = [name for name in channel or () if name not in CHANNELS]
    if unknown:
        said = f"{unknown[0]!r} is no channel; expected one of {', '.join(CHANNELS)}"
        raise typer.BadParameter(said, param_hint="--channel")
    channels = configured(context(data_dir).settings)
    wanted = channel or list(channels)
    missing = [name for name in wanted if name not in channels]
    if missing:
        needed = ", ".join(NOT_SET[name] for name in missing)
        raise PipelineError(f"channel {', '.join(missing)} is not configured; set {needed}")
    if not wanted:
        raise PipelineError(f"no channel is configured; set one of {', '.join(NOT_SET.values())}")
    alert = test_alert(utc_now())
    results = []
    for name in wanted:
        problem = None
        try:
            channels[name].deliver(alert, delivery_key(alert["_id"], name))
        except PipelineError as error:
            problem = str(error)
        results.append({"channel": name, "taken": problem is None, "problem": problem})
    if as_json:
        print_json(results)
    else:
        print_table(results)
    if any(result["problem"] for result in results):
        raise typer.Exit(1)


@app.command("run")
def run(
    data_dir: DataDir = None, kafka_bootstrap: KafkaBootstrap = None, mongodb_uri: MongoUri = None
) -> None:
    """Run the alerts process here until Ctrl-C; `joule up` starts one by itself, and several do no harm."""
    import signal
    import threading

    from conf import logs
    from joulestream.alerting.service import serve

    settings = context(data_dir, {"mongodb.uri": mongodb_uri, "kafka.bootstrap": kafka_bootstrap}).settings
    logs.configure(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(settings, stop)


def _public(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": doc["_id"], **{name: value for name, value in doc.items() if name != "_id"}}


def _row(doc: Mapping[str, Any]) -> dict[str, Any]:
    sent = [f"{entry['channel']} {_state(entry)}" for entry in doc.get("deliveries", ())]
    return {
        "raised": doc.get("raised_at"),
        "state": doc.get("state"),
        "severity": doc.get("severity"),
        "message": doc.get("message"),
        "deliveries": ", ".join(sent) or "none",
        "id": doc["_id"],
    }


def _state(entry: Mapping[str, Any]) -> str:
    tries = entry.get("attempts", 0)
    error = f": {entry['last_error']}" if entry.get("last_error") else ""
    about = f"{entry['about']} " if entry.get("about") else ""
    tried = "" if entry["state"] == "sent" else f" (try {tries}{error})"
    return f"{about}{entry['state']}{tried}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return cell(value)
