"""Servers that let us in by password and by certificate, and what is said when they do not."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from conf.clients import kafka_options
from conf.sections import Kafka
from conf.trouble import Refused
from dashboard.doorkeeper import tell_of_store
from dashboard.store import Store, StoreAway
from joulestream.draining import read_ends
from joulestream.local.broker import broker_away
from joulestream.local.ports import HOST
from joulestream.local.process import ROOT
from joulestream.local.store import store_away
from joulestream.local.topics import ensure_topics
from joulestream.sending import outbox
from producers.publisher import kafka_publisher
from schemas.errors import PipelineError
from schemas.topics import DLQ, TRAINING_EVENTS
from spark_jobs.store import Address, Patience, connect, server_errors
from tests.contract.refusals import KAFKA, KNOWN, STORE
from tests.contract.secure import GUEST, Secure
from tests.contract.watched import hides
from tests.waiting import until

pytestmark = pytest.mark.stack


# A training of some seconds; it says at its end that it went through.
TRAINING = """
import logging, time
from producers.tracker import Tracker
logging.basicConfig()
with Tracker(run_id="r", meters="simulated:7", interval_s=0.5) as run:
    for step in range(20):
        run.log(step=step, loss=1 / (step + 1))
        time.sleep(0.2)
print("trained, dropped", run.dropped)
"""


def said(text: str) -> str:
    """The text, seen to hold no secret."""
    return hides("it", text)


@pytest.mark.parametrize("how", KNOWN)
def test_a_message_passes_where_we_are_known(secure: Secure, how: str) -> None:
    kafka = KNOWN[how](secure)
    ensure_topics(kafka)
    assert broker_away(kafka) is None
    producer = KafkaProducer(**kafka_options(kafka))
    sent = producer.send(DLQ, b"through").get(timeout=20)
    producer.close()
    consumer = KafkaConsumer(**kafka_options(kafka))
    place = TopicPartition(DLQ, sent.partition)
    consumer.assign([place])
    consumer.seek(place, sent.offset)
    records = consumer.poll(timeout_ms=20_000)
    consumer.close()
    assert [record.value for record in records[place]] == [b"through"]


@pytest.mark.parametrize("case", KAFKA)
def test_kafka_that_refuses_us_is_told_with_cause_and_setting(secure: Secure, case: str) -> None:
    make, words = KAFKA[case]
    began_s = time.monotonic()
    with pytest.raises(Refused) as error:
        ensure_topics(make(secure))
    assert time.monotonic() - began_s < 10  # the libraries themselves take half a minute, and say "time-out"
    for word in words:
        assert word in said(str(error.value))


def test_a_port_with_tls_is_recognised_by_one_who_expects_none(secure: Secure) -> None:
    away = broker_away(Kafka(bootstrap=f"{HOST}:{secure.ports['SECURE']}"), timeout_s=1)
    assert away is not None
    assert "speaks TLS, and kafka.security_protocol is PLAINTEXT; set it to SSL or SASL_SSL" in away


def test_who_may_not_write_a_topic_is_told_so(secure: Secure) -> None:
    ensure_topics(secure.kafka())
    guest = secure.kafka(username=GUEST, password_file=secure.passwords / "guest")
    with (
        pytest.raises(PipelineError, match=rf"user '{GUEST}'|topic '{TRAINING_EVENTS}'") as error,
        outbox(guest, (TRAINING_EVENTS,)),
    ):
        pass
    said(str(error.value))
    with pytest.raises(PipelineError):
        read_ends(guest)


@pytest.mark.parametrize("case", STORE)
def test_a_store_that_refuses_us_is_told_with_cause_and_setting(
    secure: Secure, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, words = STORE[case]
    mongodb = make(secure).model_copy(update={"timeout_s": 0.5})
    db = connect(Address(mongodb))
    with db.client, pytest.raises(Refused) as refused, server_errors("the document store", mongodb):
        db.list_collection_names()
    with Store(mongodb) as store, pytest.raises(StoreAway) as page:
        store.ping()
    tell_of_store(mongodb)
    texts = [str(refused.value), str(page.value), store_away(mongodb, 0.5) or "", caplog.text]
    for text in texts:
        for word in words:
            assert word in said(text)


@pytest.mark.parametrize("changes", [{"ca_file": "/not/there.pem"}, {"cert_file": "/not/there.pem"}])
def test_a_file_that_is_not_there_is_named(secure: Secure, changes: dict[str, str]) -> None:
    mongodb = secure.mongodb(**changes)
    for make in (lambda: connect(Address(mongodb)), lambda: Store(mongodb)):
        with pytest.raises(
            PipelineError, match=rf"mongodb\.{next(iter(changes))}: /not/there\.pem cannot be read"
        ):
            make()


def test_who_has_worked_waits_for_a_store_that_refuses_and_who_begins_ends(
    secure: Secure, caplog: pytest.LogCaptureFixture
) -> None:
    good = connect(Address(secure.mongodb()))
    bad = connect(Address(secure.mongodb(password_file=secure.passwords / "guest")))
    answers: Iterator[Any] = iter([bad, bad, good])
    with pytest.raises(Refused, match="its password is wrong"):
        Patience(first=True)(bad.list_collection_names)
    patience = Patience(first=True, longest_s=0.1, mongodb=secure.mongodb())
    patience(good.list_collection_names)
    with caplog.at_level(logging.WARNING):
        patience(lambda: next(answers).list_collection_names())
    texts = [said(record.getMessage()) for record in caplog.records]
    assert len(texts) == 2
    assert "its password is wrong" in texts[0]
    assert texts[1] == "document store is back"
    good.client.close()
    bad.client.close()


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [said(record.getMessage()) for record in caplog.records if "refuses user" in record.getMessage()]


def test_events_wait_on_disk_for_the_right_password_and_none_is_lost(
    secure: Secure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ensure_topics(secure.kafka())
    password = tmp_path / "password"
    password.write_text("wrong-hunter2\n")
    kafka = secure.kafka(password_file=password)
    before = read_ends(secure.kafka())
    with caplog.at_level(logging.WARNING, logger="producers"):
        publisher = kafka_publisher(kafka, tmp_path / "spool", "p", 1.0)
        for number in range(3):
            publisher.send(TRAINING_EVENTS, "run", str(number).encode())
        until(lambda: refusals(caplog))
        assert not publisher.flush(5)
        (told,) = refusals(caplog)
        assert "events are kept in" in told
        password.write_bytes((secure.passwords / "kafka").read_bytes())
        until(lambda: publisher.flush(10))  # a try with the old password may have been on its way
        assert publisher.close(5)
    assert publisher.dropped == 0
    after = read_ends(secure.kafka())
    assert sum(end.end for end in after.values()) - sum(end.end for end in before.values()) == 3


PROCESSES: dict[str, tuple[tuple[str, ...], str, int | None]] = {
    "stream, Kafka": (("-m", "spark_jobs.stream"), "kafka", 1),
    "stream, store": (("-m", "spark_jobs.stream"), "mongodb", 1),
    "alerts, store": (("-m", "joulestream.alerting"), "mongodb", 1),
    "agent": (("-m", "producers.node_agent"), "kafka", None),
    "training": (("-c", TRAINING), "kafka", 0),
    "verb, Kafka": (("-m", "joulestream", "runs", "stop", "a-run"), "kafka", 1),
    "verb, store": (("-m", "joulestream", "audit"), "mongodb", 1),
    "runs": (("-m", "joulestream", "runs", "ls"), "mongodb", 1),
}


@pytest.fixture(scope="module")
def processes(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int | None, str]]:
    """Every process with a wrong password, side by side: exit code (None: had to be ended) and what it said."""
    ensure_topics(secure.kafka())
    wrong = secure.passwords / "guest"
    started = {}
    for name, (arguments, server, _) in PROCESSES.items():
        folder = tmp_path_factory.mktemp("process")
        bad = {server: getattr(secure, server)(password_file=wrong)}
        env = {**os.environ, **secure.variables(**bad), "JOULE_DATA_DIR": str(folder)}
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=output, stderr=output, env=env, cwd=ROOT
            )
        started[name] = (process, log)
    found = {}
    until_s = time.monotonic() + 180
    for name, (process, log) in started.items():
        ends = PROCESSES[name][2] is not None
        while process.poll() is None and time.monotonic() < until_s:
            if not ends and "refuses user" in log.read_text():
                break
            time.sleep(0.1)
        code = process.poll()
        process.terminate()
        process.wait(20)
        found[name] = (code, log.read_text())
        if name in ("agent", "training"):
            assert list(log.parent.glob("spool/*")), f"{name} kept no events"
    return found


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_with_a_wrong_password_says_so_first(
    processes: dict[str, tuple[int | None, str]], name: str
) -> None:
    code, text = processes[name]
    _, server, expected = PROCESSES[name]
    assert code == expected, text
    lines = [line for line in said(text).splitlines() if "refuses" in line]
    assert len(lines) == 1, text
    assert "its password is wrong" in lines[0]
    assert f"{server}.password_file" in lines[0]
    assert "Traceback" not in text
    assert name != "training" or "trained, dropped 0" in text


def test_the_pages_checks_are_the_stores_own(secure: Secure) -> None:
    with Store(secure.mongodb()) as store:
        assert store.overview(datetime.now(timezone.utc)).n_runs >= 0
