"""What each layer and each blend makes of a scenario, window by window, and how soon the hybrid is itself again."""

from __future__ import annotations

from collections.abc import Sequence
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
OLD_WINDOWS, NEXT_WINDOWS = 200, 10
RECOVERED = 1.2
# A generated scenario is replayed with so many seeds.
REPETITIONS = 20


@dataclass(frozen=True, slots=True)
class Replay:
    """Errors by model (forecast - actual, W; shape (n,), NaN where there is none) and windows with an alarm."""

    errors: dict[str, Floats]
    alarms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one model after the change, over all repetitions; of the dynamic blend also when it noticed and was itself.

    `alarm_windows` is the latest over the repetitions (None: one of them had no alarm), `false_alarms` their sum among
    `calm_windows` without a drift. Windows count from 1, the first one after the change.
    """

    scenario: str
    model: str
    repetitions: int
    rmse_w: float
    mae_w: float
    old_mae_w: float
    alarm_windows: int | None = None
    recovery_windows: int | None = None
    false_alarms: int | None = None
    calm_windows: int | None = None


def seeds_of(seed: int) -> range:
    """The seeds of the repetitions of a generated scenario; those of two seeds have none in common."""
    return range(seed * REPETITIONS, (seed + 1) * REPETITIONS)


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


def scores(scenarios: Sequence[Scenario], replays: Sequence[Replay]) -> list[Score]:
    """One per model, over the windows from the change on; where there is none, over the last third.

    `scenarios` are repetitions of one scenario (or one measured one) and `replays` what was made of each.
    """
    first = scenarios[0]
    change = first.change if first.change is not None else len(first.windows) * 2 // 3
    found = []
    for name in MODELS:
        errors = np.stack([done.errors[name] for done in replays])
        after, before = (
            errors[:, change:],
            errors[:, max(first.trained_to + 1, change - OLD_WINDOWS) : change],
        )
        rmse = float(np.sqrt(np.mean(after**2)))
        found.append(Score(first.name, name, len(replays), rmse, _mae(after), _mae(before)))
    return [_with_windows(score, first, replays) if score.model == "dynamic" else score for score in found]


def _mae(errors: Floats) -> float:
    return float(np.mean(np.abs(errors)))


def _with_windows(score: Score, scenario: Scenario, replays: Sequence[Replay]) -> Score:
    change = scenario.change
    # The first window has no forecast.
    calm = (len(scenario.windows) if change is None else change) - 1
    alarms = [at for done in replays for at in done.alarms]
    false = sum(change is None or at < change for at in alarms)
    score = replace(score, false_alarms=false, calm_windows=calm * len(replays))
    if change is None:
        return score
    noticed = [next((at - change + 1 for at in done.alarms if at >= change), None) for done in replays]
    known = [windows for windows in noticed if windows is not None]
    sizes = np.mean([np.abs(done.errors["dynamic"]) for done in replays], axis=0)
    return replace(
        score,
        alarm_windows=max(known) if len(known) == len(noticed) else None,
        recovery_windows=windows_to_recovery(sizes, change, score.old_mae_w),
    )


def windows_to_recovery(sizes: Floats, change: int, old_mae: float) -> int | None:
    """Windows from the change on after which the next ones err by at most RECOVERED x `old_mae` (W); None: never.

    `sizes` are absolute errors (W) by window, means over the repetitions. The absolute error of a normal noise spreads
    by 3/4 of its mean, so a single window of 20 repetitions is known to 17 % only, and every eighth one would be above
    1.2 by chance. The mean of the next 10 windows (200 errors) is known to 5 %: 1.2 is four of these away. More
    windows would hide one that is still off: among 10, one of 3 times the old error is seen; among 20, one of 5.
    A measured scenario has one repetition, so there the figure is one outcome and no mean.
    """
    later = sizes[change:]
    for passed in range(len(later) - NEXT_WINDOWS + 1):
        if float(np.mean(later[passed : passed + NEXT_WINDOWS])) <= RECOVERED * old_mae:
            return passed
    return None
