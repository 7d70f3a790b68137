"""One settings object for every process: defaults < TOML file < environment (`JOULE_…`) < flags.

A setting `key` of section `section` is `[section] key = …` in the file, `JOULE_SECTION_KEY` in the
environment (upper case) and `section.key` among the flags. Secrets are hidden in `repr`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.errors import PipelineError

APP = "joulestream"
CONFIG_FILE = "joulestream.toml"

Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[float, Field(gt=0)]


class ConfigError(PipelineError):
    """One or more settings are wrong; the message lists them all."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(Section):
    """Where the events flow."""

    bootstrap: str = Field("127.0.0.1:9092", pattern=r"^\S+:\d+(,\S+:\d+)*$")
    partitions: int = Field(3, ge=1, le=1000)
    replication_factor: int = Field(1, ge=1)
    retention_days: Days = 7.0


class MongoDB(Section):
    """Where the documents live. MongoDB >= 6, or a server that speaks its wire protocol."""

    uri: SecretStr = SecretStr("mongodb://127.0.0.1:27017")
    database: str = Field("energy_emissions", pattern=r"^[A-Za-z0-9_-]{1,38}$")
    timeout_s: float = Field(5.0, gt=0)


class Stream(Section):
    """The streaming job."""

    window_s: int = Field(60, ge=1, le=86_400)
    watermark_s: int = Field(600, ge=0, le=30 * 86_400)
    trigger_s: float = Field(0.0, ge=0)
    max_offsets_per_trigger: int = Field(20_000, ge=1)
    checkpoint_dir: str | None = None
    shuffle_partitions: int = Field(2, ge=1)
    jars_dir: Path | None = None
    master: str = "local[*]"
    driver_memory: str = Field("1g", pattern=r"^\d+[kmgKMG]$")
    lease_s: float = Field(20.0, ge=5)
    ledger_retention_days: Days | None = None
    windows_retention_days: Days | None = None
    rejected_retention_days: Days | None = 90.0
    progress_retention_days: Days | None = 7.0


class Node(Section):
    """The node agent of this machine."""

    node_id: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9._:@/+-]{1,200}$")
    interval_s: float = Field(1.0, ge=0.1, le=3600)
    region_iso: str | None = None


class Tracker(Section):
    """The training-loop tracker."""

    interval_s: float = Field(5.0, ge=0.1, le=3600)
    sample_s: float = Field(1.0, ge=0.05, le=60)
    spool_dir: Path | None = None
    spool_max_mib: float = Field(64.0, gt=0)
    registry_dir: Path | None = None
    meters: str = "auto"
    region_iso: str | None = None


class Dashboard(Section):
    """The Streamlit dashboard."""

    port: Port = 8501
    url: str | None = None
    refresh_s: float = Field(2.0, ge=0.5)
    stale_after_s: float = Field(120.0, gt=0)


class Local(Section):
    """The stack that `joule up` starts on one machine."""

    port_base: Port | None = None
    reconcile_every_s: float = Field(3600.0, ge=60)


_FILE: ContextVar[Path | None] = ContextVar("config_file", default=None)


class Settings(BaseSettings):
    """All settings of one process. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="JOULE_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir(APP)))
    kafka: Kafka = Kafka()
    mongodb: MongoDB = MongoDB()
    stream: Stream = Stream()
    node: Node = Node()
    tracker: Tracker = Tracker()
    dashboard: Dashboard = Dashboard()
    local: Local = Local()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, that over the file; nothing else is read."""
        file = _FILE.get()
        toml = () if file is None else (TomlConfigSettingsSource(settings_cls, file),)
        return (init_settings, env_settings, *toml)

    @property
    def checkpoint_root(self) -> str:
        """Folder or URI under which each query keeps its checkpoints."""
        return self.stream.checkpoint_dir or str(self.data_dir / "checkpoints")

    @property
    def spark_jars_dir(self) -> Path:
        """Folder of the pinned jars that Spark needs to read Kafka."""
        return self.stream.jars_dir or Path(platformdirs.user_cache_dir(APP)) / "jars" / "spark"

    @property
    def spool_dir(self) -> Path:
        """Folder of the events that still wait for the broker."""
        return self.tracker.spool_dir or self.data_dir / "spool"

    @property
    def registry_dir(self) -> Path:
        """Folder in which the trackers of this machine make themselves known."""
        return self.tracker.registry_dir or self.data_dir / "registry"

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a child process (secrets included)."""
        variables = {"JOULE_DATA_DIR": str(self.data_dir)}
        for section in SECTIONS:
            values: Section = getattr(self, section)
            for key in type(values).model_fields:
                value = getattr(values, key)
                if value is not None:
                    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                    variables[env_name(f"{section}.{key}")] = text
        return variables


SECTIONS: tuple[str, ...] = tuple(name for name in Settings.model_fields if name != "data_dir")


def env_name(path: str) -> str:
    """The environment variable of a setting: `kafka.bootstrap` -> `JOULE_KAFKA_BOOTSTRAP`."""
    return "JOULE_" + path.replace(".", "_").upper()


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Read all settings once.

    `flags` are keyed `section.key` (or `data_dir`); those that are None count as not given.
    The file is the one that `JOULE_CONFIG` names, else `joulestream.toml` in the data folder, if there.
    Raises ConfigError that names every wrong setting.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    nested: dict[str, Any] = {}
    for path, value in given.items():
        section, _, key = path.partition(".")
        if key:
            nested.setdefault(section, {})[key] = value
        else:
            nested[section] = value
    token = _FILE.set(_config_file(nested.get("data_dir")))
    try:
        return Settings(**nested)
    except ValidationError as error:
        raise ConfigError(_all_problems(error)) from None
    except ValueError as error:
        raise ConfigError(f"the settings file {_FILE.get()} cannot be read: {error}") from None
    finally:
        _FILE.reset(token)


def _config_file(data_dir: Any) -> Path | None:
    named = os.environ.get("JOULE_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"JOULE_CONFIG names {named}, which is not a file; correct it or unset it")
        return Path(named)
    default = platformdirs.user_data_dir(APP)
    folder = Path(data_dir or os.environ.get("JOULE_DATA_DIR") or default)
    file = folder / CONFIG_FILE
    return file if file.is_file() else None


def _all_problems(error: ValidationError) -> str:
    problems = []
    for detail in error.errors(include_input=True, include_url=False):
        path = ".".join(str(part) for part in detail["loc"])
        secret = path == "mongodb.uri"
        found = "" if secret else f" (found {detail['input']!r})"
        problems.append(f"{path} / {env_name(path)}: {detail['msg']}{found}")
    lines = "".join(f"\n  - {problem}" for problem in problems)
    where = "correct them in the file, the environment or the flags"
    return f"{len(problems)} setting(s) are wrong; {where}:{lines}"
