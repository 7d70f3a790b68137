"""Whether the world has changed: two tests, one on what a model errs and one on what it is asked about.

Errors that have outgrown the last value's for good are told by the test of Page and Hinkley, on scaled errors.

Power jumps whenever a job starts or ends, and every forecast errs there: a test on plain errors would call each
of these a drift. In a real drift the model goes on erring where the last value no longer does. So what is summed
is the model's error above the last value's, in units of the model's own ordinary error; while the last value errs too,
power is still on its way, and nothing speaks against the model.

A series that goes on at a power that it never had, as under a new limit or with another kind of work, is told by its
range. There a model may err little more than the last value for long, but nothing of what it learned is about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# In ordinary errors: what one window can add, what is tolerated in each, and the sum that is an alarm.
# A model that errs by 12 ordinary errors is caught by one window, one that errs by 7 by two.
LARGEST = 14.0
TOLERATED = 1.5
ALARM = 10.0
# Where the last value errs by more ordinary errors than this, power is on its way.
UNSETTLED = 10.0
# No ordinary error is smaller, as a share of the series' level: what is a part of a per cent is of no matter.
LEAST = 0.005
# Before so many errors are known there is no ordinary one.
WARM_UP = 20
MEMORY = 0.005
# A larger error counts as so many ordinary ones in their mean.
ODD = 20.0
# A power is a new one where it is beyond all earlier ones by these shares of their range and of the nearest of them,
# for so many windows in succession, after so many in which the range was learned.
BEYOND_RANGE = 0.25
BEYOND_NEAREST = 0.35
IN_SUCCESSION = 2
RANGE_WARM_UP = 60


class Drift:
    """Page (1954), Hinkley (1971): the sum of what exceeds the tolerated, never below 0; alarm above a limit."""

    def __init__(self) -> None:
        """Start without knowledge."""
        self.reset()

    def reset(self) -> None:
        """Forget everything: what an ordinary error is is learned anew."""
        self.mean, self.total, self.n = 0.0, 0.0, 0

    def update(self, error: float, reference: float) -> bool:
        """Take in the sizes of the model's and of the last value's error (shares of the series' level, finite).

        True at an alarm, after which it starts anew.
        """
        if self.n >= WARM_UP:
            unit = max(self.mean, LEAST)
            largest = LARGEST if reference <= UNSETTLED * unit else 0.0
            excess = max(-LARGEST, min(largest, (error - reference) / unit))
            self.total = max(0.0, self.total + excess - TOLERATED)
            if self.total > ALARM:
                self.reset()
                return True
            error = min(error, ODD * unit)
        self.n += 1
        self.mean += (error - self.mean) * max(MEMORY, 1.0 / self.n)
        return False

    def to_doc(self) -> dict[str, Any]:
        """As stored."""
        return {"mean": self.mean, "total": self.total, "n": self.n}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Drift:
        """Read back what `to_doc` wrote."""
        drift = cls()
        drift.mean, drift.total, drift.n = float(doc["mean"]), float(doc["total"]), int(doc["n"])
        return drift


class Range:
    """The lowest and highest power of a series (W)."""

    def __init__(self) -> None:
        """Start without knowledge."""
        self.low, self.high, self.n, self.beyond = 0.0, 0.0, 0, 0

    def update(self, power: float) -> bool:
        """Take in the power (W, finite) of a window; True where the series has moved to one that it never had.

        One window beyond the range may be a glitch, and does not widen it.
        """
        margin = BEYOND_RANGE * (self.high - self.low)
        above = power > self.high + max(margin, BEYOND_NEAREST * self.high)
        below = power < self.low - max(margin, BEYOND_NEAREST * self.low)
        self.beyond = self.beyond + 1 if self.n >= RANGE_WARM_UP and (above or below) else 0
        if 0 < self.beyond < IN_SUCCESSION:
            return False
        moved = self.beyond >= IN_SUCCESSION
        self.low = min(self.low, power) if self.n else power
        self.high = max(self.high, power) if self.n else power
        self.n, self.beyond = self.n + 1, 0
        return moved

    def to_doc(self) -> dict[str, Any]:
        """As stored."""
        return {"low": self.low, "high": self.high, "n": self.n, "beyond": self.beyond}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Range:
        """Read back what `to_doc` wrote."""
        found = cls()
        found.low, found.high = float(doc["low"]), float(doc["high"])
        found.n, found.beyond = int(doc["n"]), int(doc["beyond"])
        return found
