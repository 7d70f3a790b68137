"""One settings object for every process: defaults < TOML file < environment (`JOULE_…`) < flags.

A setting `key` of section `section` is `[section] key = …` in the file, `JOULE_SECTION_KEY` in the
environment (upper case) and `section.key` among the flags. Secrets are hidden in `repr`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from conf.ahead import Alerts, Forecast
from conf.operations import Access, Exporter, Logs, Prometheus
from conf.sections import (
    Dashboard,
    Folder,
    Kafka,
    Local,
    MongoDB,
    Node,
    Section,
    Stream,
    Tracker,
)
from schemas.errors import PipelineError

__all__ = ["APP", "CONFIG_FILE", "SECTIONS", "ConfigError", "Kafka", "Settings", "env_name", "load_settings"]

APP = "joulestream"
CONFIG_FILE = "joulestream.toml"


class ConfigError(PipelineError):
    """One or more settings are wrong; the message lists them all."""


_FILE: ContextVar[Path | None] = ContextVar("config_file", default=None)


class Settings(BaseSettings):
    """All settings of one process. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="JOULE_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Folder = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir(APP)),
        description="folder of all that one machine keeps; unset: the user's data folder of this system",
    )
    kafka: Kafka = Kafka()
    mongodb: MongoDB = MongoDB()
    stream: Stream = Stream()
    node: Node = Node()
    tracker: Tracker = Tracker()
    dashboard: Dashboard = Dashboard()
    forecast: Forecast = Forecast()
    alerts: Alerts = Alerts()
    access: Access = Access()
    exporter: Exporter = Exporter()
    prometheus: Prometheus = Prometheus()
    logs: Logs = Logs()
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

    @model_validator(mode="after")
    def _ledger_outlives_topic(self) -> Settings:
        """An event that can still be read from the topic again must still be known to the ledger."""
        kept, read = self.stream.ledger_retention_days, self.kafka.retention_days
        if kept is not None and kept < read:
            raise ValueError(
                f"stream.ledger_retention_days is {kept:g} and kafka.retention_days {read:g}; "
                "the ledger's must not be shorter than the topic's"
            )
        return self

    @property
    def checkpoint_root(self) -> str:
        """Folder or URI under which each query keeps its checkpoints."""
        return self.stream.checkpoint_dir or str(self.data_dir / "checkpoints")

    @property
    def spark_jars_dir(self) -> Path:
        """Folder of the pinned jars that Spark needs to read Kafka."""
        return self.stream.jars_dir or Path(platformdirs.user_cache_dir(APP)) / "jars" / "spark"

    @property
    def model_registry(self) -> str:
        """Folder or URI of the forecast models."""
        return self.forecast.registry or str(self.data_dir / "models")

    @property
    def spool_dir(self) -> Path:
        """Folder of the events that still wait for the broker."""
        return self.tracker.spool_dir or self.data_dir / "spool"

    @property
    def registry_dir(self) -> Path:
        """Folder in which the trackers of this machine make themselves known."""
        return self.tracker.registry_dir or self.data_dir / "registry"

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a child process (secrets that no file holds included)."""
        variables = {"JOULE_DATA_DIR": str(self.data_dir)}
        for section in SECTIONS:
            values: Section = getattr(self, section)
            from_files = {key for key in values.secrets() if getattr(values, f"{key}_file") is not None}
            for key in type(values).model_fields:
                value = getattr(values, key)
                if value is not None and key not in from_files:
                    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                    variables[env_name(f"{section}.{key}")] = text
        return variables


SECTIONS: tuple[str, ...] = tuple(name for name in Settings.model_fields if name != "data_dir")


def env_name(path: str) -> str:
    """The environment variable of a setting: `kafka.bootstrap` -> `JOULE_KAFKA_BOOTSTRAP`."""
    return "JOULE_" + path.replace(".", "_").upper()


def secret_variables() -> list[str]:
    """The environment variables that hold a secret, or name a file that does."""
    found = []
    for section in SECTIONS:
        kind = Settings.model_fields[section].annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found += [env_name(f"{section}.{key}{end}") for key in kind.secrets() for end in ("", "_file")]
    return found


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
    problems = _misspelled_sections(os.environ)
    token = _FILE.set(_config_file(nested.get("data_dir")))
    try:
        settings = Settings(**nested)
    except ValidationError as error:
        raise ConfigError(_report(_problems(error) + problems)) from None
    except SettingsError as error:
        text = f"{error}; set single keys, such as {env_name('kafka.bootstrap')}"
        raise ConfigError(_report([text, *problems])) from None
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"the settings file {_FILE.get()} cannot be read: {error}; correct it, or name another in JOULE_CONFIG"
        ) from None
    finally:
        _FILE.reset(token)
    if problems:
        raise ConfigError(_report(problems))
    return settings


def _config_file(data_dir: Any) -> Path | None:
    named = os.environ.get("JOULE_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"JOULE_CONFIG names {named}, which is not a file; correct it or unset it")
        return Path(named)
    default = platformdirs.user_data_dir(APP)
    folder = Path(data_dir or os.environ.get("JOULE_DATA_DIR") or default).expanduser()
    file = folder / CONFIG_FILE
    return file if file.is_file() else None


def _misspelled_sections(environment: Mapping[str, str]) -> list[str]:
    """Variables such as JOULE_MONGO_URI, which name no section but nearly one, and would do nothing."""
    problems = []
    for name in sorted(name for name in environment if name.upper().startswith("JOULE_")):
        section, _, key = name[len("JOULE_") :].lower().partition("_")
        meant = get_close_matches(section, SECTIONS, 1, cutoff=0.75)
        if key and meant and section not in SECTIONS:
            problems.append(f"{name}: there is no section {section}; did you mean {meant[0]}?")
    return problems


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for detail in error.errors(include_url=False):
        path = ".".join(str(part) for part in detail["loc"])
        if not path:  # a rule over several settings names them itself
            problems.append(detail["msg"].removeprefix("Value error, "))
        elif len(detail["loc"]) == 1 and path in SECTIONS and isinstance(detail["input"], (dict, Section)):
            problems.append(detail["msg"].removeprefix("Value error, "))  # a rule over one section
        elif detail["type"] == "extra_forbidden":  # what it holds may be a secret under a wrong name
            problems.append(f"{path} / {env_name(path)}: there is no such setting; correct or remove it")
        else:
            found = "" if _may_be_secret(path) else f" (found {detail['input']!r})"
            problems.append(f"{path} / {env_name(path)}: {detail['msg']}{found}")
    return problems


# Folders or URIs: what is wrong with one of them may be its password.
PLACES = ("stream.checkpoint_dir", "forecast.registry", "forecast.mlflow_uri")


def _may_be_secret(path: str) -> bool:
    """Whether what was found there must not be shown; an address may stand anywhere in the first two sections."""
    section, _, key = path.partition(".")
    if section in ("mongodb", "alerts") or path in PLACES:
        return True
    kind = Settings.model_fields[section].annotation if section in SECTIONS else None
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return False
    return key in kind.secrets() if key else bool(kind.secrets())


def _report(problems: list[str]) -> str:
    lines = "".join(f"\n  - {problem}" for problem in problems)
    where = "correct them in the file, the environment or the flags"
    return f"{len(problems)} setting(s) are wrong; {where}:{lines}"
