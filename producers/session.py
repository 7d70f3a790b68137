"""Wires one tracked run: settings, meters, registry, spool, recorder. The tracker's composition root."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conf.links import dashboard_url, run_url
from conf.settings import Settings
from producers.clean import Cleaner
from producers.control import ControlReader, KafkaControl
from producers.events import EventBuilder
from producers.exits import Shield
from producers.identity import new_producer_id
from producers.machine import Machine
from producers.meters.nvml import own_visible_gpus
from producers.meters.select import open_machine
from producers.ports import Clock, EventSink, Instant
from producers.publisher import kafka_publisher
from producers.recorder import Recorder
from producers.registry import Registry
from producers.run_meter import RunMeter
from schemas.carbon import Intensity, intensity, table

STOP_REASON = "stop_reason"  # beside `status` on `run_finished`
# What the first event says once; all other fields of a run stand on every event, for windows by them.
_OPENING = ("hyperparameters", "total_epochs", "total_steps")


@dataclass(frozen=True, slots=True)
class Options:
    """What a tracker was given beside the run's own fields; None takes the settings' value.

    `obeys`: whether the run follows requests on `run.control`.
    """

    meters: str | Machine | None = None
    sink: EventSink | None = None
    interval_s: float | None = None
    sample_s: float | None = None
    on_connect: Callable[[], None] | None = None
    obeys: bool = False


@dataclass(slots=True)
class Session:
    """One run while it is measured."""

    run_id: str
    producer_id: str
    link: str
    recorder: Recorder
    builder: EventBuilder
    sink: EventSink
    owns_sink: bool
    registry: Registry
    control: ControlReader | None = None

    def end(self, status: str, timeout_s: float, reason: str | None = None) -> None:
        """Send the end of the run and give everything back, within about twice the timeout."""
        self.recorder.finish(status, timeout_s, {} if reason is None else {STOP_REASON: reason})
        if self.control is not None:
            self.control.close()
        self.registry.leave(self.producer_id)
        if self.owns_sink:
            self.sink.close(timeout_s)
        else:
            self.sink.flush(timeout_s)


def open_session(
    run_id: str,
    fields: Mapping[str, Any],
    settings: Settings,
    options: Options,
    clock: Clock,
    at: Instant,
    cleaner: Cleaner,
    shield: Shield,
) -> Session:
    """Everything of a run, ready to start. Raises PipelineError or OSError where it cannot be had."""
    given = {"node_id": settings.node.node_id, **{k: v for k, v in fields.items() if v is not None}}
    given.setdefault("region_iso", settings.tracker.region_iso or settings.node.region_iso)
    static = cleaner.static(given)
    opening = {name: static.pop(name) for name in _OPENING if name in static}
    producer_id = new_producer_id(settings.node.node_id)
    machine = _machine(options.meters, settings)
    uuids = tuple(gpu.uuid for gpu in machine.sample(at).reading.gpus)
    registry = Registry(settings.registry_dir)
    entry = registry.enter(producer_id, run_id, os.getpid(), at.wall, own_visible_gpus(uuids))
    sink = options.sink or kafka_publisher(
        settings.kafka,
        settings.spool_dir,
        producer_id,
        settings.tracker.spool_max_mib,
        options.on_connect,
    )
    builder = EventBuilder(
        run_id, producer_id, static, opening, _intensity(static.get("region_iso"), cleaner)
    )
    interval_s = options.interval_s or settings.tracker.interval_s
    sample_s = options.sample_s or settings.tracker.sample_s
    meter = RunMeter(machine, registry, entry)
    recorder = Recorder(meter, builder, sink, clock, interval_s, sample_s, shield)
    link = run_url(dashboard_url(settings), run_id)
    control = _control(run_id, producer_id, settings, at, shield) if options.obeys else None
    owns = options.sink is None
    return Session(run_id, producer_id, link, recorder, builder, sink, owns, registry, control)


def _intensity(region_iso: str | None, cleaner: Cleaner) -> Intensity:
    """What the run's emissions are reckoned with; a region that is not known may be a slip of the pen."""
    found = intensity(region_iso)
    if region_iso is not None and found.zone == table()["fallback"]["name"]:
        cleaner.warn(
            "region_iso",
            f"region {region_iso!r} is no ISO 3166 country of the table; the world average counts, "
            f"{found.g_per_kwh:g} g/kWh",
        )
    return found


def _control(run_id: str, producer_id: str, settings: Settings, at: Instant, shield: Shield) -> ControlReader:
    def connect() -> KafkaControl:
        return KafkaControl(settings.kafka, f"joulestream-{producer_id}", at.wall)

    return ControlReader(run_id, connect, shield)


def _machine(meters: str | Machine | None, settings: Settings) -> Machine:
    return meters if isinstance(meters, Machine) else open_machine(meters or settings.tracker.meters)
