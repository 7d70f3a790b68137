"""The batch model: one MLlib random forest per horizon, read as a quantile regression forest.

Each forest grows on the *rank* of the scaled change (0 to 1), so that a jump of a hundred watts pulls no split
towards itself; the training changes in the leaves that a row falls into, weighted as in Meinshausen, *Quantile
Regression Forests* (JMLR 7, 2006), are its distribution. Their median is the point with the least absolute error.

The forests are stages of one PipelineModel, so one transform serves all horizons. Beside it are stored which
training change lies in which leaf (Parquet) and what the columns mean (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.regression import RandomForestRegressionModel, RandomForestRegressor
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.models.features import FEATURES, LEVEL
from spark_jobs.forecast.models.leaves import Ints, Leaves, Members, leaves_from, table_of
from spark_jobs.forecast.series import LEVELS, Floats

FORMAT = 1
PIPELINE, TABLE, META = "pipeline", "leaves.parquet", "forest.json"
COLUMN = "inputs"
FEWEST_ROWS = 30
RETRAIN = "train a model with this version: joule forecast train"


@dataclass(frozen=True, slots=True)
class Growth:
    """How the forests grow.

    Chosen on the first 60 % of the open node series and on runs put in a row: fine bins matter more than depth,
    since the first minutes of a run are few of all rows. Time and memory grow with bins x share x 2^depth.
    """

    trees: int = 24
    depth: int = 8
    leaf: int = 3
    share: float = 0.2
    bins: int = 128
    seed: int = 1


class Forest:
    """A trained model; see `BatchModel`."""

    def __init__(
        self,
        spark: SparkSession,
        pipeline: PipelineModel,
        leaves: Mapping[int, Leaves],
        version: str = "none",
    ) -> None:
        self._spark = spark
        self._pipeline = pipeline
        self._tables = {h: Members(of) for h, of in leaves.items()}
        self._leaves = dict(leaves)
        self.version = version

    @property
    def horizons_s(self) -> tuple[int, ...]:
        """The horizons that it knows (s)."""
        return tuple(sorted(self._leaves))

    @classmethod
    def fit(
        cls,
        spark: SparkSession,
        rows: Floats,
        changes: Mapping[int, Floats],
        version: str = "none",
        growth: Growth | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Forest:
        """Learn the changes from the last value (W), per horizon of shape (n,), NaN where there is no actual.

        `rows` has shape (n, len(FEATURES)). Horizons with fewer than FEWEST_ROWS actuals are left out.
        `say` hears of each horizon that is learned. Raises ModelError where none is left.
        """
        growth = growth or Growth()
        inputs, level = _split(rows)
        targets = {h: np.where(level > 0, of / np.maximum(level, 1e-9), np.nan) for h, of in changes.items()}
        known = {h: np.isfinite(of) for h, of in targets.items()}
        horizons = sorted(h for h, seen in known.items() if seen.sum() >= FEWEST_ROWS)
        if not horizons:
            raise ModelError(
                f"a model needs at least {FEWEST_ROWS} windows with an actual; wait for more data"
            )
        labels = {_label(h): _ranks(targets[h]) for h in horizons}
        table = _frame(spark, inputs, labels).coalesce(1).cache()
        try:
            stages: list[Transformer] = []
            for h in horizons:
                stages.append(_grow(table, h, growth))
                if say is not None:
                    say(f"learned {h} s ahead from {known[h].sum()} windows")
            pipeline = PipelineModel(stages)
            found = _leaves_of(pipeline.transform(table), horizons)
        finally:
            table.unpersist()
        leaves = {}
        for h in horizons:
            order = np.flatnonzero(known[h])[np.argsort(targets[h][known[h]], kind="stable")]
            leaves[h] = Leaves(targets[h][order], found[h][order])
        return cls(spark, pipeline, leaves, version)

    def predict(self, rows: Floats) -> dict[int, Floats]:
        """Changes from the last value (W) at LEVELS, per horizon of shape (n, len(LEVELS)), ascending in a row."""
        inputs, level = _split(rows)
        if not len(rows):
            return {h: np.empty((0, len(LEVELS))) for h in self.horizons_s}
        try:
            found = _leaves_of(self._pipeline.transform(_frame(self._spark, inputs, {})), self.horizons_s)
        except PySparkException as error:
            raise ModelError(f"model {self.version} cannot forecast: {error.getCondition()}") from error
        return {h: self._tables[h].quantiles(leaf) * level[:, None] for h, leaf in found.items()}

    def save(self, folder: Path) -> None:
        """Write the model into a folder that is not there yet."""
        folder.mkdir(parents=True)
        self._pipeline.write().save(str(folder / PIPELINE))
        parts = [table_of(h, of) for h, of in sorted(self._leaves.items())]
        pq.write_table(pa.concat_tables(parts), folder / TABLE)
        meta = {
            "format": FORMAT,
            "version": self.version,
            "features": list(FEATURES),
            "horizons_s": list(self.horizons_s),
            "levels": list(LEVELS),
        }
        (folder / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, spark: SparkSession, folder: Path) -> Forest:
        """Read back what `save` wrote. Raises ModelError where it is damaged or of another version."""
        meta = _meta(folder)
        try:
            table = pq.read_table(folder / TABLE)
            leaves = {h: leaves_from(table, h) for h in meta["horizons_s"]}
            pipeline = PipelineModel.load(str(folder / PIPELINE))
        except (
            Exception
        ) as error:  # the readers' errors are of many kinds: Arrow's, Spark's, Java's, Python's
            raise ModelError(
                f"the model in {folder.name} is damaged ({type(error).__name__}); {RETRAIN}"
            ) from error
        if len(pipeline.stages) != len(leaves) or any(not len(of.changes) for of in leaves.values()):
            raise ModelError(f"the model in {folder.name} is incomplete; {RETRAIN}")
        return cls(spark, pipeline, leaves, str(meta["version"]))


def _split(rows: Floats) -> tuple[Floats, Floats]:
    """The inputs and the level (W) of each row. Raises ModelError where the columns are others."""
    if rows.ndim != 2 or rows.shape[1] != len(FEATURES):
        raise ModelError(f"rows of {rows.shape[-1]} features, {len(FEATURES)} were expected; {RETRAIN}")
    return rows[:, [i for i, name in enumerate(FEATURES) if name != LEVEL]], rows[:, FEATURES.index(LEVEL)]


def _ranks(targets: Floats) -> Floats:
    """Shares of the known targets that are smaller, ties alike; NaN where not known."""
    known = np.isfinite(targets)
    ranks = np.full(len(targets), np.nan)
    ranks[known] = np.searchsorted(np.sort(targets[known]), targets[known]) / known.sum()
    return ranks


def _frame(spark: SparkSession, inputs: Floats, labels: Mapping[str, Floats]) -> DataFrame:
    values = pa.FixedSizeListArray.from_arrays(pa.array(inputs.ravel()), inputs.shape[1])
    columns = {COLUMN: values.cast(pa.list_(pa.float64()))}
    columns |= {name: pa.array(of, from_pandas=True) for name, of in labels.items()}
    frame = spark.createDataFrame(pa.table(columns))
    return frame.withColumn(COLUMN, array_to_vector(F.col(COLUMN)))


def _grow(table: DataFrame, horizon_s: int, growth: Growth) -> RandomForestRegressionModel:
    label = _label(horizon_s)
    forest = RandomForestRegressor(
        featuresCol=COLUMN,
        labelCol=label,
        predictionCol=f"rank_{horizon_s}",
        leafCol=_leaf(horizon_s),
        numTrees=growth.trees,
        maxDepth=growth.depth,
        minInstancesPerNode=growth.leaf,
        featureSubsetStrategy=str(growth.share),
        maxBins=growth.bins,
        maxMemoryInMB=512,
        seed=growth.seed,
    )
    model: RandomForestRegressionModel = forest.fit(table.where(F.col(label).isNotNull()))
    return model


def _leaves_of(scored: DataFrame, horizons: Sequence[int]) -> dict[int, Ints]:
    """The leaf of each row in each tree, per horizon of shape (n, trees), rows in their order."""
    found = scored.select(*(vector_to_array(F.col(_leaf(h))).alias(_leaf(h)) for h in horizons)).toArrow()
    n = found.num_rows
    return {
        h: found[_leaf(h)]
        .combine_chunks()
        .values.to_numpy(zero_copy_only=False)
        .reshape(n, -1)
        .astype(np.int64)
        for h in horizons
    }


def _label(horizon_s: int) -> str:
    return f"label_{horizon_s}"


def _leaf(horizon_s: int) -> str:
    return f"leaf_{horizon_s}"


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
        known = meta["format"] == FORMAT and tuple(meta["features"]) == FEATURES
        known = (
            known and tuple(meta["levels"]) == LEVELS and all(isinstance(h, int) for h in meta["horizons_s"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the model in {folder.name} is damaged ({type(error).__name__}); {RETRAIN}"
        ) from error
    if not known:
        raise ModelError(f"the model in {folder.name} is of another version or has other features; {RETRAIN}")
    return meta
