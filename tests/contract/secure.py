"""Real servers that ask for passwords and certificates: a broker with several listeners, a document server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr
from pymongo import MongoClient

from conf.sections import Kafka, MongoDB
from conf.settings import env_name
from joulestream.local.broker import broker_service
from joulestream.local.jars import ensure_jars
from joulestream.local.java import find_java
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import running
from joulestream.local.store import find_document_server, store_service
from schemas.topics import DLQ, NODE_METRICS, TRAINING_EVENTS
from tests.conftest import _say
from tests.contract.certificates import Authority, Certificate

USER, GUEST, STREAM, PLAIN_USER = "joule", "guest", "stream", "plain"
# What must not be seen anywhere; quotes and a backslash, since it goes into a line of Java's configuration.
KAFKA_PASSWORD, MONGO_PASSWORD, GUEST_PASSWORD = 'kafka"hunter2\\x', "mongo%hunter2@x", "guest-hunter2"
STREAM_PASSWORD = 'stream"hunter2\\y'
# All that docs/how-to/secure-connections.md says that the streaming job needs.
STREAM_RIGHTS = {
    TRAINING_EVENTS: (ACLOperation.READ, ACLOperation.DESCRIBE),
    NODE_METRICS: (ACLOperation.READ, ACLOperation.DESCRIBE),
    DLQ: (ACLOperation.WRITE, ACLOperation.DESCRIBE),
}
SECRETS = ("hunter2",)
_PASSWORDS = {
    "kafka": KAFKA_PASSWORD,
    "mongodb": MONGO_PASSWORD,
    "guest": GUEST_PASSWORD,
    "stream": STREAM_PASSWORD,
    "plain": GUEST_PASSWORD,
}
DATABASE = "energy_emissions"
MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True)
class Secure:
    """Servers, and the files that their clients need."""

    authority: Authority
    stranger: Authority
    ours: Certificate
    expired: Certificate
    passwords: Path
    plain: Kafka
    ports: Mapping[str, int]
    mongo_port: int

    def kafka(self, listener: str = "SECURE", **changes: Any) -> Kafka:
        """The settings of a user who may do all, with changes. MUTUAL knows people by their certificates."""
        mutual = listener == "MUTUAL"
        files = {"cert_file": self.ours.cert, "key_file": self.ours.key} if mutual else {}
        login = {"username": USER, "password_file": self.passwords / "kafka"}
        given = {
            "bootstrap": f"{HOST}:{self.ports[listener]}",
            "security_protocol": "SSL" if mutual else "SASL_SSL",
            "ca_file": self.authority.ca,
            **(files if mutual else login),
            **changes,
        }
        return Kafka(**{name: value for name, value in given.items() if value is not None})

    def mongodb(self, **changes: Any) -> MongoDB:
        """The settings of the user who may write, with changes."""
        given = {
            "uri": f"mongodb://{HOST}:{self.mongo_port}",
            "username": USER,
            "password_file": self.passwords / "mongodb",
            "ca_file": self.authority.ca,
            "timeout_s": 2.0,
            **changes,
        }
        return MongoDB(**{name: value for name, value in given.items() if value is not None})

    def variables(self, **sections: Kafka | MongoDB) -> dict[str, str]:
        """The environment of a process with these sections; by default a user's who may do all. Secrets: as files."""
        found = {}
        for name, section in ({"kafka": self.kafka(), "mongodb": self.mongodb()} | sections).items():
            for key in section.model_fields_set - {"password"}:
                value = getattr(section, key)
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                found[env_name(f"{name}.{key}")] = text
        return found

    def set_kafka_password(self, user: str, password: str) -> None:
        """Tell the broker of a user, or of their new password."""
        admin = KafkaAdminClient(bootstrap_servers=self.plain.bootstrap)
        try:
            answer = admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(user, MECHANISM, password)]
            )
        finally:
            admin.close()
        assert answer == {user: None}


@contextmanager
def secure_servers(folder: Path) -> Iterator[Secure]:
    """Both servers, their users and their certificates; ended with the block."""
    authority, stranger = Authority(folder / "tls"), Authority(folder / "stranger", "others")
    server, expired = authority.issue("server"), authority.issue("expired", until=timedelta(days=-1))
    ours = authority.issue(USER)
    passwords = folder / "passwords"
    passwords.mkdir()
    for name, text in _PASSWORDS.items():
        (passwords / name).write_text(f"{text}\n")
    ports = {name: any_free() for name in ("PLAINTEXT", "SECURE", "MUTUAL", "EXPIRED")}
    mongo_port = any_free()
    plain = Kafka(bootstrap=f"{HOST}:{ports['PLAINTEXT']}")
    found = Secure(authority, stranger, ours, expired, passwords, plain, ports, mongo_port)
    _add_users(folder, mongo_port)
    java = find_java()
    ensure_jars(java, _say)
    broker = broker_service(
        folder / "broker",
        ports["PLAINTEXT"],
        any_free(),
        java,
        folder / "broker.log",
        _listeners(ports, authority, server, expired),
    )
    tls = ("--tls-cert-file", str(server.cert), "--tls-key-file", str(server.key), "--auth")
    store = store_service(
        folder / "store", mongo_port, find_document_server(), folder / "store.log", tls, found.mongodb()
    )
    with running(broker, store):
        found.set_kafka_password(USER, KAFKA_PASSWORD)
        found.set_kafka_password(GUEST, GUEST_PASSWORD)
        found.set_kafka_password(STREAM, STREAM_PASSWORD)
        _grant(found.plain, STREAM, STREAM_RIGHTS)
        yield found


def _listeners(
    ports: Mapping[str, int], authority: Authority, server: Certificate, expired: Certificate
) -> dict[str, str]:
    """Kafka's properties: one plain listener for its keeper, and those that ask for something."""
    secure = ("SECURE", "MUTUAL", "EXPIRED")
    added = ",".join(f"{name}://{HOST}:{ports[name]}" for name in secure)
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    controller = any_free()
    return {
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{ports['PLAINTEXT']},CONTROLLER://{HOST}:{controller},{added}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports['PLAINTEXT']},{added}",
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL,EXPIRED:SASL_SSL"
        ),
        "sasl.enabled.mechanisms": f"{MECHANISM},PLAIN",
        "listener.name.secure.plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_{PLAIN_USER}="{GUEST_PASSWORD}";'
        ),
        "listener.name.expired.sasl.enabled.mechanisms": MECHANISM,
        "listener.name.secure.scram-sha-512.sasl.jaas.config": login,
        "listener.name.expired.scram-sha-512.sasl.jaas.config": login,
        # As long as a login counts: after a change of the password it is asked for again.
        "listener.name.secure.scram-sha-512.connections.max.reauth.ms": "4000",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.expired.ssl.keystore.type": "PEM",
        "listener.name.expired.ssl.keystore.location": str(expired.both),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{USER};User:CN={USER};User:{PLAIN_USER}",
    }


def _grant(kafka: Kafka, user: str, rights: Mapping[str, Sequence[ACLOperation]]) -> None:
    """Let a user do this with these topics, and nothing else."""
    acls = [
        ACL(
            f"User:{user}",
            "*",
            operation,
            ACLPermissionType.ALLOW,
            ResourcePattern(ResourceType.TOPIC, topic),
        )
        for topic, operations in rights.items()
        for operation in operations
    ]
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        assert not admin.create_acls(acls)["failed"]
    finally:
        admin.close()


def _add_users(folder: Path, port: int) -> None:
    """Users of the document server, made while it asks for none."""
    server = find_document_server()
    with (
        running(store_service(folder / "store", port, server, folder / "store.log")),
        MongoClient[dict[str, Any]](f"mongodb://{HOST}:{port}") as client,
    ):
        write = [{"role": "readWrite", "db": DATABASE}, {"role": "dbAdmin", "db": DATABASE}]
        client.admin.command("createUser", USER, pwd=MONGO_PASSWORD, roles=write)
        client.admin.command(
            "createUser", GUEST, pwd=GUEST_PASSWORD, roles=[{"role": "read", "db": "elsewhere"}]
        )
