"""What each layer and each blend makes of a scenario, window by window, and how soon the hybrid is itself again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from schemas.errors import PipelineError
from spark_jobs.forecast.layers.hybrid import Blend
from spark_jobs.forecast.layers.scenarios import WINDOW_MS, Scenario
from spark_jobs.forecast.layers.speed import LONGEST, speed_row
from spark_jobs.forecast.series import Floats

LAGS = 10
TREES = 40
LEAF = 5
STATIC = {"batch": 0.3, "speed": 0.7}
MODELS = ("naive", "batch", "speed", "static", "dynamic")
# The error of before is the mean over so many windows; it is reached again when that of the next few is.
OLD_WINDOWS, NEXT_WINDOWS = 200, 20
RECOVERED = 1.2


@dataclass(frozen=True, slots=True)
class Replay:
    """Errors by model (forecast - actual, W; shape (n,), NaN where there is none) and windows with an alarm."""

    errors: dict[str, Floats]
    alarms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one model after the change; for the dynamic blend also windows to alarm and to recovery, from 1."""

    scenario: str
    model: str
    rmse_w: float
    mae_w: float
    old_mae_w: float
    alarm_windows: int | None = None
    recovery_windows: int | None = None
    false_alarms: int | None = None


def frozen_forecasts(scenario: Scenario, seed: int) -> Floats:
    """A forest trained once on the windows before `trained_to`, forecasting the next window (W) at each; shape (n,).

    A scikit-learn random forest over the powers of the last LAGS windows: a stand-in for the served MLlib model that
    needs no Spark session and knows nothing but levels that it saw. Raises PipelineError without scikit-learn.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise PipelineError("scikit-learn is not installed; run: pip install '.[forecast]'") from error

    powers = np.array([window.power_w for window in scenario.windows])
    rows = np.lib.stride_tricks.sliding_window_view(powers, LAGS)
    known = rows[: scenario.trained_to - LAGS]
    targets = powers[LAGS : scenario.trained_to]
    forest = RandomForestRegressor(TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=1)
    forest.fit(known, targets if scenario.levels else targets - known[:, -1])
    forecasts = np.full(len(powers), np.nan)
    forecasts[LAGS - 1 :] = forest.predict(rows) + (0.0 if scenario.levels else rows[:, -1])
    return forecasts


def replayed(scenario: Scenario, batch: Floats) -> Replay:
    """Forecast each window from those before it (horizon: one window). `batch[i]` is made at the end of window i.

    The batch model takes part from the end of its training on, as it would when it is put into service then.
    """
    blend = Blend()
    windows = scenario.windows
    errors: dict[str, Floats] = {name: np.full(len(windows), np.nan) for name in MODELS}
    alarms: list[int] = []
    for i in range(len(windows) - 1):
        last, actual = windows[i].power_w, windows[i + 1].power_w
        x = speed_row(windows[max(0, i - LONGEST) : i + 1], WINDOW_MS)
        given = float(batch[i]) if i >= scenario.trained_to else None
        layers = blend.predict(x, last, given)
        points = {"naive": last, "speed": layers.values["speed"], "dynamic": layers.point}
        if given is not None:
            points["batch"] = given
            points["static"] = sum(share * layers.values[name] for name, share in STATIC.items())
        for name, point in points.items():
            errors[name][i + 1] = point - actual
        if blend.learn(layers, x, last, actual):
            alarms.append(i + 1)
    return Replay(errors, tuple(alarms))


def scores(scenario: Scenario, done: Replay) -> list[Score]:
    """One per model, over the windows from the change on; where there is none, over the last third."""
    change = scenario.change if scenario.change is not None else len(scenario.windows) * 2 // 3
    found = []
    for name in MODELS:
        own = done.errors[name]
        after, before = own[change:], own[max(scenario.trained_to + 1, change - OLD_WINDOWS) : change]
        score = Score(scenario.name, name, float(np.sqrt(np.mean(after**2))), _mae(after), _mae(before))
        found.append(_with_windows(score, scenario, done) if name == "dynamic" else score)
    return found


def _mae(errors: Floats) -> float:
    return float(np.mean(np.abs(errors)))


def _with_windows(score: Score, scenario: Scenario, done: Replay) -> Score:
    change = scenario.change
    if change is None:
        return replace(score, false_alarms=len(done.alarms))
    return replace(
        score,
        alarm_windows=next((at - change + 1 for at in done.alarms if at >= change), None),
        recovery_windows=windows_to_recovery(done.errors["dynamic"], change, score.old_mae_w),
        false_alarms=sum(at < change for at in done.alarms),
    )


def windows_to_recovery(errors: Floats, change: int, old_mae: float) -> int | None:
    """Windows from the change on after which the next ones err by at most 1.2 x `old_mae` on average; None: never."""
    sizes = np.abs(errors[change:])
    for passed in range(len(sizes) - NEXT_WINDOWS + 1):
        if float(np.mean(sizes[passed : passed + NEXT_WINDOWS])) <= RECOVERED * old_mae:
            return passed
    return None
