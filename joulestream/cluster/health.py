"""Is it well? `python -m joulestream.cluster.health CHECK`, for the health checks of containers.

CHECK is one of
  stream      both queries hold their lease, from this host, and have renewed it in time
  broker      the Kafka of the settings answers, with the user and certificates of the settings
  store       the document store of the settings answers, likewise
  dashboard   the dashboard of this host answers
  agent       the node agent of this host has noted a sample lately
  port N      something on this host takes connections on port N

Exit code: 0 well, 1 not; then one line says why. Each check imports only what its own image has.
"""

from __future__ import annotations

import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from conf.settings import Settings, load_settings
from schemas import documents
from schemas.errors import PipelineError

QUERIES = ("training", "node")
HOST = "127.0.0.1"
WAIT_S = 5.0
LEAST_AGE_S = 30.0


def stream(settings: Settings) -> str | None:
    """What is wrong with the streaming job of this host."""
    from pymongo.errors import PyMongoError

    try:
        with _client(settings) as client:
            leases = list(client[settings.mongodb.database][documents.LEASES].find())
    except PyMongoError as error:
        return _why(settings, error)
    return lease_problem(leases, socket.gethostname(), settings.stream.lease_s, datetime.now(timezone.utc))


def lease_problem(
    leases: Iterable[Mapping[str, Any]], host: str, seconds: float, now: datetime
) -> str | None:
    """What is wrong with the leases; `seconds` is how long one lasts without being renewed."""
    held = {lease["_id"]: lease for lease in leases}
    for query in QUERIES:
        lease = held.get(query)
        if lease is None:
            return f"query {query} has not started yet"
        if lease["host"] != host:
            return f"query {query} is held by {lease['host']}, and this is {host}"
        if lease["state"] != "running":
            return f"query {query} is {lease['state']}"
        if lease["renewed_at"] < now - timedelta(seconds=seconds):
            return f"query {query} last said at {lease['renewed_at']:%H:%M:%S} UTC that it lives"
    return None


def broker(settings: Settings) -> str | None:
    """What is wrong with Kafka."""
    from joulestream.local.broker import broker_away

    problem = broker_away(settings.kafka)
    return None if problem is None else f"Kafka: waiting for {problem}"


def store(settings: Settings) -> str | None:
    """What is wrong with the document store."""
    from pymongo.errors import PyMongoError

    try:
        with _client(settings) as client:
            client.admin.command("ping")
    except PyMongoError as error:
        return _why(settings, error)
    return None


def dashboard(settings: Settings) -> str | None:
    """What is wrong with the dashboard of this host."""
    url = f"http://{HOST}:{settings.dashboard.port}/_stcore/health"
    try:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except (urllib.error.URLError, OSError) as error:
        return f"{url} does not answer ({error})"


def agent(settings: Settings) -> str | None:
    """What is wrong with the node agent: each sample goes through its spool, whether or not Kafka is there."""
    return spool_problem(settings.spool_dir, settings.node.interval_s, time.time())


def spool_problem(folder: Path, interval_s: float, now_s: float) -> str | None:
    """Whether the newest change in a spool is too old; `now_s` in seconds since 1970."""
    changes = [file.stat().st_mtime for file in folder.glob("*.spool.db*")] if folder.is_dir() else []
    if not changes:
        return f"{folder} holds no sample yet"
    age_s = now_s - max(changes)
    limit_s = max(LEAST_AGE_S, 3 * interval_s)
    return (
        None
        if age_s <= limit_s
        else f"the newest sample is {age_s:.0f} s old, expected at most {limit_s:.0f}"
    )


def port(number: int) -> str | None:
    """Whether anything listens."""
    try:
        with socket.create_connection((HOST, number), WAIT_S):
            return None
    except OSError as error:
        return f"nothing takes connections on port {number} ({error})"


CHECKS: Mapping[str, Callable[[Settings], str | None]] = {
    check.__name__: check for check in (stream, broker, store, dashboard, agent)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one check."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) == 2 and arguments[0] == "port" and arguments[1].isdecimal():
        return _say(port(int(arguments[1])))
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        return _say(f"found {arguments}, expected one of {', '.join(CHECKS)}, or port N", 2)
    try:
        return _say(CHECKS[arguments[0]](load_settings()))
    except PipelineError as error:
        return _say(str(error))


def _client(settings: Settings) -> Any:
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError

    from conf.clients import mongo_options
    from conf.mongo_trouble import mongo_unusable

    try:
        return MongoClient(**mongo_options(settings.mongodb))
    except (ConfigurationError, ValueError, OSError) as error:
        raise mongo_unusable(settings.mongodb, error) from None


def _why(settings: Settings, error: Exception) -> str:
    """Why the store does not answer: what it refuses, else that it is away."""
    from conf.mongo_trouble import mongo_refusal

    refused = mongo_refusal(error, settings.mongodb)
    return str(refused) if refused else f"the document store does not answer ({type(error).__name__})"


def _say(problem: str | None, code: int = 1) -> int:
    if problem is None:
        return 0
    sys.stderr.write(f"not well: {problem}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
