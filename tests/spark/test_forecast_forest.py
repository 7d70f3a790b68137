"""The batch model in Spark: learned, stored, read back, refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.models.features import FEATURES, LEVEL, MISSING
from spark_jobs.forecast.models.forest import META, PIPELINE, TABLE, Forest, Growth
from spark_jobs.forecast.series import LEVELS, Floats

SMALL = Growth(trees=10, depth=4)


def rows_and_changes(n: int, seed: int) -> tuple[Floats, Floats]:
    """The change is +50 W where the first feature is above a half, else 0, with noise; level 100 W."""
    rng = np.random.default_rng(seed)
    rows = rng.random((n, len(FEATURES)))
    rows[:, FEATURES.index(LEVEL)] = 100.0
    return rows, np.where(rows[:, 0] > 0.5, 50.0, 0.0) + rng.normal(0.0, 1.0, n)


@pytest.fixture(scope="module")
def forest(spark: SparkSession) -> Forest:
    rows, changes = rows_and_changes(300, seed=1)
    later = changes.copy()
    later[::3] = np.nan
    return Forest.fit(spark, rows, {60: changes, 300: later}, version="v1", growth=SMALL)


def test_it_learns_the_change_and_its_quantiles_ascend(forest: Forest) -> None:
    rows, changes = rows_and_changes(200, seed=2)
    found = forest.predict(rows)
    assert set(found) == {60, 300} == set(forest.horizons_s)
    for of in found.values():
        assert of.shape == (200, len(LEVELS))
        assert (np.diff(of, axis=1) >= 0).all()
        assert np.abs(of[:, 2] - changes).mean() < 0.2 * np.abs(changes).mean()
    inside = (changes >= found[60][:, 0]) & (changes <= found[60][:, -1])
    assert inside.mean() > 0.75


def test_changes_are_scaled_by_the_level_of_the_row(forest: Forest) -> None:
    rows, _ = rows_and_changes(20, seed=3)
    double = rows.copy()
    double[:, FEATURES.index(LEVEL)] = 200.0
    assert forest.predict(double)[60] == pytest.approx(2 * forest.predict(rows)[60])


def test_rows_come_back_in_their_order(forest: Forest) -> None:
    rows, _ = rows_and_changes(500, seed=4)
    one_by_one = np.concatenate([forest.predict(rows[i : i + 1])[60] for i in (0, 250, 499)])
    assert np.array_equal(forest.predict(rows)[60][[0, 250, 499]], one_by_one)


def test_a_series_without_a_level_does_not_change(forest: Forest) -> None:
    row = np.full((1, len(FEATURES)), MISSING)
    row[0, -1] = 0.0
    assert not forest.predict(row)[60].any()


def test_no_row_no_forecast(forest: Forest) -> None:
    assert forest.predict(np.empty((0, len(FEATURES))))[60].shape == (0, len(LEVELS))


def test_a_stored_model_says_the_same(spark: SparkSession, forest: Forest, tmp_path: Path) -> None:
    forest.save(tmp_path / "v1")
    again = Forest.load(spark, tmp_path / "v1")
    rows, _ = rows_and_changes(50, seed=5)
    assert again.version == "v1"
    for h, of in forest.predict(rows).items():
        assert np.array_equal(again.predict(rows)[h], of)


def _without_table(folder: Path) -> None:
    (folder / TABLE).write_bytes(b"no")


def _without_stage(folder: Path) -> None:
    for part in (folder / PIPELINE / "metadata").glob("part-*"):
        part.unlink()


def _other_features(folder: Path) -> None:
    meta = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps({**meta, "features": meta["features"][1:]}))


@pytest.mark.parametrize("damage", [_without_table, _without_stage, _other_features])
def test_a_damaged_model_is_refused(spark, forest, tmp_path, damage) -> None:
    forest.save(tmp_path / "v1")
    damage(tmp_path / "v1")
    with pytest.raises(ModelError, match=r"joule forecast train"):
        Forest.load(spark, tmp_path / "v1")


def test_rows_of_other_features_are_refused(forest: Forest) -> None:
    with pytest.raises(ModelError, match="features"):
        forest.predict(np.zeros((3, 4)))


def test_too_little_to_learn_from_is_refused(spark: SparkSession) -> None:
    rows, changes = rows_and_changes(40, seed=6)
    changes[20:] = np.nan
    with pytest.raises(ModelError, match="at least"):
        Forest.fit(spark, rows, {60: changes}, growth=SMALL)
