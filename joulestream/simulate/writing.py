"""A simulated fleet to files, or to the topics at a pace; either way with its truth."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import tee
from pathlib import Path
from typing import IO, Any

from joulestream.simulate.events import Message, fleet_messages
from joulestream.simulate.impurity import Sent, impure
from joulestream.simulate.plan import plan_fleet
from joulestream.simulate.spec import FleetSpec, Impurity
from joulestream.simulate.truth import Truth
from schemas.errors import PipelineError
from schemas.topics import STREAMED
from schemas.units import MS_PER_S


class Simulation:
    """One pass over a fleet: `messages` in the order in which they are sent, and then `truth`."""

    def __init__(self, spec: FleetSpec, impurity: Impurity) -> None:
        self.spec = spec
        self.impurity = impurity
        self._plan = plan_fleet(spec)
        self._truth = Truth(self._plan)
        self._sent = Sent()

    def messages(self, topics: tuple[str, ...] = STREAMED) -> Iterator[Message]:
        """The messages of these topics, each topic the same whatever else is written beside it."""
        wanted = [topic for topic in STREAMED if topic in topics]
        copies = tee(fleet_messages(self._plan), len(wanted))
        streams = [self._of_topic(topic, fleet) for topic, fleet in zip(wanted, copies, strict=True)]
        # Side by side, about in order of event time: flaws move single messages.
        yield from heapq.merge(*streams, key=lambda message: message.at_ms)

    def _of_topic(self, topic: str, fleet: Iterator[Message]) -> Iterator[Message]:
        clean = (message for message in fleet if message.topic == topic)
        return impure(self._counted(clean), self.impurity, f"{self.spec.seed}|{topic}", self._sent)

    def _counted(self, messages: Iterator[Message]) -> Iterator[Message]:
        for message in messages:
            self._truth.add(message)
            yield message

    def truth(self) -> dict[str, Any]:
        """What is so of the messages that were taken: complete after `messages` has ended."""
        return self._truth.document(self._sent)


def write_files(simulation: Simulation, files: dict[str, Path]) -> None:
    """Write each topic to its file, one message a line. Raises PipelineError."""
    try:
        with ExitStack() as stack:
            opened: dict[str, IO[bytes]] = {
                topic: stack.enter_context(file.open("wb")) for topic, file in files.items()
            }
            for message in simulation.messages(tuple(files)):
                opened[message.topic].write(message.value + b"\n")
    except OSError as error:
        raise PipelineError(
            f"{error.filename} cannot be written ({error.strerror}); name another place with --out"
        ) from None


def paced(
    messages: Iterator[Message],
    spec: FleetSpec,
    cadence_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Message]:
    """Let one interval of the fleet (`every_s` of event time) pass per `cadence_s` of real time."""
    started = clock()
    first_ms: int | None = None
    for message in messages:
        if cadence_s > 0:
            first_ms = message.at_ms if first_ms is None else first_ms
            due_s = (message.at_ms - first_ms) / MS_PER_S / spec.every_s * cadence_s
            wait_s = due_s - (clock() - started)
            if wait_s > 0:
                sleep(wait_s)
        yield message
