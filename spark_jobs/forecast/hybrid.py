"""The hybrid forecast: batch model, speed layer, last value and season, weighted by what they were worth lately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spark_jobs.forecast.drift import Drift
from spark_jobs.forecast.series import Floats
from spark_jobs.forecast.speed import Speed, bounded

LAYERS = ("last", "batch", "speed", "seasonal")
# How much a window counts against the next one in the losses.
MEMORY = 0.98
# Weights go with the inverse of the loss, relative to that of the last value, to this power.
POWER = 8.0
# Each layer starts with so many windows of this loss relative to the last value's.
PRIOR_WINDOWS = 5.0
PRIOR = {"last": 1.0, "batch": 0.8, "speed": 1.1, "seasonal": 1.3}
# After an alarm nothing is better than the last value until it has shown so.
PRIOR_AFTER_ALARM = {"last": 1.0, "batch": 2.0, "speed": 1.5, "seasonal": 2.0}


@dataclass(frozen=True, slots=True)
class Layers:
    """A forecast and what it is made of: W by layer, weights that sum to 1, and the blend."""

    values: Mapping[str, float]
    weights: Mapping[str, float]
    point: float


class Blend:
    """The blend of one series and horizon: losses of its layers, its speed layer and its drift detector."""

    def __init__(self) -> None:
        """Start without knowledge: the batch model is trusted as far as its training says."""
        self.speed, self.drift = Speed(), Drift()
        # Per layer: discounted loss of it and of the last value over the same windows, in the windows' scale.
        self.losses: dict[str, tuple[float, float]] = {}
        self.prior = PRIOR
        self.unit = 0.0

    def predict(self, x: Floats, last: float, batch: float | None, seasonal: float | None = None) -> Layers:
        """The forecast from `x` (`speed_row`), the last value and what the other layers say (W)."""
        last = bounded(last)
        values = {"last": last, "speed": self.speed.predict(x, last)}
        if batch is not None:
            values["batch"] = max(0.0, bounded(batch))
        if seasonal is not None:
            values["seasonal"] = max(0.0, bounded(seasonal))
        raw = {name: self._ratio(name) ** -POWER for name in values}
        total = sum(raw.values())
        weights = {name: weight / total for name, weight in raw.items()}
        return Layers(values, weights, sum(weights[name] * value for name, value in values.items()))

    def _ratio(self, name: str) -> float:
        """Discounted loss relative to the last value's, prior included."""
        own, naive = self.losses.get(name, (0.0, 0.0))
        held = PRIOR_WINDOWS * self.unit or 1.0
        return max(1e-3, (own + held * self.prior[name]) / (naive + held))

    def learn(self, layers: Layers, x: Floats, last: float, actual: float) -> bool:
        """Take in the actual (W) of the forecast `layers` made from `x` and `last`; True at a drift alarm."""
        actual, scale = bounded(actual), float(x[0])
        errors = {name: abs(value - actual) / scale for name, value in layers.values.items()}
        self.unit += (errors["last"] - self.unit) * 0.05 if self.unit else errors["last"]
        alarm = self.drift.update(errors.get("batch", abs(layers.point - actual) / scale))
        if alarm:
            self.speed.reset()
            self.losses, self.prior = {}, PRIOR_AFTER_ALARM
            return True
        for name, error in errors.items():
            own, naive = self.losses.get(name, (0.0, 0.0))
            self.losses[name] = (MEMORY * own + error, MEMORY * naive + errors["last"])
        self.speed.learn(x, last, actual)
        return False

    def to_doc(self) -> dict[str, Any]:
        """As stored."""
        return {
            "speed": self.speed.to_doc(),
            "drift": self.drift.to_doc(),
            "losses": {name: list(pair) for name, pair in self.losses.items()},
            "alarmed": self.prior is PRIOR_AFTER_ALARM,
            "unit": self.unit,
        }

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Blend:
        """Read back what `to_doc` wrote."""
        blend = cls()
        blend.speed, blend.drift = Speed.from_doc(doc["speed"]), Drift.from_doc(doc["drift"])
        blend.losses = {name: (float(own), float(naive)) for name, (own, naive) in doc["losses"].items()}
        blend.prior = PRIOR_AFTER_ALARM if doc["alarmed"] else PRIOR
        blend.unit = float(doc["unit"])
        return blend
