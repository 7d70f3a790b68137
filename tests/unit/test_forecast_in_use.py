"""The model in use follows the registry's pointer: a damaged one is told and done without until it is mended."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from spark_jobs.forecast.models.in_use import Models
from spark_jobs.forecast.models.registry import Registry
from tests.unit.test_forecast_registry import AT, model_folder
from tests.unit.test_forecast_verbs import fitting


def test_a_damaged_model_is_a_warning_said_once_and_used_when_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.add(model_folder(tmp_path / "made"), fitting("v1"))
    registry.promote("v1", AT)
    file = tmp_path / "registry" / "v1" / "forest.json"
    whole = file.read_bytes()
    file.write_bytes(b"x" * len(whole))
    loaded = Mock(version="v1", horizons_s=(60,))
    models = Models(
        lambda: registry, tmp_path / "cache", 60, lambda _folder, _made: loaded, threading.Event()
    )
    with caplog.at_level(logging.INFO, "spark_jobs"):
        models.look()
        models.look()
        assert models.current.model is None
        assert "forest.json is not the file that was stored" in str(models.current.fallback(60))
        file.write_bytes(whole)
        models.look()
    assert models.current.model is loaded
    assert [(record.levelno, "damaged" in record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, True),
        (logging.INFO, False),
    ]
