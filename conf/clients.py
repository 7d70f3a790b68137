"""How each client library is told of a server: address, encryption, user. Secrets stay out of every `repr`.

kafka-python, pymongo and Kafka's Java client (inside Spark) name the same things differently; here they meet.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from conf.sections import Kafka, MongoDB

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


class Options(dict[str, Any]):
    """Keyword arguments of a client. What they hold is not shown."""

    def __repr__(self) -> str:
        return f"Options({', '.join(sorted(self))})"

    __str__ = __repr__


def current_password(section: Kafka | MongoDB) -> str:
    """The password as it stands now: a file is read again, so that a client that is built anew has a new one.

    Where the file is not there (any more, or on this machine) it is the one that the settings were read with.
    """
    if section.password_file is not None:
        with suppress(OSError, UnicodeError):
            text = section.password_file.read_text("utf-8").rstrip("\r\n")
            if text:
                return text
    return section.password.get_secret_value() if section.password is not None else ""


def kafka_options(kafka: Kafka) -> Options:
    """Arguments of any of kafka-python's clients."""
    options = Options(bootstrap_servers=kafka.bootstrap.split(","))
    if kafka.security_protocol != "PLAINTEXT":
        options["security_protocol"] = kafka.security_protocol
    if kafka.security_protocol.startswith("SASL") and kafka.password is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.username
        options["sasl_plain_password"] = current_password(kafka)
    files = {"ssl_cafile": kafka.ca_file, "ssl_certfile": kafka.cert_file, "ssl_keyfile": kafka.key_file}
    options.update({name: str(path) for name, path in files.items() if path is not None})
    return options


def spark_kafka_options(kafka: Kafka) -> Options:
    """Options of Spark's Kafka source, for Kafka's Java client (names of its `SslConfigs`, `SaslConfigs`).

    Certificates go in as text, so that executors need no file. Raises OSError where one cannot be read.
    """
    options = Options({"bootstrap.servers": kafka.bootstrap})
    if kafka.security_protocol != "PLAINTEXT":
        options["security.protocol"] = kafka.security_protocol
    if kafka.security_protocol.startswith("SASL") and kafka.password is not None:
        options["sasl.mechanism"] = kafka.sasl_mechanism
        module = _PLAIN if kafka.sasl_mechanism == "PLAIN" else _SCRAM
        user, password = _quoted(kafka.username or ""), _quoted(current_password(kafka))
        options["sasl.jaas.config"] = f"{module} required username={user} password={password};"
    if kafka.ca_file is not None:
        options["ssl.truststore.type"] = "PEM"
        options["ssl.truststore.certificates"] = kafka.ca_file.read_text("ascii")
    if kafka.cert_file is not None and kafka.key_file is not None:
        options["ssl.keystore.type"] = "PEM"
        options["ssl.keystore.certificate.chain"] = kafka.cert_file.read_text("ascii")
        options["ssl.keystore.key"] = kafka.key_file.read_text("ascii")
    return Options({f"kafka.{name}": value for name, value in options.items()})


def mongo_options(mongodb: MongoDB) -> Options:
    """Arguments of `MongoClient`, its address and its patience among them."""
    wait_ms = int(mongodb.timeout_s * 1000)
    options = Options(
        host=mongodb.uri.get_secret_value(),
        tz_aware=True,
        serverSelectionTimeoutMS=wait_ms,
        connectTimeoutMS=wait_ms,
    )
    if mongodb.username is not None and mongodb.password is not None:
        options["username"] = mongodb.username
        options["password"] = current_password(mongodb)
        options["authSource"] = mongodb.auth_source
    if mongodb.tls is not None:
        options["tls"] = mongodb.tls
    if mongodb.ca_file is not None:
        options["tls"] = True
        options["tlsCAFile"] = str(mongodb.ca_file)
    if mongodb.cert_file is not None:
        options["tls"] = True
        options["tlsCertificateKeyFile"] = str(mongodb.cert_file)
    return options


def _quoted(text: str) -> str:
    """A value in a JAAS line."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
