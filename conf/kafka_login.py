"""A login at a Kafka broker by hand, to hear in its own words why it refuses: a client library says "time-out".

The frames are those of Kafka's protocol guide (SaslHandshake 1, SaslAuthenticate 0); SCRAM is RFC 5802.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from dataclasses import dataclass

HANDSHAKE, AUTHENTICATE = 17, 36
UNSUPPORTED_MECHANISM, NO_LOGIN_HERE = 33, 34
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
LONGEST_ANSWER = 1 << 20
MOST_ROUNDS = 1_000_000  # of PBKDF2, which the broker asks for


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and how. Without one, only what the port asks for is looked at."""

    mechanism: str
    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker says: an error code of Kafka's (0 is none), and the mechanisms that it takes."""

    code: int
    mechanisms: tuple[str, ...] = ()


def ask(connection: socket.socket, login: Login | None) -> Answer:
    """Log in on an open connection. Raises OSError where it ends, ValueError on an answer that is none of Kafka's."""
    mechanism = login.mechanism if login else "SCRAM-SHA-512"
    try:
        answer = _handshake(connection, mechanism)
        if answer.code or login is None:
            return answer
        code = _plain(connection, login) if mechanism == "PLAIN" else _scram(connection, login)
    except (struct.error, LookupError) as error:
        raise ValueError("the answer is none of Kafka's") from error
    return Answer(code, answer.mechanisms)


def _handshake(connection: socket.socket, mechanism: str) -> Answer:
    body = _call(connection, HANDSHAKE, 1, _text(mechanism))
    code, count = struct.unpack_from(">hi", body)
    at, names = 6, []
    for _ in range(max(0, count)):
        (length,) = struct.unpack_from(">h", body, at)
        names.append(body[at + 2 : at + 2 + length].decode("ascii", "replace"))
        at += 2 + length
    return Answer(code, tuple(names))


def _plain(connection: socket.socket, login: Login) -> int:
    return _authenticate(connection, f"\0{login.username}\0{login.password}".encode())[0]


def _scram(connection: socket.socket, login: Login) -> int:
    name = login.username.replace("=", "=3D").replace(",", "=2C")
    nonce = base64.b64encode(secrets.token_bytes(24)).decode()
    first = f"n={name},r={nonce}"
    code, said = _authenticate(connection, f"n,,{first}".encode())
    if code:
        return code
    fields = dict(part.split("=", 1) for part in said.decode().split(","))
    rounds = int(fields["i"])
    if not fields["r"].startswith(nonce) or not 0 < rounds <= MOST_ROUNDS:
        raise ValueError("the broker's answer does not belong to our question")
    kind = HASHES[login.mechanism]
    salted = hashlib.pbkdf2_hmac(kind, login.password.encode(), base64.b64decode(fields["s"]), rounds)
    last = f"c=biws,r={fields['r']}"
    key = hmac.digest(salted, b"Client Key", kind)
    stored = hashlib.new(kind, key).digest()
    signature = hmac.digest(stored, ",".join((first, said.decode(), last)).encode(), kind)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    return _authenticate(connection, f"{last},p={proof}".encode())[0]


def _authenticate(connection: socket.socket, message: bytes) -> tuple[int, bytes]:
    """Error code and what the mechanism answers."""
    body = _call(connection, AUTHENTICATE, 0, struct.pack(">i", len(message)) + message)
    code, length = struct.unpack_from(">hh", body)
    at = 4 + max(0, length)
    (size,) = struct.unpack_from(">i", body, at)
    return code, body[at + 4 : at + 4 + max(0, size)]


def _call(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    request = struct.pack(">hhi", api, version, 0) + _text("joulestream") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (length,) = struct.unpack(">i", _read(connection, 4))
    if not 4 <= length <= LONGEST_ANSWER:
        raise ValueError("the answer is none of Kafka's")
    return _read(connection, length)[4:]


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError("the broker ended the connection")
        data += part
    return data


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data
