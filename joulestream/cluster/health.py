"""Is it well? `python -m joulestream.cluster.health CHECK [--alive]`, for the probes of pods and containers.

CHECK is one of
  stream      both queries hold their lease, from this host, and have renewed it in time
  alerts      budgets and rules were evaluated lately
  broker      the Kafka of the settings answers, with the user and certificates of the settings
  store       the document store of the settings answers, likewise
  dashboard   the dashboard of this host answers
  agent       the node agent of this host has noted a sample lately
  port N      something on this host takes connections on port N

Without `--alive`: does it do its work (readiness)? With it, for stream and alerts: would a new start help (liveness)?
A document store that is away is a reason to wait, not to start again, so it never makes `--alive` fail.

Exit code: 0 well, 1 not; then one line says why. Each check imports only what its own image has.
"""

from __future__ import annotations

import argparse
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
# So long after its last sign a process that could work is taken for stuck.
STUCK_S = 120.0
ALERTS_LATE_S = 60.0


def stream(settings: Settings) -> str | None:
    """What is wrong with the streaming job of this host."""
    from pymongo.errors import PyMongoError

    try:
        leases = _leases(settings)
    except PyMongoError as error:
        return _why(settings, error)
    return lease_problem(leases, socket.gethostname(), settings.stream.lease_s, _now())


def stream_alive(settings: Settings) -> str | None:
    """Whether this host's leases are no longer renewed although the store answers."""
    from pymongo.errors import PyMongoError

    try:
        leases = _leases(settings)
    except PyMongoError:
        return None
    return stuck(leases, settings.stream.lease_s, _now())


def stuck(leases: Iterable[Mapping[str, Any]], lease_s: float, now: datetime) -> str | None:
    """What is wrong with those leases that this host holds; one that another took over is no concern of ours."""
    limit = timedelta(seconds=max(STUCK_S, 3 * lease_s))
    for lease in leases:
        mine = lease["host"] == socket.gethostname() and lease["state"] != "released"
        if mine and lease["renewed_at"] < now - limit:
            return _silent(lease)
    return None


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
            return _silent(lease)
    return None


def alerts(settings: Settings) -> str | None:
    """Whether budgets and rules are evaluated."""
    return _age_problem(settings, max(ALERTS_LATE_S, 4 * settings.alerts.every_s))


def alerts_alive(settings: Settings) -> str | None:
    """Whether evaluation stands still although the store answers."""
    problem = _age_problem(settings, max(STUCK_S, 10 * settings.alerts.every_s))
    return problem if problem and store(settings) is None else None


def _age_problem(settings: Settings, limit_s: float) -> str | None:
    from joulestream.alerting.service import ready_file

    sign = ready_file(settings)
    if not sign.exists():
        return f"{sign} is not there: alerts have not been evaluated yet; is the document store reached?"
    age_s = time.time() - sign.stat().st_mtime
    return (
        None
        if age_s <= limit_s
        else f"alerts were last evaluated {age_s:.0f} s ago (at most {limit_s:.0f} s)"
    )


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
    check.__name__: check for check in (stream, alerts, broker, store, dashboard, agent)
}
ALIVE: Mapping[str, Callable[[Settings], str | None]] = {"stream": stream_alive, "alerts": alerts_alive}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one check; 2 where there is none of that name."""
    parser = argparse.ArgumentParser(prog="joulestream.cluster.health")
    parser.add_argument("check", choices=[*CHECKS, "port"])
    parser.add_argument("number", nargs="?", type=int, help="of the port")
    parser.add_argument("--alive", action="store_true", help="would a new start help?")
    wanted = parser.parse_args(argv)
    if (wanted.check == "port") != (wanted.number is not None):
        parser.error("a number is for the check `port`, which needs one")
    if wanted.alive and wanted.check not in ALIVE:
        parser.error(f"--alive is for {' and '.join(ALIVE)}")
    if wanted.number is not None:
        return _say(port(wanted.number))
    try:
        return _say((ALIVE if wanted.alive else CHECKS)[wanted.check](load_settings()))
    except PipelineError as error:
        return _say(str(error))


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _silent(lease: Mapping[str, Any]) -> str:
    return f"query {lease['_id']} last said at {lease['renewed_at']:%H:%M:%S} UTC that it lives"


def _leases(settings: Settings) -> list[Any]:
    with _client(settings) as client:
        return list(client[settings.mongodb.database][documents.LEASES].find())


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


def _say(problem: str | None) -> int:
    if problem is None:
        return 0
    sys.stderr.write(f"not well: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
