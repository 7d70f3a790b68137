"""What the forecasts are measured against: two naive ones, smoothing, ridge and the best offline regressors.

The regressors see the same rows as ours and learn the same thing, the scaled change from the last value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spark_jobs.forecast.models.features import FEATURES, LEVEL
from spark_jobs.forecast.series import Floats, Observation

NAIVE, SEASONAL, SES, RIDGE = "naive", "seasonal_naive", "ses", "ridge"
BOOSTED, PLAIN_FOREST = "best_offline_hgb_absolute", "random_forest"
DAY_MS = 86_400_000
ALPHAS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)

# From rows and changes (W) to a predictor of changes (W).
Predictor = Callable[[Floats], Floats]
Fit = Callable[[Floats, Floats, int], Predictor]


def seasonal_naive(history: Sequence[Observation], window_ms: int, horizon_s: int) -> Floats:
    """Power at the target's time one day before, where it was observed, else the last value; one per window."""
    known = {one.start_ms: one.power_w for one in history}
    shift = horizon_s * 1000 - DAY_MS
    return np.array([known.get(one.start_ms + shift, one.power_w) for one in history])


def smoothed(history: Sequence[Observation], alpha: float) -> Floats:
    """Simple exponential smoothing: the level after each window (Brown 1956)."""
    level = history[0].power_w
    levels = []
    for one in history:
        level += alpha * (one.power_w - level)
        levels.append(level)
    return np.array(levels)


def regressors() -> Mapping[str, Fit]:
    """The offline models by name."""
    return {RIDGE: _fit(_ridge), PLAIN_FOREST: _fit(_forest), BOOSTED: _fit(_boosted)}


def _ridge(seed: int) -> object:
    return make_pipeline(StandardScaler(), Ridge(alpha=10.0))


def _forest(seed: int) -> object:
    return RandomForestRegressor(60, min_samples_leaf=3, max_features=0.4, random_state=seed)


def _boosted(seed: int) -> object:
    return HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=200,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=8,
        random_state=seed,
    )


def _fit(make: Callable[[int], object]) -> Fit:
    inputs = [i for i, name in enumerate(FEATURES) if name != LEVEL]
    place = FEATURES.index(LEVEL)

    def fit(rows: Floats, changes: Floats, seed: int) -> Predictor:
        known = np.isfinite(changes) & (rows[:, place] > 0)
        model = make(seed)
        model.fit(rows[known][:, inputs], changes[known] / rows[known, place])  # type: ignore[attr-defined]

        def predict(asked: Floats) -> Floats:
            scaled = model.predict(asked[:, inputs])  # type: ignore[attr-defined]
            return np.asarray(scaled * asked[:, place], dtype=np.float64)

        return predict

    return fit
