"""What follows each batch of a query: put together from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from pyspark.sql import SparkSession

from conf.settings import Settings
from spark_jobs.forecast.engine import Horizons
from spark_jobs.forecast.forest import Forest
from spark_jobs.forecast.manifest import Manifest
from spark_jobs.forecast.models import Models
from spark_jobs.forecast.registry import Registry
from spark_jobs.forecast.serving import Forecaster
from spark_jobs.store import Db


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


def followers_of(query: str, db: Db, settings: Settings, models: Models, window_ms: int) -> Sequence[Follower]:
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
    forecast = settings.forecast
    return (
        Forecaster(
            db, lambda: models.current, horizons, mine, forecast.history_windows, forecast.max_series
        ),
    )


def _seconds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)
