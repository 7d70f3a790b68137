"""The kafka image's broker: `python -m joulestream.cluster.broker`.

As in the image apache/kafka, a variable KAFKA_X_Y is the property x.y (`__` is `_`, `___` is `-`), CLUSTER_ID
names the cluster, and KAFKA_HEAP_OPTS and KAFKA_OPTS go to the JVM. New storage is formatted, with the SCRAM users
of SCRAM_USERS_FILE where it is given: a line each, `user=password`. This process becomes the broker.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from schemas.errors import PipelineError

COMMANDS = Path("/opt/kafka/bin")
# Variables of that form that are not properties.
_NOT_PROPERTIES = ("KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_LOG4J2", "KAFKA_LOG4J_OPTS", "KAFKA_JMX_OPTS")
_DEFAULTS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listeners": "PLAINTEXT://:9092,CONTROLLER://127.0.0.1:9093",
    "advertised.listeners": "PLAINTEXT://127.0.0.1:9092",
    "controller.quorum.voters": "1@127.0.0.1:9093",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "log.dirs": "/var/lib/kafka/data",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "message.max.bytes": str(16 * 2**20),
    "replica.fetch.max.bytes": str(16 * 2**20),
}
CLUSTER_ID = "am91bGVzdHJlYW0tMDAwMQ"


def properties_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The broker's properties: those of the environment above the defaults of a broker by itself."""
    given = {
        property_name(name): value
        for name, value in environment.items()
        if name.startswith("KAFKA_") and name not in _NOT_PROPERTIES
    }
    alone = given.keys().isdisjoint({"process.roles", "listeners", "controller.quorum.voters"})
    kept = {key: value for key, value in _DEFAULTS.items() if alone or key not in _TOGETHER}
    return {**kept, **given}


# Defaults that only mean something together: given one, they are all for the environment to say.
_TOGETHER = (
    "advertised.listeners",
    "controller.quorum.voters",
    "listener.security.protocol.map",
    "listeners",
)


def property_name(variable: str) -> str:
    """`KAFKA_A_B__C___D` -> `a.b_c-d`."""
    text = variable.removeprefix("KAFKA_").lower()
    return text.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")


def format_command(file: Path, cluster: str, users: Sequence[str], commands: Path = COMMANDS) -> list[str]:
    """The command that gives new storage its cluster and users; storage that is in use stays as it is."""
    scram = [part for user in users for part in ("--add-scram", user)]
    return [
        str(commands / "kafka-storage.sh"),
        *("format", "--ignore-formatted", "--cluster-id", cluster, "--config", str(file), *scram),
    ]


def scram_users(file: Path) -> list[str]:
    """The users of a file as the storage tool takes them. Raises PipelineError for a line that is not one."""
    users = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        name, equals, password = line.partition("=")
        if not line.strip() or line.startswith("#"):
            continue
        if not (equals and name and password):
            raise PipelineError(f"{file}, line {number}: expected user=password")
        users.append(f"SCRAM-SHA-512=[name={name},password={password}]")
    return users


def _format(file: Path, folder: Path) -> None:
    named = os.environ.get("SCRAM_USERS_FILE")
    users = scram_users(Path(named)) if named else []
    command = format_command(file, os.environ.get("CLUSTER_ID", CLUSTER_ID), users)
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise PipelineError(f"the storage in {folder} could not be formatted (see above)")


def main() -> int:
    """Write the properties, format new storage, become the broker. 1 where that cannot be."""
    properties = properties_of(os.environ)
    folder = Path(properties["log.dirs"].split(",")[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = Path(tempfile.mkdtemp(prefix="kafka-")) / "server.properties"
        file.touch(0o600)
        file.write_text("".join(f"{key}={value}\n" for key, value in sorted(properties.items())))
        _format(file, folder)
        start = str(COMMANDS / "kafka-server-start.sh")
        os.execv(start, [start, str(file)])  # noqa: S606 - a list, no shell
    except OSError as error:
        sys.stderr.write(f"broker: {error}: the container must be able to write to {folder} and to /tmp\n")
    except PipelineError as error:
        sys.stderr.write(f"broker: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
