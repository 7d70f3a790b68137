"""The periods of budgets, in UTC: an event belongs to the period in which the window of its time begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.times import UTC

TOTAL = "total"
KINDS = (TOTAL, "day", "week", "month")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` to before `end`; both are None of `total`. `label` names it in ids and messages."""

    kind: str
    label: str
    start: datetime | None = None
    end: datetime | None = None

    def rest_s(self, at: datetime) -> float | None:
        """Seconds to its end, at least 0; None where it has none."""
        return None if self.end is None else max(0.0, (self.end - at).total_seconds())

    def over(self, at: datetime) -> bool:
        """Whether it has ended."""
        return self.end is not None and at >= self.end


def period_at(kind: str, at: datetime) -> Period:
    """The period of this kind that holds a time. Weeks are those of ISO 8601: they begin on Monday."""
    if kind == TOTAL:
        return Period(TOTAL, TOTAL)
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "day":
        return Period(kind, f"{midnight:%Y-%m-%d}", midnight, midnight + _DAY)
    if kind == "week":
        year, week, weekday = midnight.isocalendar()
        monday = midnight - (weekday - 1) * _DAY
        return Period(kind, f"{year}-W{week:02d}", monday, monday + 7 * _DAY)
    first = midnight.replace(day=1)
    return Period(kind, f"{first:%Y-%m}", first, (first + 31 * _DAY).replace(day=1))


def live_periods(kind: str, at: datetime, grace_s: float) -> tuple[Period, ...]:
    """The period of now, and the one before it while its last events may still be on their way."""
    now = period_at(kind, at)
    if now.start is None or (at - now.start).total_seconds() >= grace_s:
        return (now,)
    return (now, period_at(kind, now.start - _DAY / 2))


def aligned(kind: str, window_s: int) -> bool:
    """Whether no window crosses a border of such periods: windows are counted from 1970, borders are midnights."""
    return kind == TOTAL or _DAY.total_seconds() % window_s == 0
