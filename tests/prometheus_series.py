"""A cluster as Kepler and DCGM show it, with counters whose values are known at every time, and a server of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from producers.prometheus.series import Series
from schemas.errors import RetryableError
from schemas.times import from_ms, to_ms
from tests.messages import AT

T0 = to_ms(AT)
SCRAPE_MS = 15_000


def scraped(
    name: str,
    value: Callable[[int], float],
    seconds: Iterable[int] | None = None,
    every_ms: int = SCRAPE_MS,
    phase_ms: int = 4_321,
    for_s: int = 600,
    **labels: str,
) -> Series:
    """A series: `value` of the milliseconds since T0, at each scrape (or at the seconds given)."""
    times = range(phase_ms, for_s * 1000 + 1, every_ms) if seconds is None else [s * 1000 for s in seconds]
    return Series(name, labels, tuple((T0 + at, value(at)) for at in times))


def watts(power_w: float, before: float = 0.0) -> Callable[[int], float]:
    """A counter of joules that rises evenly."""
    return lambda at: before + power_w * at / 1000


def rise(series: Series) -> float:
    """What a counter rose by, first to last."""
    return series.points[-1][1] - series.points[0][1]


@dataclass
class FakeServer:
    """Answers as a server that has scraped all that is there by `now_ms`. `away` of the next answers fail."""

    series: list[Series]
    now_ms: int = T0 + 10**9
    away: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)

    def samples(self, _: str, start_ms: int, end_ms: int) -> list[Series]:
        self.asked.append((start_ms, end_ms))
        if self.away:
            self.away -= 1
            raise RetryableError("no Prometheus answers")
        until = min(end_ms, self.now_ms)
        cut = (
            replace(s, points=tuple(p for p in s.points if start_ms <= p[0] <= until)) for s in self.series
        )
        return [series for series in cut if series.points]

    def now(self) -> datetime:
        return from_ms(self.now_ms)

    def monotonic(self) -> float:
        return self.now_ms / 1000
