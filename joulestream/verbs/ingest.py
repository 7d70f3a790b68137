"""Read Kepler's and DCGM's series from a Prometheus server."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from typing import Annotated

import typer

from conf import logs
from joulestream.context import context
from joulestream.output import AsJson, DataDir, KafkaBootstrap, print_json, print_table, say
from joulestream.reports.reading import utc_now, when
from schemas.times import from_ms, rfc3339


def command(
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Read a past range: RFC 3339, a date, or how long ago (7d)."
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Up to this time. Default: now.")
    ] = None,
    prometheus_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of the server, such as http://127.0.0.1:9090.")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(metavar="MATCHERS", help="Only series with these labels (PromQL): 'cluster=\"a\"'."),
    ] = None,
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
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        serve(settings, stop)
        return
    now = utc_now()
    since, until = when(start, now, "--from"), when(end or "now", now, "--to")
    if until <= since:
        raise typer.BadParameter(f"{end or 'now'!r} is not after --from {start!r}", param_hint="--to")
    counts = backfill(settings, since, min(until, now + timedelta(seconds=1)), _told)
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


def _told(through_ms: int) -> None:
    say(f"read through {rfc3339(from_ms(through_ms))}")
