"""Show the pipeline to Prometheus, and send it by OpenTelemetry, in the foreground."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated

import typer

from joulestream.context import context
from joulestream.output import DataDir, KafkaBootstrap, MongoUri


def command(
    data_dir: DataDir = None,
    kafka_bootstrap: KafkaBootstrap = None,
    mongodb_uri: MongoUri = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Listen here. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port. Default: 9464.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the metrics on stdout and end.")] = False,
) -> None:
    """Show the pipeline to Prometheus, and send it by OpenTelemetry, until Ctrl-C or SIGTERM.

    It only reads. `joule up --exporter` starts one beside the rest. With --once: exit code 1 if the store is away.
    """
    from conf import logs
    from joulestream.exporter.exposition import page
    from joulestream.exporter.service import collecting, serve

    flags = {
        "kafka.bootstrap": kafka_bootstrap,
        "mongodb.uri": mongodb_uri,
        "exporter.host": host,
        "exporter.port": port,
    }
    settings = context(data_dir, flags).settings
    logs.configure(settings, "WARNING" if once else "DEBUG")
    if once:
        with collecting(settings) as collector:
            sys.stdout.write(page(collector.samples(), "")[0].decode())
            if not collector.store_up():
                raise typer.Exit(1)
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(settings, stop)
