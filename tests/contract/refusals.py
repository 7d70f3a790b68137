"""Ways to be let in by the secure servers, and to be refused by them with the words that a refusal must have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conf.sections import Kafka, MongoDB
from joulestream.local.ports import HOST
from tests.contract.secure import GUEST, PLAIN_USER, USER, Secure

# How a client of Kafka may be let in.
KNOWN: dict[str, Callable[[Secure], Kafka]] = {
    "SCRAM over TLS": lambda s: s.kafka(),
    "certificate": lambda s: s.kafka("MUTUAL"),
    "PLAIN over TLS": lambda s: s.kafka(
        username=PLAIN_USER, password_file=s.passwords / "plain", sasl_mechanism="PLAIN"
    ),
}


def _expired(secure: Secure) -> dict[str, Any]:
    return {"cert_file": secure.expired.cert, "key_file": secure.expired.key}


def _strange(secure: Secure) -> dict[str, Any]:
    strange = secure.stranger.issue(USER)
    return {"cert_file": strange.cert, "key_file": strange.key}


# How Kafka refuses a client, and what is then said.
KAFKA: dict[str, tuple[Callable[[Secure], Kafka], tuple[str, ...]]] = {
    "wrong password": (
        lambda s: s.kafka(password_file=s.passwords / "guest"),
        (f"refuses user '{USER}'", "its password is wrong", "kafka.password_file"),
    ),
    "unknown user": (lambda s: s.kafka(username="nobody"), ("refuses user 'nobody'", "kafka.username")),
    "no right": (
        lambda s: s.kafka(username=GUEST, password_file=s.passwords / "guest"),
        (f"does not allow user '{GUEST}'", "TopicAuthorizationFailed", "grant it"),
    ),
    "mechanism": (
        lambda s: s.kafka(sasl_mechanism="SCRAM-SHA-256"),
        ("does not take SCRAM-SHA-256, but", "SCRAM-SHA-512", "kafka.sasl_mechanism"),
    ),
    "wrong password, PLAIN": (
        lambda s: s.kafka(username=PLAIN_USER, password_file=s.passwords / "kafka", sasl_mechanism="PLAIN"),
        (f"refuses user '{PLAIN_USER}'",),
    ),
    "expired": (lambda s: s.kafka("EXPIRED"), ("its certificate has expired", "renew it on the server")),
    "unknown authority": (lambda s: s.kafka(ca_file=s.stranger.ca), ("no authority in", "kafka.ca_file")),
    "system's authorities": (lambda s: s.kafka(ca_file=None), ("no authority that we know", "kafka.ca_file")),
    "other host": (
        lambda s: s.kafka(bootstrap=f"localhost:{s.ports['SECURE']}"),
        ("its certificate is not for 'localhost'", "use an address that it names"),
    ),
    "TLS to a plain port": (
        lambda s: s.kafka(bootstrap=s.plain.bootstrap),
        ("does not answer in TLS", "kafka.security_protocol is SASL_SSL"),
    ),
    "user at a port without": (
        lambda s: s.kafka(bootstrap=s.plain.bootstrap, security_protocol="SASL_PLAINTEXT", ca_file=None),
        ("knows no users on this port", "set it to PLAINTEXT"),
    ),
    "no user at a port with": (
        lambda s: s.kafka(security_protocol="SSL", username=None, password_file=None),
        ("asks for a user", "set it to SASL_SSL", "kafka.username"),
    ),
    "no certificate of ours": (
        lambda s: s.kafka("MUTUAL", cert_file=None, key_file=None),
        ("asks for a certificate of ours", "kafka.cert_file and kafka.key_file"),
    ),
    "our certificate expired": (
        lambda s: s.kafka("MUTUAL", **_expired(s)),
        ("refuses our certificate", "expired", "kafka.cert_file"),
    ),
    "our certificate unknown": (
        lambda s: s.kafka("MUTUAL", **_strange(s)),
        ("refuses our certificate", "none of its authorities", "kafka.cert_file"),
    ),
    "another's key": (
        lambda s: s.kafka("MUTUAL", key_file=s.expired.key),
        ("kafka.key_file", "do not belong together"),
    ),
    "no file": (
        lambda s: s.kafka(ca_file="/not/there.pem"),
        ("kafka.ca_file: /not/there.pem", "No such file"),
    ),
}


# How the document server does.
STORE: dict[str, tuple[Callable[[Secure], MongoDB], tuple[str, ...]]] = {
    "wrong password": (
        lambda s: s.mongodb(password_file=s.passwords / "guest"),
        ("its password is wrong", "mongodb.password_file"),
    ),
    "wrong password in the URI": (
        lambda s: MongoDB(
            uri=f"mongodb://{USER}:hunter2@{HOST}:{s.mongo_port}/?tls=true", ca_file=s.authority.ca
        ),
        ("its password is wrong", "the user in mongodb.uri"),
    ),
    "unknown user": (lambda s: s.mongodb(username="nobody"), ("it is unknown", "mongodb.username")),
    "no user": (
        lambda s: s.mongodb(username=None, password_file=None),
        ("asks for a user", "mongodb.username and mongodb.password_file"),
    ),
    "no right": (
        lambda s: s.mongodb(username=GUEST, password_file=s.passwords / "guest"),
        ("does not allow its user what we ask", "not authorized", "grant it"),
    ),
    "unknown authority": (
        lambda s: s.mongodb(ca_file=s.stranger.ca),
        ("no authority", "mongodb.ca_file"),
    ),
    "other host": (
        lambda s: s.mongodb(uri=f"mongodb://localhost:{s.mongo_port}"),
        ("its certificate is not for 'localhost'",),
    ),
    "plain to a port with TLS": (lambda s: s.mongodb(ca_file=None), ("speaks TLS", "mongodb.tls")),
}
