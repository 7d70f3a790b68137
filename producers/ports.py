"""What the producers ask of the outside: a meter, a sink for events, a clock. SI units throughout."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

MEASURED = "measured"
ESTIMATED = "estimated"
MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on both clocks: `wall` (UTC) dates events, `monotonic_s` measures intervals."""

    wall: datetime
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU: `energy_j` since the previous reading, the rest at this one. None is not known.

    `process_shares` is each process id's share of the GPU's busy time (sum <= 1), where the driver tells.
    """

    uuid: str
    index: int | None = None
    name: str | None = None
    energy_j: float | None = None
    power_w: float | None = None
    utilization_pct: float | None = None
    memory_used_mib: float | None = None
    temperature_c: float | None = None
    measurement: str = MEASURED
    process_shares: Mapping[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Energy of the whole machine since the meter's previous reading (J). None is not known, never zero.

    `platform_energy_j` contains the others (psys is a superset of package): it is never added to them.
    """

    cpu_energy_j: float | None = None
    dram_energy_j: float | None = None
    platform_energy_j: float | None = None
    gpus: tuple[GpuSample, ...] = ()


class Sampler(Protocol):
    """A meter. The first reading gives no energy; one that cannot be read is a gap (None), not zero.

    `devices` are those of `cpu`, `dram`, `platform`, `gpu` that it measures.
    `sample` raises RetryableError where nothing could be read now, SourceGone where nothing ever will.
    """

    @property
    def name(self) -> str: ...
    @property
    def measurement(self) -> str: ...
    @property
    def devices(self) -> tuple[str, ...]: ...
    def sample(self, at: Instant) -> Reading: ...
    def close(self) -> None: ...


class EventSink(Protocol):
    """Where events go. `send` takes what is the sink's to keep: it neither blocks on a network nor raises."""

    def send(self, topic: str, key: str, value: bytes) -> None: ...
    def flush(self, timeout_s: float) -> bool: ...
    def close(self, timeout_s: float) -> bool: ...

    @property
    def dropped(self) -> int: ...


class Clock(Protocol):
    """Time as a collaborator."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()


def instant(clock: Clock) -> Instant:
    """Both clocks, read together."""
    return Instant(clock.now(), clock.monotonic())


def combined(kinds: set[str]) -> str | None:
    """`measured`, `estimated`, `mixed` where both, None where nothing was read."""
    if not kinds:
        return None
    return kinds.pop() if len(kinds) == 1 else MIXED
