"""Wait until all that is in the topics has been processed and stored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dashboard.store import Reader
from joulestream.context import context
from joulestream.draining import Backlog, End, Generation, read_backlog, read_ends
from joulestream.output import DEGRADED, AsJson, DataDir, KafkaBootstrap, MongoUri, print_json, say
from joulestream.reports.reading import open_reader
from schemas.errors import RetryableError

POLL_S = 0.2
TELL_S = 2.0
TIMED_OUT = DEGRADED


def command(
    timeout: Annotated[float, typer.Option(metavar="S", min=0, help="Give up after so long.")] = 120.0,
    kafka_bootstrap: KafkaBootstrap = None,
    mongodb_uri: MongoUri = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Wait until all that is in training.events and node.metrics now has been processed and stored.

    What arrives later is not waited for. Exit code: 0 all stored, 4 not within the time (stderr names the
    lag of each partition), 1 the broker does not answer.
    """
    ctx = context(data_dir, {"kafka.bootstrap": kafka_bootstrap, "mongodb.uri": mongodb_uri})
    ends = read_ends(ctx.settings.kafka)
    wait = _Wait(timeout, time.monotonic())
    with open_reader(ctx) as reader:
        backlog = _drain(reader, ends, wait, as_json)
    if as_json:
        print_json(_document(backlog, wait, True))
    say(f"all that was in the topics is stored ({wait.passed_s:.1f} s)")


def _drain(reader: Reader, ends: Mapping[str, End], wait: _Wait, as_json: bool) -> Backlog:
    """Wait until nothing is left of what is before `ends`, or end the verb."""
    goal: Mapping[str, Generation] | None = None
    while True:
        try:
            backlog, problem = read_backlog(reader, ends), None
        except RetryableError as error:  # the store is away for now; the time is the limit
            backlog, problem = Backlog(ends), str(error)
        if goal is None and not backlog.lag and problem is None:
            goal = backlog.generations
        writing = backlog.unsettled(goal or {})
        if goal is not None and problem is None and not writing:
            return backlog
        trouble = problem or f"{backlog.total} message(s) to go{_settling(writing)}"
        if wait.over:
            _give_up(backlog, trouble, wait, as_json)
        wait.a_little(trouble)


@dataclass(slots=True)
class _Wait:
    """How long the verb waits, and when it last said so."""

    timeout_s: float
    started: float
    told: float = 0.0

    @property
    def passed_s(self) -> float:
        return time.monotonic() - self.started

    @property
    def over(self) -> bool:
        return self.passed_s >= self.timeout_s

    def a_little(self, trouble: str) -> None:
        if self.passed_s - self.told >= TELL_S:
            self.told = self.passed_s
            say(trouble)
        time.sleep(min(POLL_S, max(0.01, self.timeout_s - self.passed_s)))


def _settling(writing: tuple[str, ...]) -> str:
    return f"; in the middle of a batch: {', '.join(writing)}" if writing else ""


def _give_up(backlog: Backlog, trouble: str, wait: _Wait, as_json: bool) -> None:
    if as_json:
        print_json(_document(backlog, wait, False))
    say(f"not stored after {wait.timeout_s:g} s: {trouble}")
    for name, lag in backlog.lag.items():
        say(f"  {name}: {lag} behind")
    say("is the streaming job running? look at: joule status, joule logs stream")
    raise typer.Exit(TIMED_OUT)


def _document(backlog: Backlog, wait: _Wait, drained: bool) -> dict[str, Any]:
    return {
        "drained": drained,
        "seconds": round(wait.passed_s, 3),
        "lag_total": backlog.total,
        "lag": backlog.lag,
    }
