"""Simulate a fleet of nodes and training runs with known truth, to files or to the topics."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from conf.sections import Kafka
from joulestream.context import context
from joulestream.output import AsJson, DataDir, KafkaBootstrap, print_json, print_table, say
from joulestream.reports.reading import utc_now, when
from joulestream.simulate.spec import DEFAULT_START, FleetSpec, Impurity
from joulestream.simulate.writing import Simulation, paced, write_files
from schemas.errors import PipelineError
from schemas.times import MAX_AHEAD
from schemas.topics import NODE_METRICS, STREAMED, TRAINING_EVENTS

PROGRESS_S = 2.0


class Topic(str, Enum):
    """The topic that is written to a file."""

    TRAINING = TRAINING_EVENTS
    NODES = NODE_METRICS


Nodes = Annotated[int, typer.Option(help="Number of nodes.")]
Runs = Annotated[int, typer.Option(help="Number of training runs.")]
Days = Annotated[float, typer.Option(help="Event time from the first to the last event, in days.")]
Every = Annotated[float, typer.Option(metavar="S", help="Event time between two readings.")]
Seed = Annotated[int, typer.Option(help="Equal options and seed give equal bytes.")]
Start = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Time of the first event; `now` is possible. Default: 2025-01-06."),
]
End = Annotated[
    str | None, typer.Option(metavar="TIME", help="Instead of --start: no event is after it (`now`).")
]
Faults = Annotated[
    bool, typer.Option("--faults", help="Also nodes that fall silent, restarts, and ends never sent.")
]
Share = Annotated[float, typer.Option(min=0, max=1, help="Probability per message.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE|DIR", help="A file (--topic), or an existing folder for both topics."),
]
FileTopic = Annotated[Topic | None, typer.Option(help="What a file holds. Default: training.events.")]
Send = Annotated[bool, typer.Option("--send", help="Send both topics to the stack.")]
Cadence = Annotated[
    float, typer.Option(metavar="S", min=0, help="With --send: real time per --every. 0: at once.")
]


def command(
    nodes: Nodes = 4,
    runs: Runs = 20,
    days: Days = 1.0,
    every: Every = 60.0,
    seed: Seed = 0,
    start: Start = None,
    end: End = None,
    faults: Faults = False,
    duplicates: Share = 0.0,
    disorder: Share = 0.0,
    malformed: Share = 0.0,
    late: Share = 0.0,
    out: Out = None,
    topic: FileTopic = None,
    send: Send = False,
    cadence: Cadence = 0.0,
    kafka_bootstrap: KafkaBootstrap = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a fleet of nodes and training runs; print what is true of it.

    The truth (--json: per run, user, model, region and node; events, kWh, kg CO2e) holds for what was written
    or sent: a file of one topic has the truth of that topic. Duplicates, disorder, broken and late messages
    change what is sent, never what is true. Exit code: 0; 1 where a file or the broker is in the way.
    """
    if send == (out is not None):
        raise typer.BadParameter("give either --out FILE|DIR or --send", param_hint="--out / --send")
    if send and topic is not None:
        raise typer.BadParameter("--send sends both topics; leave --topic out", param_hint="--topic")
    spec = FleetSpec(nodes, runs, days, every, seed, _start(start, end, days, every), faults)
    simulation = Simulation(spec, Impurity(duplicates, disorder, malformed, late))
    if out is not None:
        write_files(simulation, _files(out, topic))
    else:
        _check_times(spec, cadence)
        kafka = context(data_dir, {"kafka.bootstrap": kafka_bootstrap}).settings.kafka
        _send(simulation, kafka, cadence)
    _print(simulation.truth(), as_json)


def _start(start: str | None, end: str | None, days: float, every: float) -> datetime:
    if start and end:
        raise typer.BadParameter("give --start or --end, not both", param_hint="--end")
    now = utc_now().replace(microsecond=0)
    if start:
        return when(start, now, "--start")
    if end:
        return when(end, now, "--end") - timedelta(days=days, seconds=every)
    return DEFAULT_START


def _files(out: Path, topic: Topic | None) -> dict[str, Path]:
    if out.is_dir():
        wanted = [topic.value] if topic else list(STREAMED)
        return {name: out / f"{name}.ndjson" for name in wanted}
    return {(topic or Topic.TRAINING).value: out}


def _check_times(spec: FleetSpec, cadence_s: float) -> None:
    """No event may be further ahead of its being sent than the stream accepts. Raises PipelineError."""
    now = utc_now()
    sent_by = now + timedelta(seconds=spec.ticks * cadence_s)
    ahead = max(spec.start - now, spec.end - sent_by)
    if ahead > MAX_AHEAD:
        raise PipelineError(
            f"events would be up to {ahead} ahead of the clock, which the stream rejects (5 min pass); "
            "give --end now, an earlier --start, or a --cadence that is not below --every"
        )


def _send(simulation: Simulation, kafka: Kafka, cadence_s: float) -> None:
    from joulestream.sending import outbox

    told = started = time.monotonic()
    taken = 0
    with outbox(kafka, STREAMED) as box:
        for message in paced(simulation.messages(), simulation.spec, cadence_s):
            taken += 1
            box.send(message.topic, message.key.encode(), message.value, f"message {taken} of {message.key}")
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                say(f"{box.sent} messages sent")
    say(f"{box.sent} messages sent in {time.monotonic() - started:.1f} s")
    if box.failed:
        raise PipelineError(
            f"the broker at {kafka.bootstrap} refused {box.failed} message(s): {'; '.join(box.failures)}"
        )


def _print(truth: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(truth)
        return
    total = truth["total"]
    counts = [{"topic": name, **_plain(counts)} for name, counts in truth["messages"].items()]
    print_table(counts)
    rows = [
        {"what": "training events", "n": total["events"], "kWh": total["energy_kwh"]}
        | {"kg CO2e": total["emissions_kg"]},
        {"what": "node samples", "n": total["samples"], "kWh": total["node_energy_kwh"]},
    ]
    print_table(rows)
    say("--json prints the truth per run, user, model, region and node")


def _plain(counts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in counts.items() if name != "rejected"}
