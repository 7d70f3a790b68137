"""Why Kafka does not let us in: from what a client says, and from a login of our own."""

from __future__ import annotations

import re
import ssl

from conf.clients import current_password
from conf.kafka_login import NO_LOGIN_HERE, UNSUPPORTED_MECHANISM, Answer, Login, ask
from conf.knocking import Certificates, connection, listens, refused_certificate, speaks_tls
from conf.sections import Kafka
from conf.trouble import RIGHTS, Refused, chain, tls_words, unreadable

KNOCK_S = 5.0
_OURS = "kafka.cert_file and kafka.key_file"


def kafka_knock(kafka: Kafka) -> None:
    """Raise Refused where no broker that listens lets us in; without TLS and user there is nothing to ask.

    Asked before a client is built: those take half a minute to fail, and do not say why.
    """
    if kafka.security_protocol != "PLAINTEXT":
        _let_in(kafka)


def kafka_refusal(kafka: Kafka, error: BaseException | None = None) -> Refused | None:
    """Why Kafka does not let us in, from a client's error or from a login of our own; None where it is just away.

    Takes up to some seconds: only for when a client has failed.
    """
    told = told_by_client(kafka, error)
    if told is not None:
        return told
    try:
        _let_in(kafka)
    except Refused as refused:
        return refused
    return None


def told_by_client(kafka: Kafka, error: BaseException | None) -> Refused | None:
    """What a client's error says by itself."""
    for one in chain(error):
        name = type(one).__name__
        if name == "SaslAuthenticationFailedError":
            return Refused(_wrong_user(kafka))
        if name.endswith("AuthorizationFailedError"):
            request = re.search(r"Request '(\w+)", str(one))
            what = f"{request[1]}: {name}" if request else name
            return Refused(
                f"Kafka at {kafka.bootstrap} does not allow {_who(kafka)} what it asks ({what}); grant it: {RIGHTS}"
            )
    return None


def _let_in(kafka: Kafka) -> None:
    """Try each broker until one lets us in. Raises the first one's Refused; brokers that are away do not count."""
    context = _context(kafka) if kafka.tls else None
    first: str | None = None
    for address in kafka.bootstrap.split(","):
        words = _try(kafka, address, context)
        if words is None:
            return
        first = first or words or None
    if first is not None:
        raise Refused(first)


def _try(kafka: Kafka, address: str, context: ssl.SSLContext | None) -> str | None:
    """None where the broker lets us in, why where it does not, and nothing ("") where it is away."""
    login = None
    if kafka.security_protocol.startswith("SASL"):
        login = Login(kafka.sasl_mechanism, kafka.username or "", current_password(kafka))
    try:
        with connection(address, context, KNOCK_S) as opened:
            answer = ask(opened, login)
    except TimeoutError:
        return ""  # a port that does not speak what we do ends the connection; this one is busy, or away
    except OSError as error:
        return _broken(kafka, address, error) if listens(address, KNOCK_S) else ""
    except ValueError:
        return _broken(kafka, address, None)
    return _answered(kafka, address, answer)


def _answered(kafka: Kafka, address: str, answer: Answer) -> str | None:
    wants = kafka.security_protocol.startswith("SASL")
    if not wants and answer.code == NO_LOGIN_HERE:
        return None  # as it should be
    if not wants:
        secure = "SASL_SSL" if kafka.tls else "SASL_PLAINTEXT"
        return (
            f"Kafka at {address} asks for a user, and kafka.security_protocol is {kafka.security_protocol}; set it "
            f"to {secure}, and kafka.username and kafka.password_file"
        )
    if answer.code == NO_LOGIN_HERE:
        return (
            f"Kafka at {address} knows no users on this port, and kafka.security_protocol is "
            f"{kafka.security_protocol}; set it to {'SSL' if kafka.tls else 'PLAINTEXT'}, or give the port for users"
        )
    if answer.code == UNSUPPORTED_MECHANISM:
        taken = ", ".join(answer.mechanisms) or "none"
        return (
            f"Kafka at {address} does not take {kafka.sasl_mechanism}, but {taken}; set kafka.sasl_mechanism"
        )
    return _wrong_user(kafka) if answer.code else None


def _broken(kafka: Kafka, address: str, error: OSError | None) -> str:
    """A connection that ended, or an answer that is none of Kafka's, in words."""
    what = f"Kafka at {address}"
    if kafka.tls:
        told = "" if error is None else str(error)
        ours = (_OURS, kafka.cert_file)
        found = tls_words(what, told, kafka.ca_file, "kafka.ca_file", ours)
        if found is None:
            told = refused_certificate(address, KNOCK_S, kafka.cert_file, kafka.key_file)
            found = tls_words(what, told, kafka.ca_file, "kafka.ca_file", ours)
        if found is None and speaks_tls(address, KNOCK_S):
            return ""  # it speaks TLS and ended the connection without a reason, as one does that is stopping
        return found or (
            f"{what} does not answer in TLS, and kafka.security_protocol is {kafka.security_protocol}; give the "
            "port that speaks TLS, or set the protocol that this one speaks"
        )
    if speaks_tls(address, KNOCK_S):
        secure = "SASL_SSL" if kafka.security_protocol.startswith("SASL") else "SSL or SASL_SSL"
        return (
            f"{what} speaks TLS, and kafka.security_protocol is {kafka.security_protocol}; set it to {secure} "
            "(JOULE_KAFKA_SECURITY_PROTOCOL)"
        )
    return "" if error is not None else f"{what} does not answer as Kafka does; check kafka.bootstrap"


def _wrong_user(kafka: Kafka) -> str:
    return (
        f"Kafka at {kafka.bootstrap} refuses user {kafka.username!r}: it is unknown, or its password is wrong; "
        "correct kafka.username and kafka.password_file (JOULE_KAFKA_USERNAME, JOULE_KAFKA_PASSWORD_FILE)"
    )


def _who(kafka: Kafka) -> str:
    if kafka.username is not None and kafka.security_protocol.startswith("SASL"):
        return f"user {kafka.username!r}"
    return f"the certificate {kafka.cert_file}" if kafka.cert_file else "clients without a user"


def _context(kafka: Kafka) -> ssl.SSLContext:
    try:
        return Certificates(kafka.ca_file, kafka.cert_file, kafka.key_file).context()
    except OSError as error:  # ssl.SSLError is one
        raise Refused(unreadable("kafka", kafka.ca_file, kafka.cert_file, kafka.key_file, error)) from None
