"""Whether the errors of a forecast have grown for good: the test of Page and Hinkley on scaled errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# In mean errors: what a single window can add, what is ordinary, and the sum that is an alarm.
LARGEST = 12.0
ORDINARY = 3.0
ALARM = 12.0
WARM_UP = 20
MEMORY = 0.01


class Drift:
    """Page (1954), Hinkley (1971): sum what errors exceed the ordinary; alarm when the sum passes a limit."""

    def __init__(self) -> None:
        """Start without knowledge."""
        self.reset()

    def reset(self) -> None:
        """Forget everything: what an ordinary error is is learned anew."""
        self.mean, self.total, self.n = 0.0, 0.0, 0

    def update(self, error: float) -> bool:
        """Take in the size of an error (not negative, any unit); True at an alarm, after which it starts anew."""
        if self.n >= WARM_UP:
            scaled = min(LARGEST, error / self.mean) if self.mean > 0 else (LARGEST if error > 0 else 0.0)
            self.total = max(0.0, self.total + scaled - ORDINARY)
            if self.total > ALARM:
                self.reset()
                return True
            error = min(error, ORDINARY * self.mean) if self.mean > 0 else error
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
