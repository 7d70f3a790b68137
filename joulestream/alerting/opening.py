"""The document store for a verb: opened, its errors in words, closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from joulestream.context import Context
from spark_jobs.store import Address, Db, connect, server_errors


@contextmanager
def open_db(ctx: Context) -> Iterator[Db]:
    """The database of a context. Raises RetryableError while it is away, PipelineError where it refuses."""
    db = connect(Address.of(ctx.settings))
    try:
        with server_errors("the document store", ctx.settings.mongodb):
            yield db
    finally:
        db.client.close()
