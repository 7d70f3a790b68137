"""Finds the stack that `joule up` runs on this machine, so that a training script needs no addresses.

The supervisor writes `<data_dir>/state.json`; what the environment says stands above it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil

from conf.settings import Settings, env_name, load_settings

STATE_FILE = "state.json"
_FOUND = {"kafka.bootstrap": "kafka_bootstrap", "dashboard.url": "dashboard_url"}
_SAME_START_S = 2.0


def producer_settings() -> Settings:
    """The settings of this process, with the addresses of the running stack where none are given.

    Raises ConfigError.
    """
    settings = load_settings()
    state = _running(settings.data_dir / STATE_FILE)
    wanted = {path: key for path, key in _FOUND.items() if env_name(path) not in os.environ}
    found = {path: state[key] for path, key in wanted.items() if state.get(key)}
    return load_settings({"data_dir": settings.data_dir, **found}) if found else settings


def _running(file: Path) -> dict[str, Any]:
    """The state that a living supervisor wrote; empty where none runs."""
    try:
        state: dict[str, Any] = json.loads(file.read_text("utf-8"))
        started_s = psutil.Process(state["supervisor_pid"]).create_time()
        alive = abs(started_s - state["supervisor_create_time"]) < _SAME_START_S
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return {}
    return state if alive else {}
