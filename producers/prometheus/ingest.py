"""Reads a server's series piece by piece and sends what they say of nodes; live it waits for more.

Nothing is lost: how far it has come moves only when the broker has all samples up to there. Nothing counts twice: a
cell's sample has one name, so what is read or sent again is a duplicate.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from producers.ports import Clock, EventSink
from producers.prometheus.nodes import CELL_MS, Cell, NodeSeries, floor_ms, read_nodes, selector
from producers.prometheus.note import Progress, read_note, write_note
from producers.prometheus.pulse import ALIVE, READY, touch
from producers.prometheus.series import Series
from schemas.errors import PipelineError, RetryableError
from schemas.times import from_ms, rfc3339, to_ms
from schemas.topics import NODE_METRICS

log = logging.getLogger(__name__)

CHUNK_MS = 120 * CELL_MS  # an hour
MESSAGES_PER_FLUSH = 500
FLUSH_S = 30.0
FIRST_BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0


class Api(Protocol):
    """Where samples come from: those of a selector from start to end (ms), both included."""

    def samples(self, selector: str, start_ms: int, end_ms: int) -> list[Series]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """How series are read. `match`: further label matchers; `node_label`: None finds the node's name by itself."""

    match: str | None = None
    node_label: str | None = None
    max_gap_ms: int = 300_000
    region_iso: str | None = None


@dataclass(slots=True)
class Counts:
    """What was read and sent."""

    samples: int = 0
    nodes: int = 0
    through_ms: int = 0


class Ingest:
    """From one server to one sink."""

    def __init__(self, api: Api, rules: Rules, sink: EventSink, clock: Clock) -> None:
        self._api, self._rules, self._sink, self._clock = api, rules, sink, clock
        self._selector = selector(rules.match)
        self._nodes: set[str] = set()
        self._told_empty = False
        self.counts = Counts()

    def backfill(self, start_ms: int, end_ms: int, told: Callable[[int], None] = lambda _: None) -> Counts:
        """Read a past range, widened to whole cells, as far as it is settled by now.

        Raises RetryableError where server or broker are away: run it again, nothing counts twice.
        """
        start_ms, end_ms = floor_ms(start_ms), -floor_ms(-end_ms)
        progress = Progress(start_ms)
        while progress.through_ms < end_ms:
            before, progress = progress, self._advance(progress, end_ms)
            told(progress.through_ms)
            if progress.through_ms == before.through_ms:
                break
        self.counts.through_ms = progress.through_ms
        return self.counts

    def follow(self, note: Path, lookback_ms: int, every_s: float, stop: threading.Event) -> None:
        """Read on from the note until `stop` is set; waits while server or broker are away."""
        progress = read_note(note) or Progress(floor_ms(self._now_ms() - lookback_ms))
        log.info("reading on from %s", rfc3339(from_ms(progress.through_ms)))
        backoff_s, away = FIRST_BACKOFF_S, False
        while not stop.is_set():
            try:
                further = self._advance(progress, None)
            except RetryableError as error:
                if not away:
                    log.warning("%s; it is tried again, and what was scraped meanwhile is read then", error)
                away = True
                touch(note, ALIVE)
                stop.wait(backoff_s)
                backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)
                continue
            if away:
                log.warning("reading again")
            backoff_s, away = FIRST_BACKOFF_S, False
            if further != progress:
                write_note(note, further)
            touch(note, ALIVE)
            touch(note, READY)
            behind = further.through_ms - progress.through_ms >= CHUNK_MS
            progress = further
            stop.wait(0.0 if behind else every_s)

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())

    def _advance(self, progress: Progress, end_ms: int | None) -> Progress:
        """Read one chunk, send its samples, and say how far all nodes have come."""
        now_ms, gap_ms = self._now_ms(), self._rules.max_gap_ms
        start = progress.through_ms
        last = min(start + CHUNK_MS, floor_ms(now_ms), *(() if end_ms is None else (end_ms,)))
        if last <= start:
            return progress
        self._flush()  # nothing more is read while the broker does not take what was
        series = self._api.samples(self._selector, start - gap_ms, min(last + gap_ms, now_ms))
        nodes = read_nodes(series, self._rules.node_label, gap_ms, self._rules.region_iso)
        self._tell_what_is_there(nodes)
        ahead = {node.node_id: self._send(node, progress.of(node.node_id), last, now_ms) for node in nodes}
        self._flush()
        # A node that is not there yet may come to be known of what ended less than a gap ago.
        through = min([last, *ahead.values(), max(start, floor_ms(now_ms - gap_ms))])
        return Progress(through, {name: at for name, at in ahead.items() if at > through})

    def _send(self, node: NodeSeries, start_ms: int, last_ms: int, now_ms: int) -> int:
        """Send a node's settled cells; returns the end of the last one."""
        while start_ms < last_ms and node.settled(start_ms + CELL_MS, now_ms, self._rules.max_gap_ms):
            sample = node.sample(Cell(start_ms))
            if sample is not None:
                self._sink.send(NODE_METRICS, node.node_id, sample.to_json())
                self.counts.samples += 1
                if self.counts.samples % MESSAGES_PER_FLUSH == 0:
                    self._flush()
            start_ms += CELL_MS
        return start_ms

    def _flush(self) -> None:
        """Wait until the broker has what was sent."""
        if not self._sink.flush(FLUSH_S):
            raise RetryableError(
                "no Kafka broker takes the samples; they are kept, and read again when it is there"
            )
        if self._sink.dropped:
            raise PipelineError(
                f"the spool lost {self._sink.dropped} sample(s) to its bound or to a full disk; set "
                "tracker.spool_max_mib higher or make room, and start again: nothing is lost, they are read again"
            )

    def _tell_what_is_there(self, nodes: list[NodeSeries]) -> None:
        found = {node.node_id for node in nodes}
        if found - self._nodes:
            log.info("nodes: %s", ", ".join(sorted(found)[:20]) + (", …" if len(found) > 20 else ""))
        elif not self._nodes and not self._told_empty:
            self._told_empty = True
            log.warning(
                "the server has no series of Kepler or DCGM at this time; see docs/how-to/kepler-dcgm.md"
            )
        self._nodes |= found
        self.counts.nodes = len(self._nodes)
