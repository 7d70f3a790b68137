"""Read Kepler's and DCGM's series from a Prometheus server."""

from __future__ import annotations

import signal
import threading
from datetime import datetime, timedelta
from typing import Annotated

import typer

from conf import logs
from joulestream.context import context
from joulestream.output import AsJson, DataDir, KafkaBootstrap, print_json, print_table, say
from joulestream.reports.reading import utc_now, when
from schemas.times import from_ms, rfc3339

Start = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Read a past range: RFC 3339, a date, or how long ago (7d)."),
]
End = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this time. Default: now.")]
PrometheusUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Address of the server, such as http://127.0.0.1:9090.")
]
Match = Annotated[
    str | None,
    typer.Option(metavar="MATCHERS", help="Only series with these labels (PromQL): 'cluster=\"a\"'."),
]


def command(
    start: Start = None,
    end: End = None,
    prometheus_url: PrometheusUrl = None,
    match: Match = None,
    kafka_bootstrap: KafkaBootstrap = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Read Kepler's and DCGM's series from a Prometheus server, as samples of nodes and their pods.

    Without --from it reads on from where it was, until Ctrl-C or SIGTERM. With --from it reads that range once,
    widened to whole half minutes; what was read before is a duplicate and counts once.
    """
    flags = {"kafka.bootstrap": kafka_bootstrap, "prometheus.url": prometheus_url, "prometheus.match": match}
    settings = context(data_dir, flags).settings
    logs.configure(settings)
    from producers.prometheus.serving import backfill, serve

    if start is None:
        if end is not None:
            raise typer.BadParameter("--to ends a range; give its --from too", param_hint="--to")
        serve(settings, _stop_on_signals())
        return
    since, until = _range(start, end or "now")
    counts = backfill(settings, since, until, _told)
    result = {
        "from": since,
        "through": from_ms(counts.through_ms),
        "nodes": counts.nodes,
        "samples": counts.samples,
    }
    if as_json:
        print_json(result)
    else:
        print_table([result])


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _range(start: str, end: str) -> tuple[datetime, datetime]:
    """Both ends of what is to be read, none of it in the future."""
    now = utc_now()
    since, until = when(start, now, "--from"), when(end, now, "--to")
    if until <= since:
        raise typer.BadParameter(f"{end!r} is not after --from {start!r}", param_hint="--to")
    return since, min(until, now + timedelta(seconds=1))


def _told(through_ms: int) -> None:
    say(f"read through {rfc3339(from_ms(through_ms))}")
