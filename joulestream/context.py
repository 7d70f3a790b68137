"""Where a verb works: the settings, with the addresses of the stack that runs from the data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from conf.settings import Settings, env_name, load_settings
from joulestream.local.state import StackState, read_state
from joulestream.local.store import without_user
from schemas.errors import PipelineError


@dataclass(frozen=True)
class Context:
    """Settings to work with, and the running stack if there is one."""

    settings: Settings
    state: StackState | None

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir


def context(data_dir: Path | None = None, flags: Mapping[str, Any] | None = None) -> Context:
    """Resolve the settings of a verb: flags, then the environment, then the running stack, then the file.

    `flags` are keyed `section.key`. Raises ConfigError.
    """
    given = {"data_dir": data_dir.expanduser().resolve() if data_dir else None, **(flags or {})}
    settings = load_settings(given)
    state = read_state(settings.data_dir)
    if state is None or not state.alive:
        return Context(settings, None)
    found = {"kafka.bootstrap": state.kafka_bootstrap, "dashboard.url": state.dashboard_url}
    if without_user(settings.mongodb.uri.get_secret_value()) != state.mongodb_uri:
        found["mongodb.uri"] = (
            state.mongodb_uri
        )  # else ours is the same server, with the user that state leaves out
    for key, value in found.items():
        if given.get(key) is None and env_name(key) not in os.environ:
            given[key] = value
    return Context(load_settings(given), state)


def data_folder(data_dir: Path | None) -> Path:
    """The absolute data folder of flag, environment or default, made if it is not there.

    Raises PipelineError where it cannot be made or nothing can be written there.
    """
    folder = Path(os.path.abspath((data_dir or load_settings().data_dir).expanduser()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PipelineError(
            f"the data folder {folder} cannot be used ({error.strerror}); name another one with --data-dir"
        ) from None
    return folder
