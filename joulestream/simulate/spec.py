"""What to simulate: all that the output depends on, so that equal specs give equal bytes."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from schemas.errors import PipelineError
from schemas.times import EARLIEST, UTC, rfc3339
from schemas.units import MS_PER_S, S_PER_H

S_PER_DAY = 24 * S_PER_H
DEFAULT_START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
MIN_TICKS = 4


class SpecError(PipelineError):
    """The simulation cannot be made as asked for; the message lists every reason."""


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """A fleet over a time: `every_s` is event time between two readings of one meter."""

    nodes: int = 4
    runs: int = 20
    days: float = 1.0
    every_s: float = 60.0
    seed: int = 0
    start: datetime = DEFAULT_START
    faults: bool = False

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._rules() if wrong]
        if problems:
            raise SpecError("the fleet cannot be simulated:" + "".join(f"\n  - {text}" for text in problems))

    def _rules(self) -> list[tuple[bool, str]]:
        naive = self.start.tzinfo is None
        paced = 0.001 <= self.every_s < math.inf and 0 < self.days < math.inf
        return [
            (self.nodes < 1, f"--nodes is {self.nodes}; give at least 1"),
            (self.runs < 0, f"--runs is {self.runs}; give 0 or more"),
            (
                not paced,
                f"--days is {self.days:g} and --every is {self.every_s:g}; expected --every of at least 0.001 s "
                "and more than 0 days",
            ),
            (
                paced and self.ticks < MIN_TICKS,
                f"--days {self.days:g} holds fewer than {MIN_TICKS} intervals of --every {self.every_s:g} s; "
                "give more days or a smaller --every",
            ),
            (naive, "--start has no zone; give RFC 3339 such as 2025-01-06T00:00:00Z"),
            (not naive and self.start < EARLIEST, f"--start is before {rfc3339(EARLIEST)}, which is too old"),
        ]

    @property
    def every_ms(self) -> int:
        """Interval between readings, ms."""
        return round(self.every_s * MS_PER_S)

    @property
    def ticks(self) -> int:
        """Number of intervals."""
        return int(self.days * S_PER_DAY * MS_PER_S // max(1, self.every_ms))

    @property
    def end(self) -> datetime:
        """No event is later than this."""
        return self.start + timedelta(milliseconds=(self.ticks + 1) * self.every_ms)

    @property
    def tag(self) -> str:
        """Short name of this spec, part of every id, so that two simulations never share a run."""
        facts = {**asdict(self), "start": rfc3339(self.start)}
        return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:6]


@dataclass(frozen=True, slots=True)
class Impurity:
    """What goes wrong on the way, as probabilities per message. The truth of the fleet stays as it is.

    `disorder`: sent later than its neighbours, by at most `disorder_s`; `late`: held back by `late_s` or
    more; `duplicates`: sent once more with the same bytes; `malformed`: followed by a broken message.
    """

    duplicates: float = 0.0
    disorder: float = 0.0
    malformed: float = 0.0
    late: float = 0.0
    disorder_s: float = 300.0
    late_s: float = 7200.0

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("duplicates", "disorder", "malformed", "late")}
        wrong = [f"--{name} is {value:g}" for name, value in shares.items() if not 0 <= value <= 1]
        if wrong:
            raise SpecError(f"{', '.join(wrong)}; expected a probability from 0 to 1, such as 0.05")

    @property
    def none(self) -> bool:
        """Whether messages go out as they come."""
        return not (self.duplicates or self.disorder or self.malformed or self.late)
