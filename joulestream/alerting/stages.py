"""The stages of a budget: which are reached, which alert is raised, which are over. Pure functions.

- Stages are 50, 80, 90 and 100 % of the limit, once for what is spent (`actual`) and once for what will be spent
  (`forecast`: its point). Each has one alert per period of a budget, whatever happens.
- Where several new stages are reached at once, only the highest is raised; it names those below it in `passed`,
  and they are not raised in this period any more.
- A stage of the forecast that is not above the stage that is spent already is no news, and not raised.
- An alert stays open while its stage is reached. A forecast counts as back under its stage only `BACK_PCT` points
  below it, so that one that trembles around a stage does not open and close; if it comes back, the same alert is
  opened again, and nobody is told a second time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

STAGES = (50, 80, 90, 100)
ACTUAL = "actual"
FORECAST = "forecast"
BASES = (ACTUAL, FORECAST)
BACK_PCT = 5.0
_SEVERITY = {
    ACTUAL: {50: "info", 80: "warning", 90: "warning", 100: "critical"},
    FORECAST: {50: "info", 80: "info", 90: "warning", 100: "warning"},
}


@dataclass(frozen=True, slots=True)
class Step:
    """The highest new stage of a basis, and the stages that it stands for too."""

    basis: str
    stage_pct: int
    passed: tuple[int, ...]


def share_pct(amount: float, limit: float) -> float:
    """An amount as a percentage of a limit > 0."""
    return 100 * amount / limit


def reached(pct: float | None) -> tuple[int, ...]:
    """The stages that a percentage has reached; none where it is not known."""
    return () if pct is None else tuple(stage for stage in STAGES if pct >= stage)


def stage_of(pct: float | None) -> int:
    """The highest stage that is reached, 0 before the first."""
    return max(reached(pct), default=0)


def next_step(basis: str, pct: float | None, known: Collection[int]) -> Step | None:
    """The alert to raise, given the stages of this basis and period that have one (open or not)."""
    highest = max(known, default=0)
    new = [stage for stage in reached(pct) if stage > highest]
    if not new:
        return None
    return Step(basis, new[-1], tuple(stage for stage in STAGES if highest < stage < new[-1]))


def is_over(basis: str, stage_pct: int, pct: float | None) -> bool:
    """Whether an open alert's stage is no longer reached. What is not known changes nothing."""
    if pct is None:
        return False
    return pct < stage_pct - (BACK_PCT if basis == FORECAST else 0.0)


def severity(basis: str, stage_pct: int) -> str:
    """How an alert of a stage is graded."""
    return _SEVERITY[basis][stage_pct]
