"""What the readers of forecasts return. Units are in the names; None is not known, never zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dashboard.store.fields import DATE, date, from_document, number, stored, text, whole

QUANTILES = ("p05", "p10", "p50", "p90", "p95")


@dataclass(frozen=True, kw_only=True)
class Span:
    """An amount with its 80 % interval; the unit is its holder's."""

    point: float
    p10: float | None = stored(number)
    p90: float | None = stored(number)


@dataclass(frozen=True, kw_only=True)
class When:
    """A time with its 80 % interval."""

    point: datetime
    p10: datetime | None = field(default=None, metadata=DATE)
    p90: datetime | None = field(default=None, metadata=DATE)


def span(value: Any) -> Span | None:
    """An amount with its interval; None without a point."""
    point = number(value.get("point")) if isinstance(value, Mapping) else None
    return None if point is None else from_document(Span, value, point=point)


def when(value: Any) -> When | None:
    """A time with its interval; None without a point."""
    point = date(value.get("point")) if isinstance(value, Mapping) else None
    return None if point is None else from_document(When, value, point=point)


def shares(value: Any) -> tuple[tuple[str, float], ...]:
    """Numbers by name."""
    if not isinstance(value, Mapping):
        return ()
    known = ((str(name), number(item)) for name, item in value.items())
    return tuple((name, item) for name, item in known if item is not None)


def flag(value: Any) -> bool | None:
    """True or false; anything else is not known."""
    return value if isinstance(value, bool) else None


# As `stored(span)` and `stored(when)`, spelled for `field(default=None, metadata=…)`.
SPAN, WHEN = {"read": span}, {"read": when}


@dataclass(frozen=True, kw_only=True)
class Series:
    """A series that is forecast. `target` is `node/ID`, `run/ID`, `user/ID` or `all/`."""

    target: str
    dimension: str = stored(text, "")
    key: str | None = stored(text)
    last_window_end: datetime | None = field(default=None, metadata=DATE)


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """Power (W) that is expected: five quantiles and the point forecast."""

    point: float | None = stored(number)
    p05: float | None = stored(number)
    p10: float | None = stored(number)
    p50: float | None = stored(number)
    p90: float | None = stored(number)
    p95: float | None = stored(number)


@dataclass(frozen=True, kw_only=True)
class Forecast(Quantiles):
    """A forecast of the mean power of the window that ends at `target_at`."""

    issued_at: datetime
    target_at: datetime
    horizon_s: int
    model: str | None = stored(text)
    model_version: str | None = stored(text)
    fallback: str | None = stored(text)
    last_value: float | None = stored(number)
    seasonal_naive: float | None = stored(number)
    weights: tuple[tuple[str, float], ...] = stored(shares, ())
    layers: tuple[tuple[str, float], ...] = stored(shares, ())
    energy_kwh: Span | None = None
    emissions_kg: Span | None = None
    g_per_kwh: float | None = None
    intensity_source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Past(Quantiles):
    """Forecasts of one horizon whose targets lie in [at - width, at): means in W, and the mean weights."""

    at: datetime
    n: int
    n_joined: int
    actual: float | None = stored(number)
    weights: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PastSeries:
    """Past forecasts of one horizon, oldest first; what has no forecast is not there (a gap)."""

    points: tuple[Past, ...] = ()
    width_s: int = 60


@dataclass(frozen=True, kw_only=True)
class Score:
    """Errors (W) of the stored forecasts whose actual is known, over one span of target times.

    Strong naive is the better of last value and seasonal naive (the same time a day before; where that is not
    known, the last value stands in), over the same forecasts.
    """

    n: int = 0
    n_seasonal: int = 0
    n_80: int = 0
    n_90: int = 0
    n_intervals: int = 0
    served_sum: float = 0.0
    last_sum: float = 0.0
    seasonal_sum: float = 0.0

    @property
    def served_mae(self) -> float | None:
        """Mean absolute error of what was served."""
        return self.served_sum / self.n if self.n else None

    @property
    def naive_mae(self) -> float | None:
        """Mean absolute error of strong naive."""
        if not self.n:
            return None
        return min(self.last_sum, self.seasonal_sum if self.n_seasonal else math.inf) / self.n

    @property
    def naive_name(self) -> str:
        """Which naive forecast is the better one."""
        return "seasonal" if self.n_seasonal and self.seasonal_sum < self.last_sum else "last value"

    @property
    def ratio(self) -> float | None:
        """Served ÷ strong naive; None where strong naive made no error."""
        served, naive = self.served_mae, self.naive_mae
        return None if served is None or not naive else served / naive

    def coverage(self, percent: int) -> float | None:
        """Share of the actuals inside the 80 % or 90 % interval."""
        inside = self.n_80 if percent == 80 else self.n_90
        return inside / self.n_intervals if self.n_intervals else None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of the registry."""

    version: str
    state: str | None = stored(text)
    created_at: datetime | None = field(default=None, metadata=DATE)
    serving_since: datetime | None = field(default=None, metadata=DATE)
    reason: str | None = stored(text)
    n_rows: int | None = stored(whole)
    data_from: datetime | None = None
    data_to: datetime | None = None
    served_horizons_s: tuple[int, ...] = ()
    scores: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class EpochForecast:
    """What a run was expected to use in all (kWh), as of the end of an epoch (or part, where it has no epochs)."""

    epoch: float
    at: datetime | None = field(default=None, metadata=DATE)
    energy_kwh: Span
    error_pct: float | None = stored(number)


@dataclass(frozen=True, kw_only=True)
class RunForecast:
    """What a run will have used at its completion, and when that is. `unit` is what `epoch` of the history counts:
    epochs, or parts of a run without; `error_pct` is the mean size of the history's errors.
    """

    issued_at: datetime | None = field(default=None, metadata=DATE)
    method: str | None = stored(text)
    note: str | None = stored(text)
    epoch: float | None = stored(number)
    total_epochs: float | None = stored(number)
    energy_kwh: Span | None = field(default=None, metadata=SPAN)
    emissions_kg: Span | None = field(default=None, metadata=SPAN)
    finishes_at: When | None = field(default=None, metadata=WHEN)
    per_epoch_kwh: float | None = stored(number)
    per_epoch_s: float | None = stored(number)
    n_similar: int | None = stored(whole)
    unit: str | None = stored(text)
    g_per_kwh: float | None = None
    intensity_source: str | None = None
    history: tuple[EpochForecast, ...] = ()
    actual_energy_kwh: float | None = stored(number)
    error_pct: float | None = stored(number)
