"""Send recorded messages (NDJSON, one a line) to a topic, byte for byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conf.sections import Kafka
from joulestream.context import context
from joulestream.output import AsJson, DataDir, KafkaBootstrap, print_json, print_table, say
from joulestream.reports.reading import utc_now
from joulestream.trace import Line, newest_time, read_lines, shift_to
from schemas.topics import ALL

if TYPE_CHECKING:
    from joulestream.sending import Outbox

PROGRESS_S = 2.0
File = Annotated[Path, typer.Argument(metavar="FILE", help="One message a line.")]
Topic = Annotated[str, typer.Option(help="Such as training.events or node.metrics.")]
Speed = Annotated[
    float | None,
    typer.Option(min=0.001, help="Pace by event time, so many times as fast. Default: at once."),
]
ShiftToNow = Annotated[
    bool, typer.Option(help="Move all event times by one constant, so that the newest is now.")
]


def command(
    file: File,
    topic: Topic,
    speed: Speed = None,
    shift_to_now: ShiftToNow = False,
    kafka_bootstrap: KafkaBootstrap = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send recorded messages to a topic.

    Every line goes as it is, also one that is empty, huge or no JSON: the stream says what it is. The key is
    its run_id (node.metrics: node_id), none where the line has none. --shift-to-now is the only thing that
    changes bytes: `timestamp`, `start_timestamp` and `end_timestamp`, by whole seconds.
    Exit code: 0 when the broker has every message, 1 if not.
    """
    if topic not in ALL:
        raise typer.BadParameter(
            f"{topic!r} is no topic; expected one of {', '.join(ALL)}", param_hint="--topic"
        )
    kafka = context(data_dir, {"kafka.bootstrap": kafka_bootstrap}).settings.kafka
    shift_s = _shift(file, topic) if shift_to_now else 0
    started = time.monotonic()
    box = _send(kafka, topic, paced(read_lines(file, topic, shift_s), speed, time.monotonic, time.sleep))
    result = {
        "file": str(file),
        "topic": topic,
        "sent": box.sent,
        "failed": box.failed,
        "shift_s": shift_s,
        "seconds": round(time.monotonic() - started, 3),
    }
    if as_json:
        print_json(result | {"failures": box.failures})
    else:
        print_table([result])
    if box.failed:
        for failure in box.failures:
            say(failure)
        say(f"{box.failed} message(s) were refused by the broker at {kafka.bootstrap}")
        raise typer.Exit(1)


def _send(kafka: Kafka, topic: str, lines: Iterable[Line]) -> Outbox:
    """Send the lines, and wait until the broker has them; the box knows what became of each."""
    from joulestream.sending import outbox

    with outbox(kafka, (topic,)) as box:
        told = time.monotonic()
        for line in lines:
            box.send(topic, line.key, line.value, f"line {line.number}")
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                say(f"{line.number} lines read, {box.sent} acknowledged")
    return box


def _shift(file: Path, topic: str) -> int:
    now = utc_now()
    return shift_to(newest_time(read_lines(file, topic), now), now)


def paced(
    lines: Iterator[Line], speed: float | None, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[Line]:
    """Hold each line back until its event time has come, `speed` times as fast as it happened.

    The first time of the file is the start; what is earlier, or has no time, goes at once.
    """
    origin: tuple[datetime, float] | None = None
    for line in lines:
        if speed is not None and line.at is not None:
            origin = origin or (line.at, clock())
            wait_s = (line.at - origin[0]).total_seconds() / speed - (clock() - origin[1])
            if wait_s > 0:
                sleep(wait_s)
        yield line
