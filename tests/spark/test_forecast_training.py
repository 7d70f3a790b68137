"""A training from end to end: real forests, a real folder, and the score that decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from conf.settings import Settings, load_settings
from schemas.times import to_ms
from spark_jobs.forecast.learning.trainer import Trained, is_due, train_and_store
from spark_jobs.forecast.learning.training import Table, table_of
from spark_jobs.forecast.models.features import FEATURES
from spark_jobs.forecast.models.forest import Forest
from spark_jobs.forecast.models.registry import Registry
from spark_jobs.forecast.series import Observation

MINUTE = 60_000
START = to_ms(datetime(2026, 3, 1, tzinfo=timezone.utc))
NOW = datetime(2026, 3, 9, tzinfo=timezone.utc)


def wave(n: int, seed: int = 1) -> tuple[Observation, ...]:
    """Steps of four minutes between two levels, with noise: the next minute can be known, the last one errs."""
    noise = np.random.default_rng(seed).normal(0, 1, n)
    return tuple(
        Observation(START + i * MINUTE, 100.0 + 80.0 * (i // 4 % 2) + float(noise[i]), run_id="r")
        for i in range(n)
    )


def table(series: Mapping[str, tuple[Observation, ...]]) -> Table:
    return table_of(series, MINUTE, (60, 240))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data_dir": tmp_path / "data", "forecast.keep_models": 2})


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(settings.model_registry)


@pytest.mark.timeout(900)
def test_challengers_and_champions(
    spark: SparkSession, settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    def train(past: Table, hours: int, promote: bool = True) -> Trained:
        at = NOW + timedelta(hours=hours)
        return train_and_store(spark, settings, registry, past, "test", promote, at)

    early = table({"node/n": wave(500)})

    flat = table({"node/n": tuple(Observation(START + i * MINUTE, 50.0) for i in range(500))})
    rejected = train(flat, 0)
    assert (rejected.promoted, rejected.manifest.verdict) == (False, "rejected")
    assert registry.serving() is None

    held = train(early, 1, promote=False)
    assert (held.promoted, held.manifest.verdict) == (False, "challenger")
    assert "as was asked" in held.manifest.reason
    assert registry.serving() is None

    first = train(early, 2)
    version = first.manifest.version
    assert (first.promoted, registry.serving()) == (True, version)
    assert first.manifest.scores["60"]["ratio"] < 0.6
    assert 60 in first.manifest.served_horizons_s
    assert first.manifest.features == tuple(FEATURES)
    assert first.manifest.data["last"] == datetime(2026, 3, 1, 8, 20, tzinfo=timezone.utc)
    assert not is_due(registry, settings, NOW + timedelta(hours=7))
    assert is_due(registry, settings, NOW + timedelta(hours=8))
    assert registry.versions() == [version, held.manifest.version]  # as many as are to be kept

    folder = registry.fetch(version, tmp_path / "cache")
    model = Forest.load(spark, folder)
    assert model.version == version
    assert model.predict(early.rows[:1])[60].shape == (1, 5)

    young = train(early, 3)
    assert (young.promoted, registry.serving()) == (False, version)
    assert f"since {version} was trained" in young.manifest.reason

    later = train(table({"node/n": wave(1000)}), 4)
    assert later.versus_champion is not None
    assert later.promoted is (later.versus_champion < 1)
    assert version in later.manifest.reason
    assert version in registry.versions() or later.promoted

    serving = registry.serving()
    assert serving is not None
    (Path(registry.uri) / serving / "forest.json").write_bytes(b"{}")
    (settings.data_dir / "cache" / "models" / serving / "forest.json").write_bytes(b"{}")
    last = train(early, 5)
    assert (last.promoted, registry.serving()) == (True, last.manifest.version)
    assert f"model {serving} is damaged" in last.manifest.reason
