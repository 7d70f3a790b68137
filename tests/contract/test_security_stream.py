"""The whole small stream behind passwords and certificates: exact, silent about its secrets, and patient.

One start serves all of it, since each costs a JVM.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaProducer
from pymongo import MongoClient

from conf.clients import kafka_options, mongo_options
from conf.settings import load_settings
from joulestream.draining import read_ends
from joulestream.local.java import find_java
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import ROOT
from joulestream.local.topics import ensure_topics
from schemas import documents
from schemas.topics import NODE_METRICS, TRAINING_EVENTS
from tests.contract.secure import DATABASE, STREAM, STREAM_PASSWORD, Secure
from tests.contract.watched import Watched, hides
from tests.messages import node, training

pytestmark = [pytest.mark.spark, pytest.mark.stack, pytest.mark.timeout(900)]
WAIT_S = 300.0
NEW_PASSWORD = "another-hunter2"
REFUSED = f"refuses user '{STREAM}'"


class Job(Watched):
    """The streaming job by spark-submit with Spark's own pages on, and all that it says and shows."""

    def __init__(self, secure: Secure, folder: Path) -> None:
        self.secure, self.page = secure, any_free()
        # With the rights that it needs and no others.
        kafka = secure.kafka(username=STREAM, password_file=secure.passwords / STREAM)
        env = {**os.environ, **secure.variables(kafka=kafka)}
        super().__init__(
            folder / "stream.log", {**env, "JOULE_DATA_DIR": str(folder), "JOULE_STREAM_TRIGGER_S": "1"}
        )
        self.client: MongoClient[dict[str, Any]] = MongoClient(**mongo_options(secure.mongodb()))
        self.db = self.client[DATABASE]

    def submit(self) -> None:
        jars = ",".join(str(jar) for jar in sorted(load_settings().spark_jars_dir.glob("*.jar")))
        options = {
            "spark.ui.enabled": "true",
            "spark.ui.port": self.page,
            "spark.driver.host": HOST,
            "spark.driver.bindAddress": HOST,
            "spark.driver.memory": "512m",
            "spark.log.level": "INFO",
        }
        command = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local[4]", "--jars", jars]
        command += [part for name, value in options.items() for part in ("--conf", f"{name}={value}")]
        self.begin(
            [*command, "spark_jobs/stream.py"],
            JAVA_HOME=str(find_java().home),
            SPARK_CONF_DIR=str(ROOT / "conf"),
            PYSPARK_PYTHON=sys.executable,
        )

    def runs(self) -> bool:
        return self.db[documents.LEASES].count_documents({"state": "running"}) == 2

    def settled(self) -> bool:
        """Whether everything that is in the topics has its place in an account."""
        written = {
            f"{doc['topic']}/{doc['partition']}": doc["next_offset"]
            for doc in self.db[documents.ACCOUNTS].find()
        }
        ends = read_ends(self.secure.kafka())
        return all(written.get(place, 0) == end.end for place, end in ends.items())

    def shown(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{HOST}:{self.page}{path}", timeout=240) as answer:
            return str(answer.read().decode())

    def end(self) -> None:
        self.kill()
        self.client.close()


@contextmanager
def job(secure: Secure, folder: Path) -> Iterator[Job]:
    made = Job(secure, folder)
    try:
        made.submit()
        yield made
    finally:
        made.end()
        (secure.passwords / STREAM).write_text(f"{STREAM_PASSWORD}\n")
        secure.set_kafka_password(STREAM, STREAM_PASSWORD)


def send(secure: Secure, first: int, count: int) -> None:
    """Events of one run, a sample of a node, and a message that is none."""
    producer = KafkaProducer(**kafka_options(secure.kafka()))
    for number in range(first, first + count):
        event = training(
            event_type="metric", event_id=f"e{number}", interval_s=5, energy_kwh=0.25, region_iso="DE"
        )
        producer.send(TRAINING_EVENTS, key=b"r", value=event)
    producer.send(TRAINING_EVENTS, key=b"r", value=b"{broken")
    producer.send(NODE_METRICS, key=b"n", value=node(cpu_energy_j=7.0, interval_s=1))
    producer.flush()
    producer.close()


def test_the_stream_is_exact_shows_no_secret_and_waits_for_its_new_password(
    secure: Secure, tmp_path: Path
) -> None:
    ensure_topics(secure.kafka())
    with job(secure, tmp_path) as running:
        send(secure, 0, 6)
        running.wait("lease", running.runs, WAIT_S)
        running.wait("first messages", running.settled, WAIT_S)
        for process in running.family():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                hides("the process list", " ".join(process.cmdline()))
                hides("an environment", str(process.environ()))
        application = json.loads(running.shown("/api/v1/applications"))[0]["id"]
        api = f"/api/v1/applications/{application}"
        for path in (f"{api}/environment", f"{api}/sql?details=true", "/environment/"):
            page = running.shown(path)
            assert "spark" in page.lower()
            hides(path, page)

        secure.set_kafka_password(STREAM, NEW_PASSWORD)
        running.wait("word of the refusal", lambda: REFUSED in running.text(), WAIT_S)
        (secure.passwords / STREAM).write_text(f"{NEW_PASSWORD}\n")
        running.wait("return", lambda: "Kafka is back" in running.text(), WAIT_S)
        send(secure, 6, 4)
        running.wait("all messages", running.settled, WAIT_S)

        found = json.loads(running.verb("audit", "--json"))
        assert found["verdict"] == "ok"
        ledger = found["sources"]["training"]["ledger"]
        assert (ledger["events"], ledger["kwh"]) == (10, 2.5)
        text = running.text()
    assert len(re.findall(rf"WARNING .*{REFUSED}", text)) <= 2  # one line for each query
    hides("the log", text)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            hides(str(file), file.read_text(errors="replace"))
