"""The containers' entry points as the manifests call them, as plain processes; the totals are audited at the end.

From the overlay `local`: broker, document store with its users, topics, stream, node agent, a training run, dashboard.
The stream's master is `local[2]` here, where no Kubernetes API is; the rest is as rendered (tests/e2e/pods.py).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from conf.clients import mongo_options
from conf.sections import MongoDB
from joulestream.cluster.credentials import KEYS
from joulestream.local.ports import HOST
from schemas import documents
from tests.e2e.pods import Container, Node
from tests.k8s.rendering import HOW, kubectl, render

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.timeout(400)]

# What the driver's pod cannot have here: executors of a Kubernetes master.
HERE = {"JOULE_STREAM_MASTER": "local[2]", "SPARK_LOCAL_IP": HOST}
# The embedded store's own defaults, said, so that they are those of this machine.
STORE = {
    "STORE_DIR": "/data/db",
    "STORE_PORT": "27017",
    "STORE_SETUP_PORT": "27018",
    "STORE_CREDENTIALS": "/etc/joulestream/secrets/mongodb-credentials",
}


@pytest.fixture
def node() -> Iterator[Node]:
    """A node with the overlay's objects and passwords as the Job `credentials` makes them."""
    if kubectl() is None:
        (pytest.fail if os.environ.get("JOULE_REQUIRE_KUBECTL") else pytest.skip)(HOW)
    shown = render("overlays/local")
    assert not shown.failure, shown.failure
    made = {name: {key: new() for key, new in keys.items()} for name, keys in KEYS.items()}
    # Not pytest's own folder, which only this user may enter; the pods' users are others.
    folder = Path(tempfile.mkdtemp(prefix="joule-pods-"))
    here = Node(folder, shown.things, made)
    try:
        yield here
    finally:
        here.down()
        shutil.rmtree(folder, onerror=_writable_and_again)


def _writable_and_again(remove: Any, path: str, _: Any) -> None:
    """The tree may not be written to, and so not be removed either, but by its owner."""
    Path(path).parent.chmod(0o700)
    remove(path)


def database(node: Node) -> Any:
    """The store as the reader sees it."""
    options = mongo_options(
        MongoDB.model_validate(
            {
                "uri": f"mongodb://{HOST}:{node.ports[27017]}",
                "username": "reader",
                "password": node.secrets["mongodb-credentials"]["reader-password"],
            }
        )
    )
    return MongoClient(**options)


def servers(node: Node) -> tuple[Container, Container]:
    """Broker and store, ready as their probes say."""
    broker = node.container("StatefulSet", "kafka", "kafka").start()
    users = node.container("StatefulSet", "mongodb", "users", STORE)
    assert users.run() == 0, users.tail()
    store = node.container("StatefulSet", "mongodb", "mongodb", STORE).start()
    broker.wait_ready()
    store.wait_ready()
    return broker, store


def audited(driver: Container) -> dict[str, Any]:
    """`joule audit`, with the driver's own environment and user."""
    command = ["python", "-m", "joulestream", "audit", "--json"]
    file = driver.home / "audit.json"
    with file.open("wb") as output:
        code = driver._popen(command, output).wait(90)
    assert code == 0, file.read_text()
    found: dict[str, Any] = json.loads(file.read_text()[file.read_text().index("{") :])
    return found


def test_the_manifests_entry_points_carry_a_run_from_its_meter_to_the_dashboard(node: Node) -> None:
    broker, store = servers(node)
    topics = node.container("Job", "topics", "topics")
    assert topics.run() == 0, topics.tail()
    stream = node.container("Deployment", "energy-streaming-job", "driver", HERE).start()
    dashboard = node.container("Deployment", "dashboard", "dashboard").start()
    agent = node.container("DaemonSet", "node-agent", "agent").start()
    trainer = node.container("Job", "training-run", "trainer").start()
    again = node.container("Job", "topics", "topics")
    assert again.run() == 0, again.tail()
    assert "all are there" in again.log.read_text().splitlines()[-1]
    stream.wait_ready()
    agent.wait_ready()
    dashboard.wait_ready()
    assert trainer.finish(180) == 0, trainer.tail()
    with database(node) as client:
        wait_for_the_end_of_the_run(stream, client["energy_emissions"])
    assert audited(stream)["verdict"] == "ok"
    codes = {each.workload: each.end() for each in (agent, dashboard, stream)}
    assert codes["energy-streaming-job"] == 0, stream.tail()
    assert not_json(stream) == []
    assert codes["node-agent"] == 0, agent.tail()
    assert dashboard.log.read_text().count("Traceback") == 0, dashboard.tail()
    assert store.process is not None
    assert broker.process is not None
    assert (store.process.poll(), broker.process.poll()) == (None, None)
    assert node.listed() == node.listing, "a container wrote to the image's tree"


def not_json(container: Container) -> list[str]:
    """Lines of its log that are no objects, besides what Java says before it logs."""
    java = "WARNING: Using incubator modules"
    lines = container.log.read_text().splitlines()
    assert lines
    return [line for line in lines if not line.startswith(("{", java))]


def wait_for_the_end_of_the_run(stream: Container, db: Any) -> None:
    """Until the training run's summary has its end and its energy."""
    from time import monotonic, sleep

    deadline = monotonic() + 60
    while True:
        run = db[documents.RUN_SUMMARY].find_one({"status": "completed"})
        if run is not None:
            break
        assert monotonic() < deadline, stream.tail()
        sleep(0.5)
    assert run["energy_kwh"] > 0
    assert run["nodes"] == ["node-of-the-test"]
    assert db[documents.TRAINING_METRICS].count_documents({"run_id": run["_id"]}) == run["n_events"]
    assert db[documents.WINDOWS].count_documents({"dimension": "run", "key": run["_id"]}) > 0


def test_a_wrong_password_is_said_in_the_first_line_and_ends_the_job(node: Node) -> None:
    servers(node)
    node.secrets["mongodb-credentials"]["writer-password"] = secrets.token_hex(8)  # type: ignore[index]
    topics = node.container("Job", "topics", "topics")
    assert topics.run() == 1
    lines = topics.log.read_text().splitlines()
    assert "writer" in lines[-1]
    assert "password" in lines[-1]
    assert len(lines) <= 2, lines  # what was done for Kafka, and what is wrong with the store
    assert "Traceback" not in topics.log.read_text()
    assert node.secrets["mongodb-credentials"]["writer-password"] not in topics.log.read_text()
