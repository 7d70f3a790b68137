"""What follows each batch of a query: put together from the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from pymongo.errors import PyMongoError
from pyspark.sql import SparkSession

from conf.settings import Settings
from spark_jobs.forecast.anomalies.serving import AnomalyAlerts
from spark_jobs.forecast.engine import Horizons
from spark_jobs.forecast.models.forest import Forest
from spark_jobs.forecast.models.in_use import Models
from spark_jobs.forecast.models.manifest import Manifest
from spark_jobs.forecast.models.registry import Registry
from spark_jobs.forecast.runs.serving import RunForecaster
from spark_jobs.forecast.serving import Forecaster
from spark_jobs.store import Db

log = logging.getLogger(__name__)


class Follower(Protocol):
    """Follows the documents of a query and never changes or stops it."""

    def written(self, collection: str, docs: Mapping[str, Mapping[str, Any]]) -> None:
        """Documents by `_id`, as they were just written; perhaps again."""

    def flush(self) -> None:
        """The batch is settled. Raises nothing."""

    def close(self) -> None:
        """The query ends. Raises nothing."""


def models_of(spark: SparkSession, settings: Settings, stop: Event) -> Models:
    """The follower of the registry's pointer; not started."""

    def load(folder: Path, _manifest: Manifest) -> Forest:
        return Forest.load(spark, folder)

    return Models(
        lambda: Registry(settings.model_registry),
        settings.data_dir / "cache" / "models",
        settings.stream.window_s,
        load,
        stop,
    )


def followers_of(
    query: str, db: Db, settings: Settings, models: Models, window_ms: int, epoch: int
) -> Sequence[Follower]:
    """The followers of a query; none where forecasts are switched off."""
    wanted = frozenset(settings.forecast.dimensions.split(","))
    mine = wanted & ({"node"} if query == "node" else {"run", "user", "all"})
    if not settings.forecast.enabled or not mine:
        return ()
    horizons = Horizons(
        window_ms,
        _seconds(settings.forecast.horizons_s),
        _seconds(settings.forecast.long_horizons_s),
        settings.forecast.long_every_s,
    )
    forecast, alerts = settings.forecast, AnomalyAlerts(db, settings)
    series = Forecaster(
        db,
        lambda: models.current,
        horizons,
        mine,
        forecast.history_windows,
        forecast.max_series,
        alerts.signals,
    )
    followers: list[Follower] = [series, Careful("anomalies", alerts.flush)]
    if query == "training":
        runs = RunForecaster(db, epoch, window_ms)
        followers.append(Careful("forecasts of runs", runs.flush, runs.written))
    return tuple(followers)


class Careful:
    """A follower whose failures are said once and change nothing: it tries again after the next batch."""

    def __init__(
        self,
        name: str,
        flush: Callable[[], object],
        written: Callable[[str, Mapping[str, Any]], None] = lambda _collection, _docs: None,
    ) -> None:
        self._name = name
        self._flush = flush
        self._written = written
        self._said = ""

    def written(self, collection: str, docs: Mapping[str, Mapping[str, Any]]) -> None:
        """Hand on what was written."""
        self._tried(lambda: self._written(collection, docs))

    def flush(self) -> None:
        """Let it do its work."""
        self._tried(self._flush)

    def close(self) -> None:
        """Once more, before the query ends."""
        self._tried(self._flush)

    def _tried(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # whatever it is, the stream goes on
            text = f"{type(error).__name__}: {str(error)[:300]}"
            if text != self._said:
                log.warning("%s wait: %s", self._name, text, exc_info=not isinstance(error, PyMongoError))
            self._said = text
        else:
            self._said = ""


def _seconds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)
