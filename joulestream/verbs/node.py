"""Run the node agent of this machine in the foreground."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from conf import logs
from joulestream.context import context
from joulestream.output import DataDir, KafkaBootstrap, say


def command(
    data_dir: DataDir = None,
    kafka_bootstrap: KafkaBootstrap = None,
    node_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Name of this node. Default: its host name.")
    ] = None,
    interval: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds between samples. Default: 1.")
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="ISO", help="Country of the node (ISO 3166).")] = None,
    meters: Annotated[
        str | None, typer.Option(metavar="NAMES", help="`auto`, or meters such as rapl,nvml or simulated:7.")
    ] = None,
) -> None:
    """Run the node agent of this machine in the foreground, until Ctrl-C or SIGTERM.

    Without a broker the samples wait on disk, and are sent when it is there.
    """
    from producers.agent import serve

    flags = {
        "kafka.bootstrap": kafka_bootstrap,
        "node.node_id": node_id,
        "node.interval_s": interval,
        "node.region_iso": region,
        "tracker.meters": meters,
    }
    settings = context(data_dir, flags).settings
    logs.configure(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    say(f"node {settings.node.node_id} -> {settings.kafka.bootstrap}; Ctrl-C ends it")
    serve(settings, stop)
