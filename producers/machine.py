"""The machine as several meters see it together: the first meter that knows a device speaks for it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from producers.ports import GpuSample, Instant, Reading, Sampler, combined
from schemas.errors import RetryableError, SourceGone

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which meter gave a value, and whether it measured or estimated it."""

    meter: str
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class MachineReading:
    """What all meters gave for one interval.

    The merged reading, and by device with known energy its provenance.
    """

    reading: Reading = field(default_factory=Reading)
    sources: Mapping[str, Provenance] = field(default_factory=dict)


def measurement_of(sources: Iterable[Provenance]) -> str | None:
    """`measured`, `estimated`, `mixed`, or None where no energy is known."""
    return combined({kind for source in sources for kind in source.kinds})


def meters_of(sources: Iterable[Provenance]) -> tuple[str, ...]:
    """Names of the meters, each once."""
    return tuple(dict.fromkeys(source.meter for source in sources))


@dataclass(slots=True)
class Machine:
    """Meters in order of preference.

    A meter that fails is a gap, told once per change; one that ended is left out.
    """

    samplers: Sequence[Sampler]
    _failing: set[str] = field(default_factory=set)
    _ended: set[str] = field(default_factory=set)

    def sample(self, at: Instant) -> MachineReading:
        """Read every meter. Never raises on account of a meter."""
        readings = [(sampler, self._read(sampler, at)) for sampler in self.samplers]
        sources: dict[str, Provenance] = {}
        values: dict[str, float | None] = {}
        for device in ("cpu", "dram", "platform"):
            # A gap of the preferred meter stays one: another would count differently.
            chosen = next((pair for pair in readings if device in pair[0].devices), None)
            if chosen is not None:
                energy_j: float | None = getattr(chosen[1], f"{device}_energy_j")
                values[f"{device}_energy_j"] = energy_j
                if energy_j is not None:
                    sources[device] = Provenance(chosen[0].name, frozenset({chosen[0].measurement}))
        gpus: tuple[GpuSample, ...] = ()
        for sampler, reading in readings:
            if reading.gpus and not gpus:
                gpus = reading.gpus
                kinds = frozenset(gpu.measurement for gpu in gpus if gpu.energy_j is not None)
                if kinds:
                    sources["gpu"] = Provenance(sampler.name, kinds)
        return MachineReading(Reading(**values, gpus=gpus), sources)

    def close(self) -> None:
        """Close every meter."""
        for sampler in self.samplers:
            sampler.close()

    def _read(self, sampler: Sampler, at: Instant) -> Reading:
        if sampler.name in self._ended:
            return Reading()
        try:
            reading = sampler.sample(at)
        except SourceGone as error:
            self._ended.add(sampler.name)
            log.warning("meter %s ended: %s", sampler.name, error)
            return Reading()
        except RetryableError as error:
            if sampler.name not in self._failing:
                self._failing.add(sampler.name)
                log.warning("meter %s cannot be read now, a gap begins: %s", sampler.name, error)
            return Reading()
        if sampler.name in self._failing:
            self._failing.discard(sampler.name)
            log.warning("meter %s can be read again", sampler.name)
        return reading
