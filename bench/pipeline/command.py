"""The benchmark as a whole: servers, throughput, the store alone, latency; then the report."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.pipeline import inserts, live, report
from bench.pipeline.servers import Servers, machine, servers
from bench.pipeline.sizes import FULL, QUICK, Sizes
from conf.clients import kafka_options
from conf.sections import Kafka
from conf.settings import Settings
from joulestream.local.jars import ensure_jars
from joulestream.local.java import find_java
from joulestream.local.process import end_group, last_words, python
from joulestream.output import say
from schemas.errors import PipelineError
from schemas.times import rfc3339
from spark_jobs.session import master_of

ROOT = Path(__file__).resolve().parents[2]
STAGES_STOP_S = 15.0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Flags of the command line."""
    parser = argparse.ArgumentParser(
        prog="joule bench", description="Measure the pipeline on servers of its own; nothing else is touched."
    )
    parser.add_argument("--quick", action="store_true", help="in at most 5 minutes on 2 cores")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="the result as JSON to FILE, or instead of the table",
    )
    parser.add_argument("--rows", type=int, help="messages of the throughput steps")
    parser.add_argument(
        "--live", type=float, metavar="S", help="seconds of steady load for latency; 0: leave it out"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, exit code: 0 measured (whatever the targets say), 1 not."""
    given = arguments(argv)
    sizes = FULL if not given.quick else QUICK
    if given.rows is not None:
        sizes = replace(sizes, rows=given.rows, insert_rows=min(sizes.insert_rows, given.rows // 2))
    if given.live is not None:
        sizes = replace(sizes, live_s=given.live)
    try:
        found = run(sizes, "quick" if given.quick else "full")
    except PipelineError as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted; its servers are ended")
        return 130
    if given.json == "-":
        print(json.dumps(found, indent=2))
        return 0
    if given.json is not None:
        Path(given.json).write_text(json.dumps(found, indent=2) + "\n")
    print(report.table(found))
    return 0


def run(sizes: Sizes, name: str) -> dict[str, Any]:
    """All steps; the result as JSON. Raises PipelineError."""
    began = time.monotonic()
    about = {"at": rfc3339(datetime.now(timezone.utc)), "size": name, "machine": machine()}
    java = find_java()
    ensure_jars(java, say)
    with tempfile.TemporaryDirectory(prefix="joule-bench-") as made:
        folder = Path(made)
        say(f"bench: broker and store of its own in {folder}")
        with servers(folder, java) as own:
            rates, steps = _throughput(own, folder, sizes)
            steady: dict[str, Any] = {
                "delays": [],
                "few": {},
                "memory": dict.fromkeys(("peak_mib", "half_mib", "end_mib")),
            }
            if sizes.live_s > 0:
                _empty_topic(own.settings(folder, "bench").kafka)
                say(
                    f"bench: latency at {sizes.live_rate} events/s, {sizes.live_runs} runs then {sizes.few_runs}"
                )
                steady = live.measure(own, folder, sizes)
            about["store"] = own.document_server.name
    delays, memory = steady.pop("delays"), steady.pop("memory")
    few = {sizes.few_runs: steady["few"].pop("delays", [])}
    more = {
        "sizes": sizes.to_doc(),
        "steps": steps,
        "steady": steady,
        "took_s": round(time.monotonic() - began),
    }
    return report.summary(rates, delays, few, memory, {**about, **more})


def _throughput(own: Servers, folder: Path, sizes: Sizes) -> tuple[dict[str, float | None], dict[str, Any]]:
    settings = own.settings(folder / "job", "job")
    say(f"bench: {sizes.rows:,} messages, and five steps over them")
    steps: dict[str, Any] = {}
    for step in _stages(own, settings, folder / "stages.log", sizes):
        steps[step.pop("step")] = step
        say(f"bench: {list(steps)[-1]}: {step['rows_per_s'] or 0:,.0f} rows/s, {step['cpu']}")
    clients = min(settings.kafka.partitions, task_slots(master_of(settings)))
    written = int(steps["end_to_end"]["rows"] * 0.9)  # duplicates and broken messages are no rows
    alone = own.settings(folder / "alone", "alone")
    rows = min(sizes.insert_rows, written)
    steps["store_insert"] = inserts.insert_rate(
        settings, alone, rows, sizes.insert_batch, clients, own.pids["store"]
    )
    rate, cpu = steps["store_insert"]["rows_per_s"] or 0, steps["store_insert"]["cpu"]
    say(f"bench: store_insert: {rate:,.0f} rows/s by {clients} clients, {cpu}")
    return {name: steps[name]["rows_per_s"] for name in report.RATES}, steps


def task_slots(master: str) -> int:
    """How many tasks Spark runs at a time under `local[N]` or `local[*]`."""
    inside = master.partition("[")[2].partition("]")[0].partition(",")[0]
    return int(inside) if inside.isdigit() else (os.cpu_count() or 1) if inside == "*" else 1


def _stages(own: Servers, settings: Settings, log: Path, sizes: Sizes) -> Any:
    """The steps' results as they come, from a process of their own. Raises PipelineError where it fails."""
    env = {
        **os.environ,
        **settings.environment(),
        "JAVA_HOME": str(own.java.home),
        "SPARK_CONF_DIR": str(ROOT / "conf"),
    }
    command = python("bench.pipeline.stages", json.dumps(sizes.to_doc()), json.dumps(own.pids))
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=output, env=env, cwd=ROOT, start_new_session=True
        )
    try:
        for line in process.stdout or ():
            yield json.loads(line)
        if process.wait() != 0:
            raise PipelineError(
                f"the throughput steps ended with exit code {process.returncode}{last_words(log)}"
            )
    finally:
        end_group(process.pid, STAGES_STOP_S, process)


def _empty_topic(kafka: Kafka) -> None:
    """Let the latency job begin with its own backlog only."""
    from kafka import KafkaAdminClient, TopicPartition

    from schemas.topics import TRAINING_EVENTS
    from spark_jobs.offsets import latest

    ends = latest(kafka, TRAINING_EVENTS)
    admin = KafkaAdminClient(**kafka_options(kafka))
    try:
        admin.delete_records({TopicPartition(TRAINING_EVENTS, p): end for p, end in ends.items()})
    finally:
        admin.close()
