"""The steps of a training: read the past, challenge the champion, store the model, let it serve if it wins."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from time import monotonic
from typing import Any

from pyspark.sql import SparkSession

from conf.settings import Settings
from schemas.times import from_ms
from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.learning.challenge import Challenge, Champion, Say, challenge, silent
from spark_jobs.forecast.learning.history import days_before, read_history
from spark_jobs.forecast.learning.promotion import CHALLENGER, PROMOTED
from spark_jobs.forecast.learning.training import Table
from spark_jobs.forecast.models.features import FEATURES
from spark_jobs.forecast.models.forest import Forest
from spark_jobs.forecast.models.manifest import Manifest
from spark_jobs.forecast.models.registry import Registry
from spark_jobs.forecast.series import Observation
from spark_jobs.store import Address, connect, server_errors

LIBRARIES = ("pyspark", "numpy", "pyarrow")


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to."""

    manifest: Manifest
    promoted: bool
    versus_champion: float | None
    took_s: float

    def to_doc(self) -> dict[str, Any]:
        """As it is printed."""
        manifest = self.manifest
        return {
            "version": manifest.version,
            "promoted": self.promoted,
            "verdict": manifest.verdict,
            "reason": manifest.reason,
            "served_horizons_s": list(manifest.served_horizons_s),
            "versus_champion": self.versus_champion,
            "scores": manifest.scores,
            "n_rows": manifest.n_rows,
            "data": manifest.data,
            "took_s": round(self.took_s, 1),
        }


def horizons_of(settings: Settings) -> tuple[int, ...]:
    """The horizons (s) of the settings that are whole windows."""
    texts = f"{settings.forecast.horizons_s},{settings.forecast.long_horizons_s}".split(",")
    wanted = {int(text) for text in texts if text}
    return tuple(sorted(h for h in wanted if h and h % settings.stream.window_s == 0))


def past_of_store(settings: Settings, now: datetime) -> dict[str, tuple[Observation, ...]]:
    """The closed windows of the last forecast.train_days, of the dimensions that are forecast."""
    db = connect(Address.of(settings))
    try:
        with server_errors("the document store", settings.mongodb):
            dimensions = settings.forecast.dimensions.split(",")
            return read_history(db, dimensions, days_before(now, settings.forecast.train_days), now)
    finally:
        db.client.close()


def past_of_file(path: Path, window_ms: int) -> dict[str, tuple[Observation, ...]]:
    """The series of a Parquet file, or of those in a folder. Raises TraceError where it holds none."""
    from spark_jobs.forecast.backtest.traces import files_of, read_traces

    traces = [
        trace for task, files in files_of(path).items() for trace in read_traces(files, task, window_ms)
    ]
    return {trace.target: trace.observations for trace in traces}


def is_due(registry: Registry, settings: Settings, now: datetime) -> bool:
    """Whether the newest model is older than forecast.retrain_every_s, or there is none."""
    for version in registry.versions():
        try:
            made = registry.manifest(version).created_at
        except ModelError:
            continue  # damaged: it does not stand in the way of a new one
        return made + timedelta(seconds=settings.forecast.retrain_every_s) <= now
    return True


def train_and_store(
    spark: SparkSession,
    settings: Settings,
    registry: Registry,
    table: Table,
    source: str,
    promote: bool,
    now: datetime,
    say: Say = silent,
) -> Trained:
    """Train a challenger, store it whatever it is worth, and let it serve where it wins and `promote` says so.

    `say` hears what is done, in sentences.
    """
    began_s = monotonic()
    version = f"{now:%Y%m%dT%H%M%SZ}-{os.urandom(3).hex()}"
    champion, lost = champion_of(spark, registry, settings)
    result = challenge(partial(Forest.fit, spark, version=version, say=say), table, champion, say)
    wins = result.decision.verdict == PROMOTED
    verdict = result.decision.verdict if promote or not wins else CHALLENGER
    reason = result.decision.reason + ("" if promote or not wins else "; not promoted, as was asked")
    manifest = manifest_of(version, settings, table, source, result, now, verdict, reason + lost)
    with tempfile.TemporaryDirectory(prefix="joulestream-model-") as folder:
        model = Path(folder) / version
        if not isinstance(result.model, Forest):
            raise TypeError("the model that was trained is no Forest")
        say("storing it")
        result.model.save(model)
        manifest = registry.add(model, manifest)
    if verdict == PROMOTED:
        registry.promote(version, now)
    registry.prune(settings.forecast.keep_models)
    return Trained(manifest, verdict == PROMOTED, result.versus, monotonic() - began_s)


def champion_of(spark: SparkSession, registry: Registry, settings: Settings) -> tuple[Champion | None, str]:
    """The model that serves; None, and a text that says why, where it can be used no more."""
    try:
        version = registry.serving()
        if version is None:
            return None, ""
        manifest = registry.manifest(version)
        manifest.check(FEATURES, settings.stream.window_s)
        folder = registry.fetch(version, settings.data_dir / "cache" / "models")
        return Champion(Forest.load(spark, folder), manifest), ""
    except ModelError as error:
        return None, f"; it was not compared with the model in use ({error})"


def manifest_of(
    version: str,
    settings: Settings,
    table: Table,
    source: str,
    result: Challenge,
    now: datetime,
    verdict: str,
    reason: str,
) -> Manifest:
    """What the new version says of itself."""
    window_ms = settings.stream.window_s * 1000
    data: Mapping[str, Any] = {
        "source": source,
        "first": from_ms(int(table.issued_ms[0]) - window_ms),
        "last": from_ms(int(table.issued_ms[-1])),
        "groups": {name: table.groups.count(name) for name in sorted(set(table.groups))},
    }
    return Manifest(
        version=version,
        created_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
        features=tuple(FEATURES),
        horizons_s=tuple(sorted(result.model.horizons_s)),
        served_horizons_s=result.decision.served_horizons_s,
        window_s=settings.stream.window_s,
        data=data,
        n_rows=len(table.issued_ms),
        scores={str(h): score.to_doc() for h, score in sorted(result.scores.items())},
        verdict=verdict,
        reason=reason,
        libraries=_libraries(),
        files={},
    )


def _libraries(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version_of(name) for name in names}}
