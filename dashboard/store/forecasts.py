"""Forecasts: the series that have some, what is ahead, what came of the past ones, the models, a run's end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from dashboard.store.fields import date, from_document, number, text, whole
from dashboard.store.forecast_rows import (
    QUANTILES,
    EpochForecast,
    Forecast,
    Model,
    Past,
    PastSeries,
    RunForecast,
    Score,
    Series,
    span,
)
from dashboard.store.reader import Document, Reader
from dashboard.store.windows import width_for
from schemas.documents import FORECAST_STATES, FORECASTS, MODEL_REGISTRY, RUN_SUMMARY

MAX_SERIES = 2000
MAX_AHEAD = 2000
MAX_MODELS = 50
# A sum over a week of one series; the embedded document server looks at some 15,000 documents a second.
BUDGET_S = 8.0
# A range matches numbers only, and neither NaN nor what is absent: the joined forecasts.
FINITE = {"$gt": -1e300, "$lt": 1e300}
# The year 9999: later is no time.
LATEST_MS = 253_370_764_800_000
LAYERS = ("batch", "speed", "last", "seasonal")


@dataclass(frozen=True)
class ForecastReads:
    """All reads of forecasts. `window_s`: length of a window."""

    reader: Reader
    window_s: int

    def series(self) -> tuple[Series, ...]:
        """The series that are forecast, those with the newest window first; at most 2,000."""
        # Not the states of the horizons: they are large, and of no use here.
        names = ["target", "dimension", "key", "last_window_end"]
        found = self.reader.find(FORECAST_STATES, {}, names, (("last_window_end", -1),), MAX_SERIES)
        return tuple(from_document(Series, doc, target=str(doc["_id"])) for doc in found)

    def drift(self, target: str, horizon_s: int) -> datetime | None:
        """The last drift alarm of a series at a horizon."""
        place = f"horizons.{horizon_s}.drift_ms"
        found = self.reader.find(FORECAST_STATES, {"_id": target}, [place], None, 1)
        return alarm(found[0].get("horizons"), horizon_s) if found else None

    def ahead(self, target: str, newest: datetime) -> tuple[Forecast, ...]:
        """The newest forecast of each horizon whose target lies after `newest`, the nearest first."""
        query = {"target": target, "target_at": {"$gt": newest}}
        found = self.reader.find(FORECASTS, query, None, (("target_at", 1),), MAX_AHEAD)
        best: dict[int, Forecast] = {}
        for document in found:
            made = to_forecast(document)
            if made and (made.horizon_s not in best or made.issued_at > best[made.horizon_s].issued_at):
                best[made.horizon_s] = made
        return tuple(best[horizon_s] for horizon_s in sorted(best))

    def past(
        self, target: str, horizon_s: int, since: datetime, until: datetime, max_points: int
    ) -> PastSeries:
        """Forecasts of one horizon by target time, joined to at most `max_points` in the server."""
        width = width_for((until - since).total_seconds(), self.window_s, max_points)
        averages = {name: {"$avg": f"${name}"} for name in ("point", *QUANTILES, "actual")}
        weights = {f"w_{layer}": {"$avg": f"$weights.{layer}"} for layer in LAYERS}
        # A target time is the end of a window: the bucket that it closes is the one before it.
        at = {"$subtract": [{"$toLong": "$target_at"}, 1]}
        group = (
            averages
            | weights
            | {
                "_id": {"$subtract": [at, {"$mod": [at, width * 1000]}]},
                "n": {"$sum": 1},
                "newest": {"$max": "$target_at"},
                "n_joined": {"$sum": {"$cond": [{"$gt": ["$joined_at", None]}, 1, 0]}},
            }
        )
        matches = _targets(target, since, until, {"horizon_s": horizon_s})
        rows = self.reader.aggregate(FORECASTS, [*matches, {"$group": group}], BUDGET_S)
        points = sorted((to_past(row, width) for row in rows), key=lambda point: point.at)
        return PastSeries(points=tuple(points), width_s=width)

    def score(self, target: str, horizon_s: int, since: datetime, until: datetime) -> Score:
        """Errors of the joined forecasts of one horizon whose targets lie in (since, until]."""
        joined = {"horizon_s": horizon_s, "error": FINITE, "naive_error": FINITE}
        matches = _targets(target, since, until, joined)
        known = {"$isNumber": "$seasonal_error"}
        seasonal = {"$cond": [known, "$seasonal_error", "$naive_error"]}
        group = {
            "_id": None,
            "n": {"$sum": 1},
            "n_seasonal": {"$sum": {"$cond": [known, 1, 0]}},
            "n_80": {"$sum": {"$cond": [{"$eq": ["$in_80", True]}, 1, 0]}},
            "n_90": {"$sum": {"$cond": [{"$eq": ["$in_90", True]}, 1, 0]}},
            "n_intervals": {"$sum": {"$cond": [{"$in": ["$in_80", [True, False]]}, 1, 0]}},
            "served_sum": {"$sum": {"$abs": "$error"}},
            "last_sum": {"$sum": {"$abs": "$naive_error"}},
            "seasonal_sum": {"$sum": {"$abs": seasonal}},
        }
        rows = self.reader.aggregate(FORECASTS, [*matches, {"$group": group}], BUDGET_S)
        return Score(**{name: row for name, row in rows[0].items() if name != "_id"}) if rows else Score()

    def models(self) -> tuple[Model, ...]:
        """The newest models of the registry, the one that serves first."""
        found = self.reader.find(MODEL_REGISTRY, {}, None, (("created_at", -1),), MAX_MODELS)
        models = [to_model(document) for document in found]
        return tuple(sorted(models, key=lambda model: model.state != "serving"))

    def of_run(self, run_id: str) -> RunForecast | None:
        """What a run will have used at its completion; None if nothing is forecast."""
        found = self.reader.find(RUN_SUMMARY, {"_id": run_id}, ["forecast"], None, 1)
        return to_run_forecast(found[0].get("forecast")) if found else None


def _targets(target: str, since: datetime, until: datetime, more: Document) -> list[Document]:
    """Stages that keep a series' forecasts whose targets lie in (since, until].

    Two, as the embedded document server uses an index only where it has every field of the first stage.
    """
    span = {"target": target, "target_at": {"$gt": since, "$lte": until}}
    return [{"$match": span}, {"$match": more}]


def alarm(horizons: Any, horizon_s: int) -> datetime | None:
    """The last drift alarm from the states of the horizons."""
    state = horizons.get(str(horizon_s)) if isinstance(horizons, Mapping) else None
    at_ms = whole(state.get("drift_ms")) if isinstance(state, Mapping) else None
    if at_ms is None or not 0 <= at_ms <= LATEST_MS:
        return None
    return datetime.fromtimestamp(at_ms / 1000, timezone.utc)


def to_forecast(document: Mapping[str, Any]) -> Forecast | None:
    """A forecast from its document; None without its times."""
    issued_at, target_at = date(document.get("issued_at")), date(document.get("target_at"))
    horizon_s = whole(document.get("horizon_s"))
    if issued_at is None or target_at is None or horizon_s is None:
        return None
    emissions = document.get("emissions")
    given = emissions if isinstance(emissions, Mapping) else {}
    return from_document(
        Forecast,
        document,
        issued_at=issued_at,
        target_at=target_at,
        horizon_s=horizon_s,
        energy_kwh=span(document.get("energy")),
        emissions_kg=span(emissions),
        g_per_kwh=number(given.get("g_per_kwh")),
        intensity_source=text(given.get("source")),
    )


def to_past(row: Mapping[str, Any], width_s: int) -> Past:
    """Joined forecasts from a group of the server; `at` is the newest target, as the last bucket may still fill."""
    start = datetime.fromtimestamp(row["_id"] / 1000, timezone.utc)
    weights = ((layer, number(row.get(f"w_{layer}"))) for layer in LAYERS)
    return from_document(
        Past,
        row,
        at=date(row.get("newest")) or start + timedelta(seconds=width_s),
        n=int(row["n"]),
        n_joined=int(row["n_joined"]),
        weights=tuple((layer, weight) for layer, weight in weights if weight is not None),
    )


def to_model(document: Mapping[str, Any]) -> Model:
    """A model from its manifest."""
    data = document.get("data")
    given = data if isinstance(data, Mapping) else {}
    served = document.get("served_horizons_s")
    horizons = [whole(item) for item in served] if isinstance(served, Sequence) else []
    return from_document(
        Model,
        document,
        version=str(document["_id"]),
        data_from=date(given.get("first")),
        data_to=date(given.get("last")),
        served_horizons_s=tuple(item for item in horizons if item is not None),
        scores=tuple(flattened(document.get("scores"))),
    )


def to_run_forecast(value: Any) -> RunForecast | None:
    """A run's forecast from the part of its summary."""
    if not isinstance(value, Mapping):
        return None
    listed = value.get("history")
    items = listed if isinstance(listed, Sequence) and not isinstance(listed, (str, bytes)) else ()
    history = []
    for item in items:
        epoch = number(item.get("epoch")) if isinstance(item, Mapping) else None
        energy = span(item.get("energy_kwh")) if epoch is not None else None
        if epoch is not None and energy is not None:
            history.append(from_document(EpochForecast, item, epoch=epoch, energy_kwh=energy))
    emissions = value.get("emissions_kg")
    given = emissions if isinstance(emissions, Mapping) else {}
    return from_document(
        RunForecast,
        value,
        history=tuple(history),
        g_per_kwh=number(given.get("g_per_kwh")),
        intensity_source=text(given.get("source")),
    )


def flattened(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Nested names and values as pairs of texts: `a.b` and its value."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from flattened(item, f"{above}.{name}" if above else str(name))
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for number_of, item in enumerate(value, start=1):
            yield from flattened(item, f"{above} {number_of}")
    elif value is not None:
        yield above or "value", said(value)


def said(value: Any) -> str:
    """A single value: six digits of a number, a time in UTC."""
    at = date(value)
    if at is not None:
        return f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"
    return str(value)
