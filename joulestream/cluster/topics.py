"""Make topics, collections, indexes and validators: `python -m joulestream.cluster.topics`; idempotent.

Waits for servers that are still starting, up to `--patience` seconds each.

Exit code: 0 everything is there, 1 a server is away or does not let us in; the first line says which and why.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from conf import logs
from conf.settings import Settings, load_settings
from conf.trouble import Refused
from joulestream.local.topics import ensure_topics
from schemas.errors import PipelineError, RetryableError
from spark_jobs.store import Address, connect, ensure_collections, server_errors

T = TypeVar("T")
Say = Callable[[str], None]

PATIENCE_S = 180.0
PAUSE_S = 2.0


def patiently(
    what: str,
    work: Callable[[], T],
    patience_s: float,
    say: Say,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """The result of `work`, tried again while a server is away. Raises its last error after `patience_s`.

    A server that answers and refuses is not away: its error is raised at once.
    """
    deadline = now() + patience_s
    said = False
    while True:
        try:
            return work()
        except Refused:
            raise
        except RetryableError as error:
            if now() >= deadline:
                raise RetryableError(f"{error} (waited {patience_s:.0f} s)") from error
            if not said:
                say(f"waiting for {what} (up to {patience_s:.0f} s): {error}")
                said = True
        sleep(PAUSE_S)


def make_topics(settings: Settings) -> str:
    """Have the topics; says what was done."""
    made = ensure_topics(settings.kafka)
    return f"topics made: {', '.join(made)}" if made else "topics: all are there"


def make_collections(settings: Settings) -> str:
    """Have the collections; says what was done."""
    db = connect(Address.of(settings))
    with db.client, server_errors("the document store", settings.mongodb):
        before = set(db.list_collection_names())
        ensure_collections(db, settings)
        made = sorted(set(db.list_collection_names()) - before)
    return f"collections made: {', '.join(made)}" if made else "collections and indexes: all are there"


def main(argv: Sequence[str] | None = None) -> int:
    """Load settings, wire, run, exit code."""
    logs.begin("ERROR")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it is in our own messages
    parser = argparse.ArgumentParser(prog="joulestream.cluster.topics", description=__doc__)
    parser.add_argument("--patience", type=float, default=PATIENCE_S, metavar="SECONDS")
    wanted = parser.parse_args(argv)
    try:
        settings = load_settings()
        logs.configure(settings, "ERROR")
        _say(patiently("Kafka", lambda: make_topics(settings), wanted.patience, _say))
        _say(patiently("the document store", lambda: make_collections(settings), wanted.patience, _say))
    except PipelineError as error:
        logs.fail("topics", error)
        return 1
    return 0


def _say(text: str) -> None:
    logs.tell("topics", text)


if __name__ == "__main__":
    sys.exit(main())
