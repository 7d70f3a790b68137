"""A real Kafka broker of one node (KRaft), for this machine only."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from conf.clients import kafka_options
from conf.kafka_trouble import kafka_refusal
from conf.knocking import listens
from conf.sections import Kafka
from joulestream.local.jars import jar_paths
from joulestream.local.java import Java
from joulestream.local.ports import HOST
from joulestream.local.process import Service, last_words
from schemas.errors import PipelineError

HEAP = "512m"
MAX_MESSAGE_BYTES = 16 * 2**20
LOGGING = Path(__file__).resolve().parents[2] / "conf" / "log4j2.properties"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
message.max.bytes={max_message_bytes}
replica.fetch.max.bytes={max_message_bytes}
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def broker_service(
    folder: Path,
    port: int,
    controller_port: int,
    java: Java,
    log: Path,
    more: Mapping[str, str] | None = None,
) -> Service:
    """The broker whose data is in `folder`, on 127.0.0.1; `ensure_jars` has run before.

    `more` are further properties of Kafka's, such as listeners with TLS; they stand above ours.
    """
    properties = folder / "server.properties"
    return Service(
        name="broker",
        command=[*_java(java, HEAP), "kafka.Kafka", str(properties)],
        log=log,
        env={"JAVA_HOME": str(java.home)},
        port=port,
        prepare=lambda: _prepare(folder, port, controller_port, java, log, more or {}),
        ready=lambda: broker_away(Kafka(bootstrap=f"{HOST}:{port}")),
        ready_timeout_s=120,
        stop_timeout_s=45,
    )


def broker_away(kafka: Kafka, timeout_s: float = 5.0) -> str | None:
    """None if a broker answers, else what went wrong."""
    timeout_ms = int(timeout_s * 1000)
    # Knock first: kafka-python leaves a socket open for each connection that is refused.
    refused = [address for address in kafka.bootstrap.split(",") if not listens(address, timeout_s)]
    if refused:
        return f"a listener at {', '.join(refused)}"
    refusal = kafka_refusal(kafka)  # its own words, before a client tries for long
    if refusal is not None:
        return str(refusal)
    try:
        admin = KafkaAdminClient(
            **kafka_options(kafka),
            request_timeout_ms=timeout_ms,
            bootstrap_timeout_ms=timeout_ms,
        )
    except (KafkaError, OSError) as error:
        return _no_answer(kafka, error)
    try:
        admin.describe_cluster()
    except (KafkaError, OSError) as error:
        return _no_answer(kafka, error)
    finally:
        admin.close()
    return None


def _prepare(
    folder: Path, port: int, controller_port: int, java: Java, log: Path, more: Mapping[str, str]
) -> None:
    """Write the properties, and give a new folder its cluster id."""
    folder.mkdir(parents=True, exist_ok=True)
    log_dir = folder / "data"
    properties = folder / "server.properties"
    properties.write_text(
        PROPERTIES.format(
            host=HOST,
            port=port,
            controller_port=controller_port,
            log_dir=_escaped(log_dir),
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        + "".join(f"{name}={value}\n" for name, value in more.items())
    )
    if (log_dir / "meta.properties").is_file():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "x")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        done = subprocess.run(
            [
                *_java(java, "128m"),
                "kafka.tools.StorageTool",
                "format",
                *("-t", cluster_id, "-c", str(properties)),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
    if done.returncode != 0:
        raise PipelineError(f"the broker's folder {log_dir} could not be formatted{last_words(log)}")


def _no_answer(kafka: Kafka, error: BaseException) -> str:
    refused = kafka_refusal(kafka, error)
    return str(refused) if refused else f"an answer at {kafka.bootstrap} ({type(error).__name__})"


def _java(java: Java, heap: str) -> list[str]:
    classpath = ":".join(str(path) for path in jar_paths("kafka"))
    return [
        java.executable,
        f"-Xmx{heap}",
        "-Xms64m",
        "-XX:+UseSerialGC",
        f"-Dlog4j2.configurationFile={LOGGING.as_uri()}",
        *("-cp", classpath),
    ]


def _escaped(path: Path) -> str:
    """A path as the value of a Java property; a comma would begin a second folder."""
    if "," in str(path):
        raise PipelineError(
            f"the data folder {path} has a comma in its name, which Kafka cannot take: use another"
        )
    return str(path).replace("\\", "\\\\")
