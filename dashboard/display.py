"""Amounts as people read them: one unit, scaled to the data; what is not known is a dash, never 0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

NOT_KNOWN = "–"
DIGITS = 3


@dataclass(frozen=True)
class Scale:
    """A display unit: `base` is how much of the stored unit (kWh, W, kg) it holds."""

    unit: str
    base: float

    def of(self, value: float | None) -> float | None:
        """A stored value in this unit."""
        return None if value is None else value / self.base

    def all(self, values: Iterable[float | None]) -> list[float | None]:
        """Stored values in this unit."""
        return [self.of(value) for value in values]


# SI prefixes of the stored units, smallest first.
ENERGY = tuple(
    Scale(unit, base)
    for unit, base in (("µWh", 1e-9), ("mWh", 1e-6), ("Wh", 1e-3), ("kWh", 1.0), ("MWh", 1e3), ("GWh", 1e6))
)
POWER = tuple(
    Scale(unit, base) for unit, base in (("µW", 1e-6), ("mW", 1e-3), ("W", 1.0), ("kW", 1e3), ("MW", 1e6))
)
MASS = tuple(
    Scale(unit, base) for unit, base in (("µg", 1e-9), ("mg", 1e-6), ("g", 1e-3), ("kg", 1.0), ("t", 1e3))
)
SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86_400


def scale_for(ladder: Sequence[Scale], values: Iterable[float | None]) -> Scale:
    """The largest unit in which the largest value is at least 1; the stored one if there is nothing."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    if largest == 0:
        return next(scale for scale in ladder if scale.base == 1.0)
    fitting = [scale for scale in ladder if largest >= scale.base * 0.9995]
    return fitting[-1] if fitting else ladder[0]


def figures(value: float | None, digits: int = DIGITS) -> str:
    """A number with some significant digits and no exponent where it can be helped."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    if value == 0:
        return "0"
    # The exponent after rounding: 0.9996 is 1.00, not 1.000.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    decimals = max(0, digits - 1 - exponent)
    if decimals > 9 or abs(value) >= 1e12:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals > digits else text


def amount(value: float | None, ladder: Sequence[Scale], suffix: str = "") -> str:
    """A stored value in its own best unit, such as `1.23 kWh`."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    scale = scale_for(ladder, [value])
    return f"{figures(scale.of(value))} {scale.unit}{suffix}"


def energy(value_kwh: float | None) -> str:
    """kWh as text."""
    return amount(value_kwh, ENERGY)


def power(value_w: float | None) -> str:
    """W as text."""
    return amount(value_w, POWER)


def co2e(value_kg: float | None) -> str:
    """kg CO2e as text."""
    return amount(value_kg, MASS, " CO₂e")


def count(value: int | None) -> str:
    """A whole number with separators."""
    return NOT_KNOWN if value is None else f"{value:,}"


def counted(number: int, noun: str) -> str:
    """A number of things, such as `1 forecast` or `1,425 forecasts`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def share(part: float | None, whole: float | None) -> str:
    """A part as a percentage; a little is not nothing."""
    if part is None or not whole:
        return NOT_KNOWN
    percent = 100 * part / whole
    return "< 1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None or not math.isfinite(seconds):
        return NOT_KNOWN
    if 0.0005 <= seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    left = round(seconds)
    if left < MINUTE:
        return f"{left} s"
    if left < HOUR:
        return _two(left // MINUTE, "min", left % MINUTE, "s")
    if left < DAY:
        return _two(left // HOUR, "h", left % HOUR // MINUTE, "min")
    return _two(left // DAY, "d", left % DAY // HOUR, "h")


def span(seconds: int) -> str:
    """A horizon as people say it: a day is 24 h."""
    whole_hours = HOUR < seconds <= 2 * DAY and seconds % HOUR == 0
    return f"{seconds // HOUR} h" if whole_hours else duration(seconds)


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago; a time slightly ahead of this clock is now."""
    if at is None:
        return NOT_KNOWN
    seconds = (now - at).total_seconds()
    return "just now" if seconds < 2 else f"{duration(seconds)} ago"


def moment(at: datetime | None) -> str:
    """A time in UTC."""
    return NOT_KNOWN if at is None else f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def day_and_time(at: datetime | None) -> str:
    """A time in UTC without its zone, for columns whose title says UTC."""
    return NOT_KNOWN if at is None else f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


def known(text: str | None) -> str:
    """A text, or that it is not known."""
    return text if text else "not known"
