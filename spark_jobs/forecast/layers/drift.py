"""Whether a model's errors have outgrown the last value's for good: the test of Page and Hinkley, on scaled errors.

Power jumps whenever a job starts or ends, and every forecast errs there: a test on plain errors would call each
of these a drift. In a real drift the model goes on erring where the last value no longer does. So what is summed
is the model's error above the last value's, in units of the model's own ordinary error; while the last value errs too,
power is still on its way, and nothing speaks against the model.
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
