"""Why MongoDB does not let us in: from what its driver says. The driver's words never reach a person whole:
they may quote the address, and with it a password.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from conf.knocking import connection, listens, refused_certificate, speaks_tls
from conf.sections import MongoDB
from conf.trouble import RIGHTS, Refused, chain, short, tls_words, unreadable
from schemas.errors import PipelineError

UNAUTHORISED, AUTHENTICATION_FAILED, NEEDS_USER = 13, 18, "requires authentication"
_CONNECTION = ("ConnectionFailure", "SSLError")  # the driver's class, and Python's
_NO_SERVER = "ServerSelectionTimeoutError"
_SERVER = re.compile(r"ServerDescription \('([^']+)', (\d+)\) server_type: Unknown")
KNOCK_S = 1.0
_GREETING = b"\x10hello\0" + struct.pack("<i", 1) + b"\x02$db\0" + struct.pack("<i", 6) + b"admin\0\0"
_BODY = struct.pack("<Ib", 0, 0) + struct.pack("<i", 4 + len(_GREETING)) + _GREETING
# MongoDB's OP_MSG with the document {hello: 1, $db: "admin"}.
HELLO = struct.pack("<iiii", 16 + len(_BODY), 1, 0, 2013) + _BODY
_HOST = re.compile(r"(\[[0-9A-Fa-f:]+\]:\d+|[A-Za-z0-9._-]+:\d+)")
_USER = "mongodb.username and mongodb.password_file, or the user in mongodb.uri"
_ENDED = ("connection closed", "connection reset", "eof occurred", "unexpected_eof", "broken pipe")
_NOT_TLS = ("wrong version number", "wrong_version_number", "record layer failure", "record_layer_failure")


def mongo_refusal(error: BaseException, mongodb: MongoDB | None = None, look: bool = True) -> Refused | None:
    """Why the store does not let us in; None where it is just away, or answers with another error.

    With the settings a server that does not answer is looked at, which may take some seconds, unless `look` is false.
    """
    for one in chain(error):
        words = _server_words(one, mongodb)
        if words is None and any(kind.__name__ in _CONNECTION for kind in type(one).__mro__):
            words = _connection_words(str(one), mongodb)
        if words is not None:
            return Refused(words)
    if look and mongodb is not None and any(type(one).__name__ == _NO_SERVER for one in chain(error)):
        words = _port_words(str(error), mongodb)
        return Refused(words) if words else None
    return None


def mongo_unusable(mongodb: MongoDB, error: BaseException) -> PipelineError:
    """The error for settings from which the driver can make no client."""
    files = (mongodb.ca_file, mongodb.cert_file, None)
    found = next((one for one in chain(error) if isinstance(one, OSError)), None)
    if found is not None and any(files):
        return PipelineError(unreadable("mongodb", *files, found))
    return PipelineError(
        "mongodb.uri / JOULE_MONGODB_URI cannot be used, or does not go with the other settings of mongodb "
        f"({type(error).__name__}); expected mongodb://host:port or mongodb+srv://host"
    )


def _server_words(error: BaseException, mongodb: MongoDB | None) -> str | None:
    """What the server itself answers, by the code of MongoDB's errors."""
    code: Any = getattr(error, "code", None)
    # The first time with its code; for the tries that follow the driver quotes what it was told.
    again = type(error).__name__ == _NO_SERVER and "authentication failed" in str(error).lower()
    if code == AUTHENTICATION_FAILED or again:
        user = "its user" if mongodb is None or mongodb.username is None else f"user {mongodb.username!r}"
        return (
            f"the document store refuses {user}: it is unknown, or its password is wrong; correct {_USER}, and "
            "mongodb.auth_source (the database in which it is known)"
        )
    if code == UNAUTHORISED and NEEDS_USER in str(error).lower():
        return f"the document store asks for a user; give {_USER}"
    if code == UNAUTHORISED:
        return f"the document store does not allow its user what we ask ({_asked(error)}); grant it: {RIGHTS}"
    return None


def _connection_words(text: str, mongodb: MongoDB | None) -> str | None:
    """What a connection that comes to nothing means; the driver tells of it in text only."""
    low = text.lower()
    host = _HOST.search(text)
    what = f"the document store at {host[1]}" if host else "the document store"
    ca_file, cert_file = (None, None) if mongodb is None else (mongodb.ca_file, mongodb.cert_file)
    found = tls_words(what, text, ca_file, "mongodb.ca_file", ("mongodb.cert_file", cert_file))
    if found is not None:
        return found
    handshake = "ssl handshake failed" in low or "[ssl" in low
    if handshake and any(word in low for word in (*_ENDED, *_NOT_TLS)):
        return f"{what} does not answer in TLS; set mongodb.tls to false, or give the port that speaks TLS"
    return None


def _port_words(text: str, mongodb: MongoDB) -> str | None:
    """What the servers that the driver waited for speak, if it is not what we do."""
    wants = _wants_tls(mongodb)
    for host, port in _SERVER.findall(text)[:3]:
        address = f"{host}:{port}"
        if not listens(address, KNOCK_S):
            continue
        what = f"the document store at {address}"
        tls = speaks_tls(address, KNOCK_S)
        if tls and wants:
            words = _certificate_words(what, address, mongodb)
            if words is not None:
                return words
        if tls == wants or not (tls or _answers(address)):
            continue
        if wants:
            return (
                f"{what} does not answer in TLS; set mongodb.tls to false, or give the port that speaks TLS"
            )
        return f"{what} speaks TLS; set mongodb.tls to true, and mongodb.ca_file"
    return None


def _certificate_words(what: str, address: str, mongodb: MongoDB) -> str | None:
    """Whether it is our certificate, or that we have none, for which the server ends the connection."""
    told = refused_certificate(address, KNOCK_S, mongodb.cert_file)
    ours = ("mongodb.cert_file", mongodb.cert_file)
    return tls_words(what, told, mongodb.ca_file, "mongodb.ca_file", ours)


def _answers(address: str) -> bool:
    """Whether a document server answers a greeting that is not encrypted."""
    try:
        with connection(address, None, KNOCK_S) as opened:
            opened.sendall(HELLO)
            return len(opened.recv(16)) == 16
    except (OSError, ValueError):
        return False


def _wants_tls(mongodb: MongoDB) -> bool:
    if mongodb.tls is not None or mongodb.ca_file or mongodb.cert_file:
        return mongodb.tls is not False
    uri = mongodb.uri.get_secret_value().lower()
    return uri.startswith("mongodb+srv://") or "tls=true" in uri or "ssl=true" in uri


def _asked(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)
    text = details.get("errmsg") if isinstance(details, dict) else None
    return str(text)[:200] if text else short(error)
