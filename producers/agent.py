"""The node agent: every second a `node.metrics` sample of this machine, on a schedule that does not drift."""

from __future__ import annotations

import logging
import threading

from conf.settings import Settings
from producers.consumers import Consumers
from producers.host import Host
from producers.identity import new_producer_id
from producers.machine import Machine, measurement_of, meters_of
from producers.meters.select import AUTO, open_machine
from producers.ports import Clock, EventSink, GpuSample, Instant, SystemClock, instant
from producers.publisher import kafka_publisher
from producers.registry import Registry
from schemas.carbon import normal_region
from schemas.events import SCHEMA_VERSION, GpuReading, NodeSample
from schemas.topics import NODE_METRICS

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0


class NodeAgent:
    """Samples one node. `interval_s` is the time between samples; ticks that were missed are left out."""

    def __init__(
        self,
        node_id: str,
        region_iso: str | None,
        interval_s: float,
        machine: Machine,
        consumers: Consumers,
        sink: EventSink,
        clock: Clock,
        host: Host | None = None,
    ) -> None:
        self._node_id, self._interval_s = node_id, interval_s
        self._region = None if region_iso is None else normal_region(region_iso)
        self._machine, self._consumers, self._host = machine, consumers, host or Host()
        self._sink, self._clock = sink, clock
        self.producer_id = new_producer_id(node_id)
        self._sequence = 0
        self._last_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Sample until `stop` is set; the last, shorter interval is sent too."""
        self.begin()
        start_s = self._last_s
        while not stop.is_set():
            now_s = self._clock.monotonic()
            tick = int((now_s - start_s) / self._interval_s) + 1
            stop.wait(start_s + tick * self._interval_s - now_s)
            self.tick()

    def begin(self) -> None:
        """Take the base line: counters have no energy before it."""
        at = instant(self._clock)
        seen = self._machine.sample(at)
        self._consumers.shares(self._host.look(), seen.reading.gpus)
        self._last_s = at.monotonic_s

    def tick(self) -> None:
        """Send one sample."""
        self._sink.send(NODE_METRICS, self._node_id, self.sample(instant(self._clock)).to_json())

    def sample(self, at: Instant) -> NodeSample:
        """The machine since the previous sample."""
        seen = self._machine.sample(at)
        host = self._host.look()
        interval_s, self._last_s = at.monotonic_s - self._last_s, at.monotonic_s
        sequence, self._sequence = self._sequence, self._sequence + 1
        reading = seen.reading
        return NodeSample(
            node_id=self._node_id,
            timestamp=at.wall,
            schema_version=SCHEMA_VERSION,
            producer_id=self.producer_id,
            sequence=sequence,
            region_iso=self._region,
            interval_s=interval_s,
            cpu_energy_j=reading.cpu_energy_j,
            dram_energy_j=reading.dram_energy_j,
            platform_energy_j=reading.platform_energy_j,
            gpus=tuple(_gpu(gpu) for gpu in reading.gpus) or None,
            cpu_utilization_pct=host.cpu_utilization_pct,
            memory_used_mib=host.memory_used_mib,
            memory_total_mib=host.memory_total_mib,
            consumers=self._consumers.shares(host, reading.gpus) or None,
            measurement=measurement_of(seen.sources.values()),
            meters=meters_of(seen.sources.values()) or None,
        )

    def close(self) -> None:
        """Close the meters."""
        self._machine.close()


def _gpu(gpu: GpuSample) -> GpuReading:
    return GpuReading(
        uuid=gpu.uuid,
        index=gpu.index,
        name=gpu.name,
        energy_j=gpu.energy_j,
        power_w=gpu.power_w,
        utilization_pct=gpu.utilization_pct,
        memory_used_mib=gpu.memory_used_mib,
        temperature_c=gpu.temperature_c,
    )


def agent_machine(choice: str) -> Machine:
    """The meters of a choice, but never codecarbon: its threads and libraries cost more than an agent may."""
    names = [part.strip() for part in choice.split(",")]
    kept = [name for name in names if name.partition(":")[0] != "codecarbon"]
    if len(kept) < len(names):
        log.warning("the node agent does not use codecarbon; it reads %s", ", ".join(kept) or AUTO)
    return open_machine(",".join(kept) or AUTO)


def build_agent(settings: Settings, sink: EventSink, clock: Clock) -> NodeAgent:
    """The agent of this machine.

    Raises MeterUnavailable where a meter that the settings name is not there.
    """
    node = settings.node
    return NodeAgent(
        node.node_id,
        node.region_iso,
        node.interval_s,
        agent_machine(settings.tracker.meters),
        Consumers(Registry(settings.registry_dir)),
        sink,
        clock,
    )


def serve(settings: Settings, stop: threading.Event) -> None:
    """Sample this machine and send until `stop` is set. Raises PipelineError where it cannot begin."""
    name = new_producer_id(settings.node.node_id)
    spool_max_mib = settings.tracker.spool_max_mib
    sink = kafka_publisher(settings.kafka, settings.spool_dir, name, spool_max_mib)
    try:
        agent = build_agent(settings, sink, SystemClock())
        log.info("node %s: a sample every %g s", settings.node.node_id, settings.node.interval_s)
        agent.run(stop)
        agent.close()
    finally:
        sink.close(CLOSE_TIMEOUT_S)
