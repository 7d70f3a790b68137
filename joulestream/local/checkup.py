"""What `joule doctor` looks at. Each check returns findings; none of them changes anything."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from conf.clients import kafka_options, mongo_options
from conf.mongo_trouble import mongo_refusal
from conf.settings import Settings
from joulestream import __version__
from joulestream.context import Context
from joulestream.local.broker import broker_away
from joulestream.local.browser import HOW, browser_paths
from joulestream.local.jars import jars_root, missing_jars, pinned
from joulestream.local.java import find_java
from joulestream.local.plan import USUAL_PORTS
from joulestream.local.ports import is_free
from joulestream.local.store import find_document_server, store_away
from joulestream.local.topics import wrong_timestamp_types
from producers.spool import DROPS, SUFFIX, dropped_total
from schemas import topics
from schemas.errors import PipelineError

PACKAGES = ("pyspark", "kafka-python", "pymongo", "streamlit", "codecarbon", "psutil")
ENOUGH_MIB = 2048
MOST_SKEW_S = 5.0


@dataclass(frozen=True)
class Finding:
    """`state` is ok, note (works, but worth knowing) or wrong; `remedy` says how to put it right."""

    what: str
    state: str
    found: str
    remedy: str = ""


def examine(ctx: Context) -> list[Finding]:
    """All findings, in the order in which a stack needs the things."""
    findings = [*_versions(), _java(), _jars(), _disk(ctx.data_dir), *_servers_here(ctx)]
    findings += [*_meters(), spool_finding(ctx.settings.spool_dir), _browser()]
    findings += [*_kafka(ctx), *_mongodb(ctx)]
    return findings


def _versions() -> Iterable[Finding]:
    yield Finding("joulestream", "ok", __version__)
    system = f"{platform.system()} {platform.release()} ({platform.machine()})"
    known = platform.system() in ("Linux", "Darwin")
    yield Finding(
        "system", "ok" if known else "wrong", system, "" if known else "use Linux or macOS (or WSL 2)"
    )
    right = (3, 10) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if right else "use Python 3.10 to 3.13: name one in JOULE_PYTHON and delete .venv"
    yield Finding("python", "ok" if right else "wrong", platform.python_version(), remedy)
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "wrong", "not installed", "delete .venv and run ./joule again")


def _java() -> Finding:
    try:
        java = find_java()
    except PipelineError as error:
        return Finding("java", "wrong", "none that works", str(error))
    return Finding("java", "ok", f"{java.version} from {java.origin} ({java.home})")


def _jars() -> Finding:
    missing = missing_jars()
    found = f"{len(pinned()) - len(missing)} of {len(pinned())} in {jars_root()}"
    return Finding(
        "jars", "note" if missing else "ok", found, "./joule up fetches the others" if missing else ""
    )


def _disk(folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_mib = shutil.disk_usage(there).free // 2**20
    enough = free_mib >= ENOUGH_MIB
    remedy = "" if enough else f"free some: {ENOUGH_MIB} MiB are wise, or choose another --data-dir"
    return Finding("disk", "ok" if enough else "wrong", f"{free_mib} MiB free at {folder}", remedy)


def _servers_here(ctx: Context) -> Iterable[Finding]:
    try:
        yield Finding("document server", "ok", find_document_server().words)
    except PipelineError as error:
        yield Finding("document server", "note", "none on this machine", str(error))
    if ctx.state is not None:
        yield Finding("stack", "ok", f"runs from {ctx.data_dir} ({ctx.state.phase})")
        return
    yield Finding("stack", "note", f"none runs from {ctx.data_dir}", "start one with ./joule up")
    for name, port in USUAL_PORTS.items():
        free = is_free(port)
        remedy = "" if free else "the next free port is taken, or choose with --port-base"
        yield Finding(
            f"port {port}", "ok" if free else "note", f"{'free' if free else 'taken'} ({name})", remedy
        )


def _meters() -> Iterable[Finding]:
    from producers.meters.select import describe_meters

    for meter in describe_meters():
        found = f"{meter.measurement}: {meter.reason}"
        yield Finding(f"meter {meter.name}", "ok" if meter.readable else "note", found, meter.remedy)


def spool_finding(folder: Path) -> Finding:
    """What waits on this machine for a broker, and what was lost because it waited too long."""
    files = len(list(folder.glob(f"*{SUFFIX}")))
    lost = dropped_total(folder)
    if not lost:
        return Finding("spool", "ok", f"{files} file(s) with events in {folder}")
    remedy = (
        "free the disk, raise tracker.spool_max_mib, or let the broker take larger messages; then delete "
        f"{folder / DROPS} to count anew"
    )
    return Finding("spool", "note", f"{lost} event(s) were lost by producers that have ended", remedy)


def _browser() -> Finding:
    paths = browser_paths()
    return Finding(
        "browser",
        "ok" if paths else "note",
        paths[0] if paths else "none with its driver",
        "" if paths else HOW,
    )


def _kafka(ctx: Context) -> Iterable[Finding]:
    bootstrap = ctx.settings.kafka.bootstrap
    problem = broker_away(ctx.settings.kafka)
    if problem:
        state = "wrong" if ctx.state else "note"
        yield Finding("kafka", state, f"{bootstrap} does not answer", f"waiting for {problem}")
        return
    yield Finding("kafka", "ok", f"{bootstrap} answers")
    try:
        wrong = wrong_timestamp_types(ctx.settings.kafka)
        skew_s = broker_skew_s(ctx.settings)
    except (KafkaError, OSError) as error:
        yield Finding(
            "topics", "wrong", f"cannot be described ({type(error).__name__})", "allow DescribeConfigs"
        )
        return
    for name, kind in wrong.items():
        remedy = "set message.timestamp.type=LogAppendTime: events are judged by the broker's time"
        yield Finding(f"topic {name}", "wrong", kind, remedy)
    if not wrong:
        yield Finding("topics", "ok", "message.timestamp.type is LogAppendTime")
    if skew_s is not None:
        yield _clock("clock of kafka", skew_s)


def _mongodb(ctx: Context) -> Iterable[Finding]:
    problem = store_away(ctx.settings.mongodb)
    if problem:
        yield Finding(
            "mongodb", "wrong" if ctx.state else "note", "does not answer", f"waiting for {problem}"
        )
        return
    with MongoClient[dict[str, Any]](**mongo_options(ctx.settings.mongodb)) as client:
        try:
            server = client.admin.command("buildInfo")["version"]
            before = datetime.now(timezone.utc)
            told = client.admin.command("hello")["localTime"]
        except PyMongoError as error:
            yield Finding(
                "mongodb",
                "wrong",
                type(error).__name__,
                str(mongo_refusal(error, ctx.settings.mongodb) or "look at its log"),
            )
            return
    old = int(server.split(".")[0]) < 6
    yield Finding("mongodb", "wrong" if old else "ok", server, "MongoDB 6 or newer is needed" if old else "")
    told = told if told.tzinfo else told.replace(tzinfo=timezone.utc)  # the embedded server's comes without
    yield _clock("clock of mongodb", (told - before).total_seconds())


def _clock(what: str, skew_s: float) -> Finding:
    fine = abs(skew_s) <= MOST_SKEW_S
    remedy = "" if fine else "synchronise the clocks (NTP): events from the future are rejected"
    return Finding(what, "ok" if fine else "wrong", f"{skew_s:+.1f} s from this machine's", remedy)


def broker_skew_s(settings: Settings) -> float | None:
    """The broker's clock minus ours, from a sample written within the last 10 s; None if there is none."""
    consumer = KafkaConsumer(**kafka_options(settings.kafka))
    try:
        numbers = consumer.partitions_for_topic(topics.NODE_METRICS) or ()
        places = [TopicPartition(topics.NODE_METRICS, number) for number in numbers]
        consumer.assign(places)
        for place, end in consumer.end_offsets(places).items():
            consumer.seek(place, end)
        # The next message to arrive: it is stamped now by the broker's clock.
        for records in consumer.poll(timeout_ms=3000).values():
            return float(records[-1].timestamp) / 1000 - time.time()
        return None
    finally:
        consumer.close()
