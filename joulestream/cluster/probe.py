"""Probes of pods: `python -m joulestream.cluster.probe alerts|stream [--alive]`.

Without `--alive`: does it do its work (readiness)? With it: would a new start help (liveness)? A document store that
is away is a reason to wait, not to start again, so it never makes `--alive` fail.

Exit code: 0 yes, 1 no; then one line says why.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from conf.settings import Settings, load_settings
from joulestream.alerting.service import ready_file
from joulestream.cluster import health
from schemas import documents
from schemas.errors import PipelineError

# So long after its last sign a process that could work is taken for stuck.
STUCK_S = 120.0
ALERTS_LATE_S = 60.0


def alerts(settings: Settings, now_s: float) -> str | None:
    """Whether budgets and rules are evaluated; `now_s` in seconds since 1970."""
    return _age_problem(settings, now_s, max(ALERTS_LATE_S, 4 * settings.alerts.every_s))


def alerts_alive(settings: Settings, now_s: float) -> str | None:
    """Whether evaluation stands still although the store answers."""
    problem = _age_problem(settings, now_s, max(STUCK_S, 10 * settings.alerts.every_s))
    return problem if problem and health.store(settings) is None else None


def stream_alive(settings: Settings, now_s: float) -> str | None:
    """Whether this host's leases are no longer renewed although the store answers."""
    from pymongo.errors import PyMongoError

    try:
        leases = _leases(settings)
    except PyMongoError:
        return None
    return stuck(leases, settings.stream.lease_s, datetime.fromtimestamp(now_s, timezone.utc))


def stuck(leases: Sequence[Any], lease_s: float, now: datetime) -> str | None:
    """What is wrong with those leases that this host holds; one that another took over is no concern of ours."""
    limit = timedelta(seconds=max(STUCK_S, 3 * lease_s))
    for lease in leases:
        mine = lease["host"] == socket.gethostname() and lease["state"] != "released"
        if mine and lease["renewed_at"] < now - limit:
            return f"query {lease['_id']} last said at {lease['renewed_at']:%H:%M:%S} UTC that it lives"
    return None


def _leases(settings: Settings) -> list[Any]:
    from pymongo import MongoClient

    from conf.clients import mongo_options

    with MongoClient[dict[str, Any]](**mongo_options(settings.mongodb)) as client:
        return list(client[settings.mongodb.database][documents.LEASES].find())


def _age_problem(settings: Settings, now_s: float, limit_s: float) -> str | None:
    sign = ready_file(settings)
    if not sign.exists():
        return f"{sign} is not there: alerts have not been evaluated yet; is the document store reached?"
    age_s = now_s - sign.stat().st_mtime
    return (
        None
        if age_s <= limit_s
        else f"alerts were last evaluated {age_s:.0f} s ago (at most {limit_s:.0f} s)"
    )


PROBES = {
    ("alerts", False): alerts,
    ("alerts", True): alerts_alive,
    ("stream", False): lambda settings, _: health.stream(settings),
    ("stream", True): stream_alive,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one probe."""
    parser = argparse.ArgumentParser(prog="joulestream.cluster.probe", description=__doc__)
    parser.add_argument("what", choices=sorted({what for what, _ in PROBES}))
    parser.add_argument("--alive", action="store_true", help="would a new start help?")
    wanted = parser.parse_args(argv)
    try:
        problem = PROBES[wanted.what, wanted.alive](load_settings(), time.time())
    except PipelineError as error:
        problem = str(error)
    if problem is None:
        return 0
    sys.stderr.write(f"{wanted.what}: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
