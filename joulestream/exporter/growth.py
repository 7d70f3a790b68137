"""Counters from totals that may also be lowered: only what exceeds the highest value seen is counted."""

from __future__ import annotations

from collections.abc import Iterable


class Growth:
    """The highest value of each key. What is there at the first look is where the count begins."""

    def __init__(self) -> None:
        self._highest: dict[str, float] = {}
        self._begun = False

    def of(self, key: str, value: float) -> float:
        """By how much this value exceeds the highest one so far; a key that came after the first look begins at 0."""
        before = self._highest.get(key, 0.0 if self._begun else value)
        self._highest[key] = max(before, value)
        return max(0.0, value - before)

    def begin(self) -> None:
        """The first look is over."""
        self._begun = True

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all others."""
        self._highest = {key: self._highest[key] for key in keys if key in self._highest}
