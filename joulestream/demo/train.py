"""A real training job, measured: how a training script uses the tracker.

All that is added to an ordinary scikit-learn loop are the two marked lines.
"""

from __future__ import annotations

import math

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score

from joulestream import Tracker
from joulestream.demo.jobs import Data, Job

MAX_LOSS_GROWTH = 100.0


class TrainingDivergedError(Exception):
    """The loss grew far above where it began: the learning rate is too high."""


def train(job: Job) -> Tracker:
    """Train one job to its end; returns its tracker, which knows the energy.

    Raises TrainingDivergedError; the tracker has then sent `failed`.
    """
    data, model = job.load(), job.build()
    with Tracker(  # 1: everything in this block is measured
        user_id=job.user,
        project="demo",
        model_name=job.name,
        dataset_name=job.dataset,
        framework="scikit-learn",
        environment="demo",
        region_iso=job.region,
        hyperparameters=job.hyperparameters,
        total_epochs=job.epochs,
    ) as run:
        order = np.random.default_rng(job.seed)
        best_loss = math.inf
        for epoch in range(1, job.epochs + 1):
            if job.learning_rate_growth != 1.0:
                model.set_params(eta0=model.eta0 * job.learning_rate_growth)
            rows = order.permutation(len(data.x))
            model.partial_fit(data.x[rows], data.y[rows], **job.classes(data))
            if epoch % job.log_every == 0:
                loss, accuracy = evaluate(model, data, job)
                run.log(epoch=epoch, loss=loss, accuracy=accuracy)  # 2: the progress of the run
                best_loss = min(best_loss, loss)
                stop_if_diverged(epoch, loss, MAX_LOSS_GROWTH * best_loss)
    return run


def stop_if_diverged(epoch: int, loss: float, limit: float) -> None:
    """Raise TrainingDivergedError where the loss is above the limit, or no number at all."""
    if not loss <= limit:
        raise TrainingDivergedError(
            f"the loss is {loss:.3g} after epoch {epoch}; expected at most {limit:.3g}, "
            f"{MAX_LOSS_GROWTH:g} times the best: lower the learning rate"
        )


def evaluate(model: object, data: Data, job: Job) -> tuple[float, float]:
    """Loss and accuracy on data that the model has not seen (of a regression: error and R²)."""
    if job.is_regression:
        guessed = model.predict(data.x_test)  # type: ignore[attr-defined]  # scikit-learn has no types
        return float(mean_squared_error(data.y_test, guessed)), float(r2_score(data.y_test, guessed))
    chances = model.predict_proba(data.x_test)  # type: ignore[attr-defined]  # as above
    labels = np.unique(data.y)
    guessed = labels[np.argmax(chances, axis=1)]
    return float(log_loss(data.y_test, chances, labels=labels)), float(accuracy_score(data.y_test, guessed))
