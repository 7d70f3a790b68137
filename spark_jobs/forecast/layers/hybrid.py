"""The hybrid forecast: batch model, speed layer, last value and season, weighted by what they were worth lately.

Weights are the inverse of each layer's discounted absolute loss, to a power (the combination of Bates and Granger
1969, with absolute losses; a high power follows the leader). The last value is always among the layers, so where
nothing clearly beats it it serves. After a drift alarm the losses start anew with a short memory, and the old ones come
back only where the model proves within a few windows that the alarm was false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spark_jobs.forecast.layers.drift import Drift, Range
from spark_jobs.forecast.layers.speed import LIMIT, Speed, bounded
from spark_jobs.forecast.series import Floats

LAYERS = ("last", "batch", "speed", "seasonal")
# Chosen on the first 60 % of the open node series and on open runs; see docs of the forecasts.
MEMORY = 0.995
POWER = 16.0
# A layer counts as so much worse than it was, and one that is then worse than the last value hardly counts at all.
HANDICAP = 1.04
POWER_OF_WORSE = 64.0
# A layer starts with the losses of so many windows, at these ratios to the last value's.
PRIOR_WINDOWS = 10.0
PRIOR = {"last": 1.0, "batch": 0.7, "speed": 0.9, "seasonal": 1.3}
# The same after an alarm: little, so that the first windows decide, but enough that no layer leads by one lucky window.
PRIOR_WINDOWS_AFTER_ALARM = 0.5
PRIOR_AFTER_ALARM = {"last": 1.0, "batch": 2.0, "speed": 2.0, "seasonal": 2.0}
# Memory after an alarm: of n windows it keeps 1 - HASTE / (n + 2 HASTE) per window, so old ones fade as n^-HASTE.
HASTE = 3.0
# Windows after an alarm in which the model can show that it was false, and what it may lose to the last value.
PROBATION = 4
PROVEN = 1.1
# Just after a start everything errs; no evidence of a drift is taken then.
FRESH = 0.1
UNIT_MEMORY = 0.05

Losses = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Layers:
    """A forecast and what it is made of: W by layer, weights that sum to 1, and the blend."""

    values: Mapping[str, float]
    weights: Mapping[str, float]
    point: float


@dataclass(slots=True)
class Trial:
    """What followed the last alarm: windows since, the model's and the last value's loss, the losses of before."""

    n: int = 0
    model: float = 0.0
    last: float = 0.0
    before: Losses | None = None


class Blend:
    """The blend of one series and horizon: losses of its layers, its speed layer and its drift detector."""

    def __init__(self) -> None:
        """Start without knowledge: the batch model is trusted as far as its training says."""
        self.speed, self.drift, self.range = Speed(), Drift(), Range()
        # Per layer: discounted loss of it and of the last value over the same windows, in the series' scale.
        self.losses: Losses = {}
        # Recent mean loss of the last value: the size of the prior.
        self.unit = 0.0
        self.trial: Trial | None = None

    def predict(self, x: Floats, last: float, batch: float | None, seasonal: float | None = None) -> Layers:
        """The forecast from `x` (`speed_row`), the last value and what the other layers say (W)."""
        last = bounded(last)
        values = {"last": last, "speed": self.speed.predict(x, last)}
        if batch is not None:
            values["batch"] = max(0.0, bounded(batch))
        if seasonal is not None:
            values["seasonal"] = max(0.0, bounded(seasonal))
        raw = {name: self._worth(name) for name in values}
        total = sum(raw.values())
        weights = {name: share / total for name, share in raw.items()}
        return Layers(values, weights, sum(weights[name] * value for name, value in values.items()))

    def _worth(self, name: str) -> float:
        """Weight of a layer beside a last value of weight 1."""
        if name == "last":
            return 1.0
        ratio = HANDICAP * self._ratio(name)
        return float(ratio ** -(POWER if ratio < 1.0 else POWER_OF_WORSE))

    def _ratio(self, name: str) -> float:
        """Discounted loss of a layer relative to the last value's, prior included."""
        own, naive = self.losses.get(name, (0.0, 0.0))
        windows, priors = PRIOR_WINDOWS, PRIOR
        if self.trial is not None:
            windows, priors = PRIOR_WINDOWS_AFTER_ALARM, PRIOR_AFTER_ALARM
        held = windows * self.unit or 1e-9
        return max(1e-2, (own + held * priors[name]) / (naive + held))

    def learn(self, layers: Layers, x: Floats, last: float, actual: float) -> bool:
        """Take in the actual (W) of the forecast `layers` made from `x` and `last`; True at a drift alarm."""
        actual, scale = bounded(actual), float(x[0])
        errors = {name: min(LIMIT, abs(value - actual) / scale) for name, value in layers.values.items()}
        model = errors.get("batch", errors["speed"])
        share = UNIT_MEMORY if self.unit else 1.0
        self.unit += (errors["last"] - self.unit) * share
        alarm = float(x[-1]) < FRESH and self.drift.update(model, errors["last"])
        moved = self.range.update(actual)
        if alarm:
            self.restart()
        elif moved:
            self._doubt()
        elif self.trial is not None:
            self._judge(self.trial, model, errors["last"])
        memory = MEMORY
        if self.trial is not None:
            memory = min(MEMORY, 1 - HASTE / (self.trial.n + 2 * HASTE))
        for name, error in errors.items():
            own, naive = self.losses.get(name, (0.0, 0.0))
            self.losses[name] = (memory * own + error, memory * naive + errors["last"])
        self.speed.learn(x, last, actual)
        return alarm or moved

    def restart(self) -> None:
        """Trust nothing but the last value until others have shown their worth anew: what an alarm does.

        Public, since an alarm at the shortest horizon is known before the longer ones can see it.
        """
        self._doubt()
        self.speed.soften()
        self.drift.reset()

    def _doubt(self) -> None:
        """Trust nothing but the last value until others have shown their worth anew; nobody forgets anything."""
        before = self.losses if self.trial is None else self.trial.before
        self.trial = Trial(before=before)
        self.losses = {}

    def heir(self) -> Blend:
        """What the next series of the same kind starts with: the speed layer, the losses of what lost, and no alarm.

        A layer that lost to the last value has to prove itself anew; one that won earns no credit for the next one.
        """
        blend = Blend()
        blend.speed = Speed.from_doc(self.speed.to_doc())
        blend.losses = {name: pair for name, pair in self.losses.items() if pair[0] > pair[1]}
        blend.unit = self.unit
        return blend

    def _judge(self, trial: Trial, model: float, last: float) -> None:
        """Whether the alarm was false: the model does not lose to the last value in the windows that follow."""
        trial.n += 1
        if trial.before is None:
            return
        trial.model, trial.last = trial.model + model, trial.last + last
        if trial.n == PROBATION:
            if trial.model <= PROVEN * trial.last:
                self.losses, self.trial = dict(trial.before), None
            else:
                trial.before = None

    def to_doc(self) -> dict[str, Any]:
        """As stored."""
        doc: dict[str, Any] = {
            "speed": self.speed.to_doc(),
            "drift": self.drift.to_doc(),
            "range": self.range.to_doc(),
            "losses": _losses_doc(self.losses),
            "unit": self.unit,
        }
        if self.trial is not None:
            trial = self.trial
            doc["trial"] = {"n": trial.n, "model": trial.model, "last": trial.last}
            if trial.before is not None:
                doc["trial"]["before"] = _losses_doc(trial.before)
        return doc

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Blend:
        """Read back what `to_doc` wrote."""
        blend = cls()
        blend.speed, blend.drift = Speed.from_doc(doc["speed"]), Drift.from_doc(doc["drift"])
        if "range" in doc:
            blend.range = Range.from_doc(doc["range"])
        blend.losses, blend.unit = _losses(doc["losses"]), float(doc["unit"])
        if (trial := doc.get("trial")) is not None:
            before = trial.get("before")
            blend.trial = Trial(
                int(trial["n"]),
                float(trial["model"]),
                float(trial["last"]),
                None if before is None else _losses(before),
            )
        return blend


def _losses_doc(losses: Losses) -> dict[str, list[float]]:
    return {name: list(pair) for name, pair in losses.items()}


def _losses(doc: Mapping[str, Any]) -> Losses:
    return {name: (float(own), float(naive)) for name, (own, naive) in doc.items()}
