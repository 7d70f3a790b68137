"""The whole way on a real broker: an outage and a kill cost nothing, and every identity arrives once, in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from conf.settings import Kafka
from joulestream.local.topics import ensure_topics
from producers.publisher import kafka_publisher
from schemas.topics import TRAINING_EVENTS
from tests.kafka_topics import events_of
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import os, signal, sys, time
from producers.tracker import Tracker
with Tracker(sys.argv[1], meters='simulated', interval_s=0.5) as run:
    for epoch in range(5):
        time.sleep(0.12)
        run.log(epoch=epoch)
    if sys.argv[2] == 'kill':
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
"""
NOWHERE = "127.0.0.1:1"


def train(name: str, end: str, bootstrap: str, folder: Path) -> int:
    env = {**os.environ, "JOULE_DATA_DIR": str(folder), "JOULE_KAFKA_BOOTSTRAP": bootstrap}
    command = [sys.executable, "-c", TRAIN, name, end]
    return subprocess.run(command, cwd=ROOT, env=env, check=False, timeout=60).returncode


def test_outage_and_kill_lose_nothing_and_repeat_nothing(kafka_bootstrap: str, tmp_path: Path) -> None:
    ensure_topics(Kafka(bootstrap=kafka_bootstrap))
    runs = {name: f"{name}-{os.getpid()}" for name in ("live", "away", "killed")}
    assert train(runs["live"], "end", kafka_bootstrap, tmp_path) == 0
    assert train(runs["away"], "end", NOWHERE, tmp_path) == 0
    assert train(runs["killed"], "kill", NOWHERE, tmp_path) == -signal.SIGKILL
    adopter = kafka_publisher(Kafka(bootstrap=kafka_bootstrap), tmp_path / "spool", "adopter", 1.0)
    adopter.send(TRAINING_EVENTS, "other", b"{}")
    assert adopter.flush(30.0)
    own = tmp_path / "spool" / "adopter.spool.db"
    until(lambda: list(own.parent.glob("*.db")) == [own])
    assert adopter.close(10.0)
    events = events_of(kafka_bootstrap, runs.values())
    for name, run in runs.items():
        sequences = [event["sequence"] for event in events[run]]
        assert sequences == list(range(len(sequences))), name
        logged = [event["epoch"] for event in events[run] if "epoch" in event]
        assert logged == [0, 1, 2, 3, 4], name
    assert events[runs["live"]][-1]["status"] == events[runs["away"]][-1]["status"] == "completed"
    assert events[runs["killed"]][-1]["event_type"] == "metric"
