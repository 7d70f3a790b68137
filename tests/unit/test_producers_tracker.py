"""The tracker: the events' energy is the run's, whatever the loop does; nothing it does breaks the loop."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from producers.exits import status_of
from producers.machine import Machine
from producers.tracker import Tracker
from schemas.parse import parse_training
from tests.trackers import RunSink, work
from tests.waiting import until


@pytest.fixture
def sink() -> RunSink:
    return RunSink()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "data"))


def tracker(sink: RunSink, **given: Any) -> Tracker:
    return Tracker(sink=sink, meters="simulated:1:1", **given)


def test_events_add_up_to_the_run_and_are_numbered_from_zero(sink: RunSink) -> None:
    with tracker(sink, run_id="r1", user_id="ann", region_iso="fr") as run:
        for epoch in range(3):
            work()
            run.log(epoch=epoch, loss=1 / (epoch + 1))
        work()
    kinds = [event["event_type"] for event in sink.events]
    assert kinds == ["run_started", "metric", "metric", "metric", "run_finished"]
    assert [event["sequence"] for event in sink.events] == list(range(5))
    assert len({event["producer_id"] for event in sink.events}) == 1
    total = sum(event.get("energy_kwh", 0.0) for event in sink.events)
    assert total == pytest.approx(run.energy_kwh)
    assert sink.events[-1]["cumulative_energy_kwh"] == pytest.approx(total)
    assert all(event["energy_kwh"] > 0 for event in sink.events[1:])
    parts = ("cpu_energy_kwh", "gpu_energy_kwh", "ram_energy_kwh")
    assert all(
        sum(event[part] for part in parts) == pytest.approx(event["energy_kwh"]) for event in sink.events[1:]
    )
    covered = sum(event["interval_s"] for event in sink.events[1:])
    begun, ended = (
        datetime.fromisoformat(sink.events[n]["timestamp"].replace("Z", "+00:00")) for n in (0, -1)
    )
    assert covered == pytest.approx((ended - begun).total_seconds(), abs=0.05)


def test_the_gpu_of_a_lone_run_is_charged_whole(sink: RunSink) -> None:
    with tracker(sink) as run:
        time.sleep(0.3)
        run.log(step=1)
    gpu_kwh = sum(event.get("gpu_energy_kwh", 0.0) for event in sink.events)
    seconds = sum(event.get("interval_s", 0.0) for event in sink.events)
    assert 100 < gpu_kwh * 3.6e6 / seconds < 400


def test_every_event_is_accepted_by_the_contract(sink: RunSink) -> None:
    with tracker(
        sink,
        run_id="../etc/pass wd",
        user_id="Ann Smith",
        project="x" * 5000,
        model_name="<img onerror>\ud800",
        hyperparameters={"a.b": math.inf, "$where": {"deep": [1, Path("/x")]}},
        rank=0,
        world_size=2,
    ) as run:
        run.log(epoch=float("nan"), loss=math.inf, accuracy="high", note="\0", own=2**70)
        run.log(step=10**400, lr=1e-3, flag=True)
    later = datetime.now(timezone.utc) + timedelta(seconds=1)
    parsed = [parse_training(value, later) for value in sink.values]
    assert len({one.identity for one in parsed}) == len(sink.values) == 4
    assert sink.events[2]["lr"] == 1e-3
    assert "loss" not in sink.events[1]
    assert "project" not in sink.events[0]


def test_carbon_names_its_source(sink: RunSink) -> None:
    with tracker(sink, region_iso="fr"):
        time.sleep(0.12)
    last = sink.events[-1]
    assert last["region_iso"] == "FRA"
    assert "FRA" in last["carbon_intensity_source"]
    per_kwh = last["emissions_kg"] / last["energy_kwh"] * 1000
    assert per_kwh == pytest.approx(last["carbon_intensity_g_per_kwh"])


def test_unknown_region_falls_back_and_says_so(sink: RunSink) -> None:
    with tracker(sink):
        time.sleep(0.12)
    assert "region not given" in sink.events[-1]["carbon_intensity_source"]


@pytest.mark.parametrize(("region", "warnings"), [("XX", 1), ("de", 0), ("US-CA", 0), (None, 0)])
def test_region_that_no_table_knows_is_said_when_the_run_starts(
    sink: RunSink, caplog: pytest.LogCaptureFixture, region: str | None, warnings: int
) -> None:
    with tracker(sink, region_iso=region):
        pass
    assert caplog.text.count(f"region {region!r} is no ISO 3166 country") == warnings


def test_without_log_a_heartbeat_comes_each_interval(sink: RunSink) -> None:
    began = time.monotonic()
    with tracker(sink, interval_s=0.2, sample_s=0.1):
        until(lambda: len(sink.events) >= 4)
    metrics = [event for event in sink.events if event["event_type"] == "metric"]
    assert 3 <= len(metrics) <= (time.monotonic() - began) / 0.2
    assert all("epoch" not in event for event in metrics)


def test_loop_that_logs_faster_than_the_meters_are_read_loses_nothing(sink: RunSink) -> None:
    with tracker(sink) as run:
        for step in range(500):
            run.log(step=step)
            if step % 50 == 0:
                time.sleep(0.02)
    steps = [event["step"] for event in sink.events if "step" in event]
    assert steps == list(range(500))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "completed"),
        (ValueError("x"), "failed"),
        (KeyboardInterrupt(), "stopped"),
        (SystemExit(0), "completed"),
        (SystemExit(3), "failed"),
        (SystemExit("no"), "failed"),
    ],
    ids=["normal", "exception", "ctrl-c", "exit 0", "exit 3", "exit text"],
)
def test_status_follows_how_the_block_ended(sink: RunSink, error: BaseException | None, status: str) -> None:
    try:
        with tracker(sink):
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt, SystemExit) as raised:
        assert raised is error  # noqa: PT017 - that the very error comes through is what is tested
    assert sink.events[-1]["status"] == status
    assert status_of(error, asked_to_stop=True) == "stopped"


def test_decorator_measures_every_call_as_a_run_of_its_own(sink: RunSink) -> None:
    @tracker(sink, model_name="net")
    def train(x: int) -> int:
        """Doc."""
        return x * 2

    assert [train(1), train(2)] == [2, 4]
    assert train.__doc__ == "Doc."
    runs = {event["run_id"] for event in sink.events}
    assert len(runs) == 2
    assert all(run.startswith("net-") for run in runs)
    assert [event["status"] for event in sink.events if "status" in event] == ["completed"] * 2


def test_stop_twice_and_log_after_the_end_do_nothing(sink: RunSink) -> None:
    run = tracker(sink).start()
    run.stop("stopped")
    run.stop()
    run.log(epoch=1)
    assert [event["event_type"] for event in sink.events] == ["run_started", "run_finished"]


def test_broken_settings_cost_the_measurement_and_not_the_training(
    sink: RunSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JOULE_TRACKER_INTERVAL_S", "soon")
    with Tracker(sink=sink) as run:
        run.log(epoch=1)
    assert sink.values == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the training goes on" in caplog.text


def test_meter_that_cannot_be_had_costs_the_measurement_only(
    sink: RunSink, caplog: pytest.LogCaptureFixture
) -> None:
    with Tracker(sink=sink, meters="nonsense") as run:
        run.log(epoch=1)
    assert "there is no meter 'nonsense'" in caplog.text
    assert "Traceback" not in caplog.text


def test_failing_look_is_a_gap_and_the_run_still_ends(
    sink: RunSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker(sink, interval_s=0.2, sample_s=0.1) as run:
        with monkeypatch.context() as patch:
            patch.setattr("producers.registry.Registry.living", lambda _self: [][0])
            until(lambda: "the training goes on" in caplog.text)
        run.log(epoch=1)
    assert sink.events[-1]["status"] == "completed"
    assert caplog.text.count("the training goes on") == 1


def test_gap_of_the_meters_is_not_known_rather_than_zero(sink: RunSink) -> None:
    with Tracker(sink=sink, meters=Machine([])) as run:
        time.sleep(0.12)
        run.log(epoch=1)
    assert all("energy_kwh" not in event for event in sink.events)
    assert sink.events[1]["interval_s"] > 0.1


def test_registry_entry_lives_as_long_as_the_run(sink: RunSink, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "registry"
    with tracker(sink, run_id="r7"):
        (entry,) = folder.glob("*.json")
        assert json.loads(entry.read_text())["run_id"] == "r7"
        assert json.loads(entry.read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []
