"""Show what runs and how far each query of the stream is."""

from __future__ import annotations

from typing import Any

import typer

from joulestream.context import Context, context
from joulestream.local.state import ServiceState, StackState
from joulestream.output import DEGRADED, NOT_RUNNING, AsJson, DataDir, print_json, print_table, say
from schemas.errors import PipelineError

PROCESSES = ("stream", "store", "broker", "agent", "alerts", "dashboard", "exporter")


def command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what runs and how far each query of the stream is.

    Exit code: 0 all services run, 3 no stack runs from this data folder, 4 a service is down.
    """
    ctx = context(data_dir)
    if ctx.state is None:
        if as_json:
            print_json({"running": False, "data_dir": str(ctx.data_dir)})
        say(f"no stack runs from {ctx.data_dir}; start one with: ./joule up")
        raise typer.Exit(NOT_RUNNING)
    document = describe(ctx, ctx.state)
    if as_json:
        print_json(document)
    else:
        _show(document)
    if not document["healthy"]:
        raise typer.Exit(DEGRADED)


def describe(ctx: Context, state: StackState) -> dict[str, Any]:
    """The status as one document."""
    from joulestream.progress import query_progress

    services = [_service(name, service) for name, service in state.services.items()]
    queries, problem = query_progress(ctx.settings)
    _lag_now(ctx, queries)
    return {
        "running": True,
        "healthy": state.phase == "ready" and all(one["healthy"] for one in services) and problem is None,
        "phase": state.phase,
        "data_dir": state.data_dir,
        "kafka_bootstrap": state.kafka_bootstrap,
        "mongodb_uri": state.mongodb_uri,
        "dashboard_url": state.dashboard_url,
        "document_server": state.document_server,
        "supervisor_pid": state.supervisor_pid,
        **{f"{name}_pid": _pid(state, name) for name in PROCESSES},
        "services": services,
        "queries": queries,
        "problem": problem,
    }


def _lag_now(ctx: Context, queries: list[dict[str, Any]]) -> None:
    """Set each query's lag to what is not settled of its topic at this moment.

    The stream itself says it once a batch, so while a long one is under way that is old. Where the broker does not
    answer, it is all there is.
    """
    if not queries:
        return
    from joulestream.draining import read_backlog, read_ends
    from joulestream.reports.reading import open_reader

    try:
        ends = read_ends(ctx.settings.kafka)
        with open_reader(ctx) as reader:
            lag = read_backlog(reader, ends).lag
    except PipelineError:
        return
    for query in queries:
        query["lag"] = sum(
            count for place, count in lag.items() if place.rpartition("/")[0] == query["topic"]
        )


def _pid(state: StackState, name: str) -> int | None:
    service = state.services.get(name)
    return service.pid if service is not None and service.alive else None


def _service(name: str, service: ServiceState) -> dict[str, Any]:
    shown = service.state if service.alive or service.state != "running" else "died"
    return {
        "service": name,
        "state": shown,
        "healthy": shown in ("running", "finished", "given"),
        "pid": service.pid if service.alive else None,
        "port": service.port,
        "restarts": service.restarts,
        "started_at": service.started_at,
        "log": service.log,
    }


def _show(document: dict[str, Any]) -> None:
    say(f"data folder {document['data_dir']} · {document['phase']}")
    say(f"dashboard {document['dashboard_url'] or 'none (--headless)'}")
    say(f"kafka {document['kafka_bootstrap']} · store {document['mongodb_uri']}")
    print_table(document["services"], ["service", "state", "pid", "port", "restarts", "started_at"])
    if document["problem"]:
        say(document["problem"])
        return
    columns = [
        "query",
        "consumed",
        "accepted",
        "rejected",
        "duplicate",
        "conflict",
        "late",
        "lag",
        "watermark",
    ]
    print_table(document["queries"], columns, "the stream has not finished a batch yet")
