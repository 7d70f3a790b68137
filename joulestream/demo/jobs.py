"""The jobs of the demo: small, real, repeatable, on data that comes with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

Array = NDArray[Any]


@dataclass(frozen=True)
class Data:
    """What a job learns from, and what it is judged by."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


@dataclass(frozen=True)
class Job:
    """One training run: who trains what on what, and how."""

    name: str
    user: str
    dataset: str
    region: str
    epochs: int
    load: Callable[[], Data]
    build: Callable[[], Any]
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    log_every: int = 1
    seed: int = 7
    is_regression: bool = False
    learning_rate_growth: float = 1.0
    fails: bool = False

    def classes(self, data: Data) -> dict[str, Array]:
        """What `partial_fit` must know before it has seen all classes."""
        return {} if self.is_regression else {"classes": np.unique(data.y)}


def _split(x: Array, y: Array) -> Data:
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=7)
    scaler = StandardScaler().fit(x_train)
    return Data(scaler.transform(x_train), y_train, scaler.transform(x_test), y_test)


def _digits() -> Data:
    """Handwritten digits, each also moved by a pixel in four directions."""
    images, labels = load_digits(return_X_y=True)
    data = _split(images, labels)
    moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    pictures = data.x.reshape(-1, 8, 8)
    x = np.concatenate([np.roll(pictures, move, (1, 2)).reshape(-1, 64) for move in moves])
    return Data(x, np.tile(data.y, len(moves)), data.x_test, data.y_test)


def _breast_cancer() -> Data:
    return _split(*load_breast_cancer(return_X_y=True))


def _wine() -> Data:
    return _split(*load_wine(return_X_y=True))


def _diabetes() -> Data:
    return _split(*load_diabetes(return_X_y=True))


def _mlp(layers: tuple[int, ...], batch: int) -> Callable[[], Any]:
    return lambda: MLPClassifier(layers, batch_size=batch, learning_rate_init=0.001, random_state=7)


def _sgd_classifier() -> Any:
    return SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.001, random_state=7)


def _sgd_regressor() -> Any:
    return SGDRegressor(learning_rate="constant", eta0=0.0005, random_state=7)


JOBS: tuple[Job, ...] = (
    Job(
        name="mlp-digits",
        user="ada",
        dataset="digits",
        region="DEU",
        epochs=45,
        load=_digits,
        build=_mlp((256, 128), 64),
        hyperparameters={"layers": "256-128", "batch_size": 64, "learning_rate": 0.001},
    ),
    Job(
        name="mlp-digits-wide",
        user="grace",
        dataset="digits",
        region="SWE",
        epochs=18,
        load=_digits,
        build=_mlp((1024, 256), 128),
        hyperparameters={"layers": "1024-256", "batch_size": 128, "learning_rate": 0.001},
    ),
    Job(
        name="logistic-digits",
        user="ada",
        dataset="digits",
        region="DEU",
        epochs=160,
        log_every=8,
        load=_digits,
        build=_sgd_classifier,
        hyperparameters={"learning_rate": 0.001},
    ),
    Job(
        name="sgd-diabetes",
        user="alan",
        dataset="diabetes",
        region="USA",
        epochs=10_000,
        log_every=100,
        load=_diabetes,
        build=_sgd_regressor,
        hyperparameters={"learning_rate": 0.0005, "growth_per_epoch": 1.0008},
        is_regression=True,
        learning_rate_growth=1.0008,
        fails=True,
    ),
    Job(
        name="mlp-breast-cancer",
        user="emmy",
        dataset="breast-cancer-wisconsin",
        region="FRA",
        epochs=200,
        log_every=10,
        load=_breast_cancer,
        build=_mlp((128, 64), 4),
        hyperparameters={"layers": "128-64", "batch_size": 4, "learning_rate": 0.001},
    ),
    Job(
        name="mlp-wine",
        user="grace",
        dataset="wine",
        region="SWE",
        epochs=500,
        log_every=20,
        load=_wine,
        build=_mlp((64, 32), 4),
        hyperparameters={"layers": "64-32", "batch_size": 4, "learning_rate": 0.001},
    ),
)
