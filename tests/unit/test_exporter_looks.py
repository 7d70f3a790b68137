"""Looks: not too often, not waited for without end, and nothing old is shown as if it were new."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from joulestream.exporter.collector import Collector
from joulestream.exporter.looks import Part, look
from joulestream.exporter.samples import Sample, Samples


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """A part that can be away, slow, or both."""

    def __init__(self, clock: Clock, takes_s: float = 0.0, status: str = "running") -> None:
        self.clock, self.takes_s, self.status = clock, takes_s, status
        self.n_reads = 0
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> Sequence[Sample]:
        self.go.wait(10)
        self.clock.now += self.takes_s
        self.n_reads += 1
        if self.error is not None:
            raise self.error
        out = Samples()
        out.add("runs", self.n_reads, status=self.status)
        return out.found


def value(part: Part) -> float | None:
    shown = part.shown()
    return None if shown is None else float(shown[0].value)  # type: ignore[arg-type]


def test_looks_are_at_least_so_far_apart() -> None:
    clock = Clock()
    source = Source(clock)
    part = Part("energy", source, 5.0, clock)
    for _ in range(3):
        look([part], 5.0)
    clock.now += 4.9
    look([part], 5.0)
    assert source.n_reads == 1
    clock.now += 0.2
    look([part], 5.0)
    assert (source.n_reads, value(part)) == (2, 2.0)


def test_a_look_that_takes_long_is_taken_less_often() -> None:
    clock = Clock()
    source = Source(clock, takes_s=3.0)
    part = Part("energy", source, 5.0, clock)
    look([part], 5.0)
    clock.now += 50
    look([part], 5.0)
    assert source.n_reads == 1
    clock.now += 10
    look([part], 5.0)
    assert source.n_reads == 2


def test_a_look_that_failed_shows_nothing_of_the_one_before(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    source = Source(clock)
    part = Part("energy", source, 5.0, clock)
    look([part], 5.0)
    assert value(part) == 1.0
    source.error = RuntimeError("gone")
    for _ in range(3):
        clock.now += 6
        look([part], 5.0)
        assert value(part) is None
    assert part.n_errors == 3
    source.error = None
    clock.now += 6
    look([part], 5.0)
    assert value(part) == 5.0
    assert [record.getMessage() for record in caplog.records] == [
        "energy cannot be shown: RuntimeError: gone",
        "energy can be shown again",
    ]


def test_a_look_that_hangs_is_not_waited_for_and_what_it_would_renew_becomes_outdated() -> None:
    clock = Clock()
    source = Source(clock)
    part = Part("energy", source, 5.0, clock)
    look([part], 5.0)
    source.go.clear()
    clock.now += 6
    look([part], 0.01)
    assert value(part) == 1.0
    clock.now += 60
    look([part], 0.01)
    assert value(part) is None
    assert source.n_reads == 1, "while a look hangs there must not be another"
    source.go.set()


def names(collector: Collector) -> dict[tuple[str, ...], object]:
    return {(sample.metric, *sample.labels): sample.value for sample in collector.samples()}


def test_while_the_store_is_away_nothing_of_it_is_shown() -> None:
    clock = Clock()
    stream, energy, kafka = (Source(clock, status=name) for name in ("stream", "energy", "kafka"))
    parts = [
        Part("stream", stream, 1.0, clock),
        Part("energy", energy, 60.0, clock),
        Part("kafka", kafka, 1.0, clock),
    ]
    collector = Collector(parts, frozenset({"stream", "energy"}), 5.0)
    assert names(collector)["joulestream_store_up",] == 1.0
    stream.error = RuntimeError("gone")
    clock.now += 2
    found = names(collector)
    assert found["joulestream_store_up",] == 0.0
    assert found["joulestream_kafka_up",] == 1.0
    assert found["joulestream_exporter_look_up", "stream"] == 0.0
    assert ("joulestream_exporter_look_age_seconds", "stream") not in found
    shown = {key[1]: value for key, value in found.items() if key[0] == "joulestream_runs"}
    assert shown == {"kafka": 2.0}, "what the other part of the store found is not shown either"
    assert collector.problem() == "RuntimeError: gone"
