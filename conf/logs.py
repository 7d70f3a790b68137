"""What every process says of itself on standard error: lines of text, or a JSON object a line.

A main calls `begin` first and `configure` once it has its settings. `fields` names the run, query or batch that
whatever is logged inside of it is about. Secrets of the settings and passwords in addresses are masked.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from conf.operations import Logs
from conf.settings import SECTIONS, Settings, env_name

FIELDS = ("run", "query", "batch")
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What log4j reads in a JVM that is started from here (the broker's gets another file on its command line).
JVM_VARIABLE = "LOG4J_CONFIGURATION_FILE"
JVM_FILE = Path(__file__).with_name("log4j2-json.properties")
MASK = "***"
# Shorter ones would hide ordinary words.
SHORTEST_SECRET = 4

_ABOUT: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))
_USERINFO = re.compile(r"(?<=://)([^\s:@/]*):[^\s@/]*@")


@contextmanager
def fields(**about: object) -> Iterator[None]:
    """What is logged inside is about this `run`, `query` or `batch`, in this thread."""
    token = _ABOUT.set({**_ABOUT.get(), **about})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def inherit(work: Callable[[], None]) -> Callable[[], None]:
    """The work for another thread, which is then about the same run, query and batch as this one."""
    return partial(copy_context().run, work)


def begin(least: str = "DEBUG") -> None:
    """Log as the environment says, until the settings are known. Values that are none are left to `load_settings`."""
    given = {key: os.environ.get(env_name(f"logs.{key}")) for key in ("format", "level")}
    known = {
        key: value for key, value in given.items() if value in get_args(Logs.model_fields[key].annotation)
    }
    _start(Logs.model_validate(known), least, ())


def configure(settings: Settings, least: str = "DEBUG") -> None:
    """Log as the settings say, and nothing below the level `least`."""
    _start(settings.logs, least, secrets_of(settings))


def _start(wanted: Logs, least: str, secrets: tuple[str, ...]) -> None:
    root, handler = logging.getLogger(), Stderr()
    handler.setFormatter(JsonLines(secrets) if wanted.format == "json" else TextLines(secrets))
    level = max(logging.getLevelName(wanted.level), logging.getLevelName(least))
    for earlier in [one for one in root.handlers if isinstance(one, Stderr)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("py4j", "kafka", "pymongo", "urllib3"):
        library = logging.getLogger(noisy)
        library.setLevel(max(library.level, level, logging.WARNING))
    if wanted.format == "json":
        logging.captureWarnings(capture=True)
        os.environ.setdefault(JVM_VARIABLE, str(JVM_FILE))
        sys.excepthook = _say_uncaught
        threading.excepthook = _say_uncaught_in_thread


def tell(who: str, text: str, level: int = logging.INFO) -> None:
    """Say to whoever started this process how it goes: `who: text`, or an object; whatever the level is."""
    found = [one for one in logging.getLogger().handlers if isinstance(one.formatter, JsonLines)]
    for handler in found:
        handler.handle(logging.LogRecord(who, level, "", 0, text, None, None))
    if not found:
        sys.stderr.write(f"{who}: {masked(text)}\n")
        sys.stderr.flush()


def fail(who: str, error: Exception) -> None:
    """Say why a process ends."""
    tell(who, str(error), logging.ERROR)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret of the settings, and the password inside the store's address."""
    found: set[str] = set()
    for name in SECTIONS:
        for value in dict(getattr(settings, name)).values():
            if isinstance(value, SecretStr):
                found.add(value.get_secret_value())
    address = settings.mongodb.uri.get_secret_value()
    found.discard(address)  # without its password it is what a person needs to read
    password = _password_in(address)
    found |= {password, unquote(password)}
    return tuple(sorted((text for text in found if len(text) >= SHORTEST_SECRET), key=len, reverse=True))


def _password_in(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""


class Stderr(logging.Handler):
    """Writes to what standard error is now."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line; where nobody reads any more, there is nobody to tell."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)


class TextLines(logging.Formatter):
    """A line for people."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        super().__init__(TEXT)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The line, with secrets masked."""
        return masked(super().format(record), self._secrets)


class JsonLines(logging.Formatter):
    """An object a line: `time` (RFC 3339), `level`, `logger`, `message`; `run`, `query`, `batch`, `error` if any."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The object, with secrets masked in every text."""
        at = datetime.fromtimestamp(record.created, timezone.utc)
        said: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        about = _ABOUT.get()
        for name in FIELDS:
            value = getattr(record, name, about.get(name))
            if value is not None:
                said[name] = value if isinstance(value, int) else str(value)
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        texts = {
            key: masked(value, self._secrets) if isinstance(value, str) else value
            for key, value in said.items()
        }
        return json.dumps(texts)


def masked(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without these secrets and without passwords in addresses."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _USERINFO.sub(rf"\1:{MASK}@", text)


def _say_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _say_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _say_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
