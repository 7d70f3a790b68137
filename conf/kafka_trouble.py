"""Why Kafka does not let us in: from what a client says, and from a look at its port."""

from __future__ import annotations

import ssl

from conf.knocking import ALERT_WAIT_S, Certificates, handshake_problem, listens, speaks_tls
from conf.sections import Kafka
from conf.trouble import RIGHTS, Refused, chain, short, tls_words, unreadable

KNOCK_S = 3.0


def kafka_tls(kafka: Kafka) -> None:
    """Raise Refused where TLS is asked for and fails at every broker that listens. Without TLS, do nothing."""
    if not kafka.tls:
        return
    context = _context(kafka)
    first: Refused | None = None
    for address in kafka.bootstrap.split(","):
        problem = handshake_problem(address, context, KNOCK_S)
        if problem is None:
            return
        if isinstance(problem, ssl.SSLError) or listens(address, KNOCK_S):
            first = first or Refused(_tls_words(kafka, address, problem))
    if first is not None:
        raise first


def kafka_refusal(kafka: Kafka, error: BaseException | None = None) -> Refused | None:
    """Why Kafka does not let us in, from a client's error and from a look at the port; None where it is just away.

    Takes up to some seconds: only for when a client has failed.
    """
    told = told_by_client(kafka, error)
    if told is not None:
        return told
    try:
        kafka_tls(kafka)
        return _silent(kafka)
    except Refused as refused:
        return refused


def told_by_client(kafka: Kafka, error: BaseException | None) -> Refused | None:
    """What a client's error says by itself."""
    words = _client_words(kafka, error)
    return None if words is None else Refused(words)


def _client_words(kafka: Kafka, error: BaseException | None) -> str | None:
    where = f"Kafka at {kafka.bootstrap}"
    for one in chain(error):
        name = type(one).__name__
        if name == "SaslAuthenticationFailedError":
            return (
                f"{where} refuses user {kafka.username!r}: it is unknown, or its password is wrong; correct "
                "kafka.username and kafka.password_file (JOULE_KAFKA_USERNAME, JOULE_KAFKA_PASSWORD_FILE)"
            )
        if name in ("UnsupportedSaslMechanismError", "IllegalSaslStateError"):
            return (
                f"{where} does not take {kafka.sasl_mechanism} on this port ({kafka.security_protocol}); correct "
                "kafka.sasl_mechanism or kafka.security_protocol, or give the port that asks for passwords"
            )
        if name.endswith("AuthorizationFailedError"):
            return f"{where} does not allow {_who(kafka)} what it asks ({short(one)}); grant it: {RIGHTS}"
    return None


def _silent(kafka: Kafka) -> Refused | None:
    """A broker that takes connections and says nothing: what it may speak instead."""
    for address in kafka.bootstrap.split(","):
        if not listens(address, KNOCK_S):
            continue
        if not kafka.tls and speaks_tls(address, KNOCK_S):
            secure = "SASL_SSL" if kafka.security_protocol.startswith("SASL") else "SSL or SASL_SSL"
            return Refused(
                f"Kafka at {address} speaks TLS, and kafka.security_protocol is {kafka.security_protocol}; set "
                f"it to {secure} (JOULE_KAFKA_SECURITY_PROTOCOL)"
            )
        if kafka.tls:
            problem = handshake_problem(address, _context(kafka), KNOCK_S, ALERT_WAIT_S)
            if isinstance(problem, OSError):
                return Refused(_tls_words(kafka, address, problem))
    return None


def _who(kafka: Kafka) -> str:
    if kafka.username is not None and kafka.security_protocol.startswith("SASL"):
        return f"user {kafka.username!r}"
    return f"the certificate {kafka.cert_file}" if kafka.cert_file else "clients without a user"


def _context(kafka: Kafka) -> ssl.SSLContext:
    certificates = Certificates(kafka.ca_file, kafka.cert_file, kafka.key_file)
    try:
        return certificates.context()
    except OSError as error:  # ssl.SSLError is one
        raise Refused(
            f"{unreadable('kafka', kafka.ca_file, kafka.cert_file, kafka.key_file, error)}"
        ) from None


def _tls_words(kafka: Kafka, address: str, error: Exception) -> str:
    """A failed handshake in words."""
    what, ours = f"Kafka at {address}", ("kafka.cert_file and kafka.key_file", kafka.cert_file)
    found = tls_words(what, str(error), kafka.ca_file, "kafka.ca_file", ours)
    return found or (
        f"{what} does not answer in TLS ({short(error)}), and kafka.security_protocol is "
        f"{kafka.security_protocol}; give the port that speaks TLS, or set the protocol that this one speaks"
    )
