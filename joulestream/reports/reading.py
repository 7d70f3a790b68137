"""What the data verbs share: the store of the running stack, times that people type, names made harmless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import typer
from pymongo import MongoClient

from conf.links import dashboard_url
from dashboard.store import Reader, Store, connect
from joulestream.context import Context
from schemas.errors import ContractError
from schemas.times import parse_time

_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(timezone.utc)


@contextmanager
def open_store(context: Context) -> Iterator[Store]:
    """Typed reads of the stack's documents. Raises PipelineError on an address that cannot be used."""
    settings = context.settings
    with _client(context) as client:
        yield Store(
            client,
            settings.mongodb.database,
            stale_after_s=settings.dashboard.stale_after_s,
            window_s=settings.stream.window_s,
            mongodb=settings.mongodb,
        )


@contextmanager
def open_reader(context: Context) -> Iterator[Reader]:
    """Plain reads of the stack's documents. Raises PipelineError on an address that cannot be used."""
    with _client(context) as client:
        yield Reader(client, context.settings.mongodb.database, mongodb=context.settings.mongodb)


def _client(context: Context) -> MongoClient[dict[str, Any]]:
    return connect(context.settings.mongodb)


def base_url(context: Context) -> str:
    """Address of the dashboard."""
    return dashboard_url(context.settings)


def when(text: str, now: datetime, option: str) -> datetime:
    """A time as people type it: RFC 3339, a date (its midnight in UTC), `now`, or so long ago (`90m`, `7d`).

    Raises BadParameter, which names the option.
    """
    stripped = text.strip()
    if stripped == "now":
        return now
    if stripped[:-1].isdecimal() and stripped[-1] in _SPANS:
        try:
            return now - timedelta(seconds=int(stripped[:-1]) * _SPANS[stripped[-1]])
        except OverflowError:
            raise typer.BadParameter(f"{text!r} is before all times; give less", param_hint=option) from None
    date_only = len(stripped) == 10 and stripped.count("-") == 2
    try:
        return parse_time(f"{stripped}T00:00:00Z" if date_only else stripped)
    except ContractError:
        raise typer.BadParameter(
            f"{text!r} is not a time; give RFC 3339 such as 2026-01-31T12:00:00Z, a date such as 2026-01-31, "
            "or how long ago, such as 90m, 24h or 7d",
            param_hint=option,
        ) from None
