"""Live and backfilled: nothing is lost, and what is read twice has one name."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from conf.settings import load_settings
from producers.prometheus.ingest import MESSAGES_PER_FLUSH, Ingest, Rules
from producers.prometheus.nodes import CELL_MS, floor_ms
from producers.prometheus.note import Progress, read_note, write_note
from producers.prometheus.pulse import problem, pulse_file
from schemas.errors import PipelineError, RetryableError
from schemas.identity import identity_of
from schemas.parse import parse_node
from schemas.times import from_ms
from tests.prometheus_series import T0, FakeServer, rise, scraped, watts
from tests.sinks import ListSink

START = floor_ms(T0)
KEPLER = {"node_name": "n1", "zone": "package", "job": "kepler"}
CPU = scraped("kepler_node_cpu_joules_total", watts(80, 1e6), for_s=3 * 3600, **KEPLER)
DCGM = scraped(
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    lambda at: 250.0 * at,
    every_ms=30_000,
    phase_ms=20_000,
    for_s=3 * 3600,
    Hostname="n1",
    UUID="GPU-1",
)
LATER = T0 + 10**9


def messages(sink: ListSink) -> dict[str, dict[str, Any]]:
    """What the ledger would keep: of each identity the first."""
    kept: dict[str, dict[str, Any]] = {}
    for _, _, value in sink.sent:
        parsed = parse_node(value, from_ms(LATER))
        kept.setdefault(identity_of(parsed.doc["node_id"], parsed.doc, value), parsed.doc)
    return kept


def energies(kept: dict[str, dict[str, Any]]) -> tuple[float, float]:
    return (
        fsum(doc.get("cpu_energy_j", 0.0) for doc in kept.values()),
        fsum(gpu["energy_j"] for doc in kept.values() for gpu in doc.get("gpus", ())),
    )


def ingest_of(server: FakeServer, sink: ListSink) -> Ingest:
    return Ingest(server, Rules(), sink, server)


def test_a_range_sums_to_what_the_counters_rose_by() -> None:
    server, sink = FakeServer([CPU, DCGM]), ListSink()
    counts = ingest_of(server, sink).backfill(T0, T0 + 3 * 3600_000)
    assert energies(messages(sink)) == (
        pytest.approx(rise(CPU), rel=1e-9),
        pytest.approx(rise(DCGM) / 1000, rel=1e-9),
    )
    assert (counts.nodes, counts.samples) == (1, 360)
    assert len(messages(sink)) == 360


def test_ranges_side_by_side_sum_to_the_whole_and_ranges_that_overlap_count_once() -> None:
    server, sink = FakeServer([CPU, DCGM]), ListSink()
    for start, end in ((0, 47), (47, 110), (30, 80), (110, 180), (0, 180)):
        ingest_of(server, sink).backfill(T0 + start * 60_000, T0 + end * 60_000)
    assert energies(messages(sink))[0] == pytest.approx(rise(CPU), rel=1e-9)
    assert len(messages(sink)) == 360 < len(sink.sent)


def test_what_is_read_again_is_the_same_message() -> None:
    server = FakeServer([CPU, DCGM])
    once, again = ListSink(), ListSink()
    ingest_of(server, once).backfill(T0, T0 + 7200_000)
    ingest_of(server, again).backfill(T0 + 600_000, T0 + 7200_000)
    assert set(again.sent) <= set(once.sent)


class Live:
    """Follows a server whose time goes on at each wait, until a time; `meanwhile` is called at each."""

    def __init__(self, server: FakeServer, sink: ListSink, note: Path, lookback_s: float = 3600) -> None:
        self.server, self.sink, self.note, self.lookback_ms = server, sink, note, int(lookback_s * 1000)
        self.stop = threading.Event()
        self.until_ms = 0
        self.meanwhile = lambda: None
        self.stop.wait = self.wait  # type: ignore[method-assign, assignment]

    def wait(self, timeout: float | None = None) -> bool:
        self.server.now_ms += int(1000 * max(timeout or 0, 1.0))
        self.meanwhile()
        if self.server.now_ms >= self.until_ms:
            self.stop.set()
        return self.stop.is_set()

    def run(self, until_s: int) -> None:
        self.until_ms = T0 + until_s * 1000
        self.stop.clear()
        ingest_of(self.server, self.sink).follow(self.note, self.lookback_ms, 30.0, self.stop)


def test_live_follows_the_scrapes_and_loses_nothing_at_a_restart(tmp_path: Path) -> None:
    server, sink = FakeServer([CPU, DCGM], now_ms=T0 + 60_000), ListSink()
    live = Live(server, sink, tmp_path / "note.json")
    live.run(1800)
    behind_ms = server.now_ms - max(doc["timestamp"].timestamp() * 1000 for doc in messages(sink).values())
    assert behind_ms < 2 * CELL_MS + 30_000  # not a gap's length behind: the next scrape settles a cell
    server.now_ms = T0 + 5400_000  # an hour away
    live.run(3 * 3600 + 1200)
    assert energies(messages(sink)) == (
        pytest.approx(rise(CPU), rel=1e-9),
        pytest.approx(rise(DCGM) / 1000, rel=1e-9),
    )
    assert len(sink.sent) == 360  # and nothing was sent twice


def test_live_and_backfill_of_one_time_count_once(tmp_path: Path) -> None:
    server, sink = FakeServer([CPU, DCGM], now_ms=T0 + 60_000), ListSink()
    Live(server, sink, tmp_path / "note.json").run(3600)
    server.now_ms = LATER
    ingest_of(server, sink).backfill(T0 - 3600_000, T0 + 3 * 3600_000)
    kept = messages(sink)
    assert energies(kept)[0] == pytest.approx(rise(CPU), rel=1e-9)
    assert len(sink.sent) > len(kept) == 360
    by_identity: dict[str, set[bytes]] = {}
    for _, _, value in sink.sent:
        by_identity.setdefault(json.loads(value)["sequence"], set()).add(value)
    assert all(len(values) == 1 for values in by_identity.values())


def test_without_a_note_it_begins_so_far_back(tmp_path: Path) -> None:
    server, sink = FakeServer([CPU], now_ms=T0 + 7200_000), ListSink()
    Live(server, sink, tmp_path / "note.json", lookback_s=1800).run(7300)
    assert min(doc["timestamp"] for doc in messages(sink).values()) == from_ms(T0 + 5400_000 + CELL_MS - 1)


def test_a_dead_exporter_holds_its_node_up_for_a_gap_and_no_longer(tmp_path: Path) -> None:
    dead = replace(DCGM, points=DCGM.points[:20])
    server, sink = FakeServer([CPU, dead], now_ms=T0 + 600_000), ListSink()
    Live(server, sink, tmp_path / "note.json").run(1500)
    newest = max(doc["timestamp"] for doc in messages(sink).values())
    assert newest > from_ms(T0 + 1400_000)
    assert energies(messages(sink))[1] == pytest.approx(rise(dead) / 1000, rel=1e-9)


def test_a_node_that_comes_to_be_known_late_loses_nothing(tmp_path: Path) -> None:
    other = scraped(
        "kepler_node_cpu_joules_total",
        watts(50),
        seconds=range(800, 2000, 15),
        node_name="n2",
        zone="package",
    )
    server, sink = FakeServer([CPU], now_ms=T0 + 60_000), ListSink()
    live = Live(server, sink, tmp_path / "note.json")

    def meanwhile() -> None:
        if server.now_ms > T0 + 1000_000 and other not in server.series:
            server.series.append(other)

    live.meanwhile = meanwhile
    live.run(2500)
    mine = {name: doc for name, doc in messages(sink).items() if doc["node_id"] == "n2"}
    assert energies(mine)[0] == pytest.approx(rise(other), rel=1e-9)


def test_an_outage_of_the_server_is_waited_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, sink = FakeServer([CPU], now_ms=T0 + 60_000), ListSink()
    live = Live(server, sink, tmp_path / "note.json")
    server.away = 7
    live.run(3600)
    first = min(doc["timestamp"] for doc in messages(sink).values())
    assert first == from_ms(START + CELL_MS - 1)
    assert [r.message for r in caplog.records if "no Prometheus answers" in r.message] == [
        "no Prometheus answers; it is tried again, and what was scraped meanwhile is read then"
    ]


def test_while_the_broker_is_away_nothing_more_is_read_and_the_note_stands(tmp_path: Path) -> None:
    server, sink = FakeServer([CPU], now_ms=T0 + 7200_000), ListSink()
    note = tmp_path / "note.json"
    write_note(note, Progress(START))
    sink.away = 1
    with pytest.raises(RetryableError, match="no Kafka broker"):
        ingest_of(server, sink).backfill(START, T0 + 3600_000)
    assert server.asked == []
    sink.away = 10**9
    Live(server, sink, note).run(7500)
    assert read_note(note) == Progress(START)
    assert server.asked == []
    sink.away = 0
    server.now_ms = T0 + 3 * 3600_000 + 600_000
    Live(server, sink, note).run(3 * 3600 + 1200)
    assert energies(messages(sink))[0] == pytest.approx(rise(CPU), rel=1e-9)


def test_samples_that_the_spool_lost_are_read_again(tmp_path: Path) -> None:
    server, sink = FakeServer([CPU]), ListSink()
    sink.dropped = 3
    with pytest.raises(PipelineError, match="spool_max_mib"):
        ingest_of(server, sink).backfill(START, T0 + 3600_000)


def test_a_large_cluster_is_sent_in_pieces() -> None:
    nodes = [replace(CPU, labels={**CPU.labels, "node_name": f"n{i}"}) for i in range(10)]
    sink = ListSink()
    flushed: list[int] = []
    sink.flush = lambda timeout_s: flushed.append(len(sink.sent)) or True  # type: ignore[func-returns-value, method-assign]
    ingest_of(FakeServer(nodes), sink).backfill(START, T0 + 3600_000)
    assert max(b - a for a, b in pairwise(flushed)) <= MESSAGES_PER_FLUSH
    assert len(sink.sent) == 1200


def test_a_range_without_series_is_said(caplog: pytest.LogCaptureFixture) -> None:
    counts = ingest_of(FakeServer([]), ListSink()).backfill(T0, T0 + 7200_000)
    assert (counts.nodes, counts.samples) == (0, 0)
    assert sum("no series of Kepler or DCGM" in record.message for record in caplog.records) == 1
    caplog.clear()
    ingest_of(FakeServer([CPU]), ListSink()).backfill(
        T0, T0 + 6 * 3600_000
    )  # the exporter ends in the middle
    assert "no series" not in caplog.text


def test_a_range_up_to_now_ends_where_the_scrapes_do() -> None:
    server, sink = FakeServer([CPU], now_ms=T0 + 605_000), ListSink()
    counts = ingest_of(server, sink).backfill(START, T0 + 3600_000)
    newest = max(doc["timestamp"] for doc in messages(sink).values())
    assert newest == from_ms(T0 + 570_000 - 1 + CELL_MS)
    assert counts.samples == 20


def test_probes_tell_a_server_that_is_away_from_a_process_that_is_stuck(tmp_path: Path) -> None:
    note = tmp_path / "prometheus.json"
    settings = load_settings({"prometheus.every_s": 30})
    assert problem(settings, note, "alive", 0) == "it has not begun yet"
    server, sink = FakeServer([CPU], now_ms=T0 + 7200_000), ListSink()
    server.away = 10**9
    Live(server, sink, note).run(7500)
    alive_s = pulse_file(note, "alive").stat().st_mtime
    assert problem(settings, note, "alive", alive_s + 389) is None
    assert problem(settings, note, "ready", alive_s) == "nothing has been read yet"
    server.away = 0
    Live(server, sink, note).run(8000)
    assert problem(settings, note, "ready", pulse_file(note, "ready").stat().st_mtime) is None
    assert problem(settings, note, "alive", pulse_file(note, "alive").stat().st_mtime + 391) is not None


def test_a_note_comes_back_and_a_broken_one_is_named(tmp_path: Path) -> None:
    note = tmp_path / "folder" / "note.json"
    assert read_note(note) is None
    write_note(note, Progress(START, {"n1": START + CELL_MS}))
    assert read_note(note) == Progress(START, {"n1": START + CELL_MS})
    note.write_text('{"through_ms": ')
    with pytest.raises(PipelineError, match="remove it"):
        read_note(note)
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"):
        write_note(tmp_path / "file" / "note.json", Progress(0))
