"""A copy of what serves in an MLflow registry, for those who look there: scores, manifest and files of each version.

The registry of `forecast.registry` decides; nothing is ever read back from MLflow, and nothing waits for it long.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.times import rfc3339
from spark_jobs.forecast.models.registry import MANIFEST, Registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from spark_jobs.forecast.models.manifest import Manifest

log = logging.getLogger(__name__)

# The experiment and the registered model, the alias of the version that serves, and the tag that names ours.
NAME = "joulestream-forecast"
SERVING = "serving"
VERSION = "joulestream.version"
LONGEST_S = 60.0
# A server that hangs is left soon; nobody is told how MLflow is used.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def tell_mlflow(
    uri: str | None, registry: Registry, version: str | None, cache: Path, longest_s: float = LONGEST_S
) -> str | None:
    """Log a version that has just begun to serve, or that none does; nothing where `uri` is not set.

    Raises nothing: what goes wrong is one warning, and returned. `longest_s` is the server's; loading the library,
    which can take a minute on a busy machine, is not counted.
    """
    if uri is None:
        return None
    problems = [f"MLflow did not take it within {longest_s:g} s"]
    loaded = threading.Event()

    def work() -> None:
        try:
            try:
                client = _client(uri)
            finally:
                loaded.set()
            _tell(client, registry, version, cache)
            problems.clear()
        except ImportError:
            problems[:] = ["mlflow is not installed; run: pip install '.[mlflow]'"]
        except Exception as error:  # noqa: BLE001 - a copy for others: no kind of failure may cost the model
            problems[:] = [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]

    worker = threading.Thread(target=work, name="mlflow", daemon=True)
    worker.start()
    loaded.wait()
    worker.join(longest_s)
    if not problems:
        return None
    problem = f"forecast.mlflow_uri does not know that {version or 'no model'} serves ({problems[0]})"
    log.warning("%s; the model serves all the same", problem)
    return problem


def _client(uri: str) -> MlflowClient:
    # A registry of files looks for its runs where this says, else in a database that it makes in the working folder.
    for name, value in {**ENVIRONMENT, "MLFLOW_TRACKING_URI": uri}.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def _tell(client: MlflowClient, registry: Registry, version: str | None, cache: Path) -> None:
    known = {found.name for found in client.search_registered_models(f"name = '{NAME}'")}
    if version is None:
        if NAME in known:
            client.delete_registered_model_alias(NAME, SERVING)
        return
    if NAME not in known:
        client.create_registered_model(NAME, description="Joulestream's forecasts of power: a copy.")
    number = _number_of(client, version) or _logged(client, registry, version, cache)
    client.set_registered_model_alias(NAME, SERVING, number)


def _number_of(client: MlflowClient, version: str) -> str | None:
    """Under which number MLflow has a version already."""
    found = client.search_model_versions(f"name = '{NAME}'")
    numbers = [str(one.version) for one in found if one.tags.get(VERSION) == version]
    return max(numbers, key=int, default=None)


def _logged(client: MlflowClient, registry: Registry, version: str, cache: Path) -> str:
    """Put a version into MLflow as a run with all that is known of it; its number there."""
    manifest = registry.manifest(version)
    folder = registry.fetch(version, cache)
    experiment = client.get_experiment_by_name(NAME)
    identity = client.create_experiment(NAME) if experiment is None else experiment.experiment_id
    tags = {VERSION: version, "verdict": manifest.verdict, "reason": manifest.reason}
    run_id = client.create_run(identity, tags=tags, run_name=version).info.run_id
    for name, value in _parameters(manifest).items():
        client.log_param(run_id, name, value)
    for horizon_s, scores in manifest.scores.items():
        for name, value in scores.items():
            if isinstance(value, (int, float)):
                client.log_metric(run_id, f"{name}.{horizon_s}s", float(value))
    client.log_artifacts(run_id, str(folder), "model")
    client.log_text(run_id, manifest.to_json().decode(), f"model/{MANIFEST}")
    client.set_terminated(run_id)
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    made = client.create_model_version(NAME, source, run_id, tags={VERSION: version})
    return str(made.version)


def _parameters(manifest: Manifest) -> dict[str, Any]:
    """What it was made of; MLflow keeps text."""
    return {
        "created_at": rfc3339(manifest.created_at),
        "n_features": len(manifest.features),
        "n_rows": manifest.n_rows,
        "window_s": manifest.window_s,
        "horizons_s": ",".join(map(str, manifest.horizons_s)),
        "served_horizons_s": ",".join(map(str, manifest.served_horizons_s)),
        **{f"library.{name}": version for name, version in manifest.libraries.items()},
    }
