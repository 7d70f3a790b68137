"""What stands at a port and is no broker, or one that is going: never a traceback, never a wrong accusation."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conf import kafka_trouble
from conf.kafka_trouble import kafka_knock, kafka_refusal
from conf.mongo_trouble import mongo_refusal
from conf.sections import Kafka
from conf.trouble import Refused

SILENT: bytes | None = None


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """A port that answers each connection with this and ends it, or says nothing at all."""
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                taken, _ = server.accept()
            except OSError:
                return
            held.append(taken)
            if answer is not SILENT:
                taken.recv(1000)
                taken.sendall(answer)
                taken.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for one in held:
        one.close()


def of(address: str, protocol: str = "SASL_PLAINTEXT") -> Kafka:
    return Kafka(bootstrap=address, security_protocol=protocol, username="u", password="hunter2")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_trouble, "KNOCK_S", 0.3)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", struct.pack(">ii", 4, 0), struct.pack(">iih", 6, 0, 0)],
    ids=["web server", "nothing inside", "half an answer"],
)
def test_who_does_not_speak_kafka_is_named(answer: bytes) -> None:
    with listener(answer) as address, pytest.raises(Refused) as error:
        kafka_knock(of(address))
    assert f"Kafka at {address} does not answer as Kafka does; check kafka.bootstrap" in str(error.value)


@pytest.mark.parametrize("answer", [SILENT, b""], ids=["silent", "ends the connection"])
def test_a_broker_that_is_busy_or_going_is_away_and_not_accused(answer: bytes | None) -> None:
    with listener(answer) as address:
        kafka_knock(of(address))
        assert kafka_refusal(Kafka(bootstrap=address)) is None


def test_one_broker_of_several_that_lets_us_in_is_enough() -> None:
    fine = struct.pack(">iihi", 10, 0, kafka_trouble.NO_LOGIN_HERE, 0)
    with listener(b"HTTP/1.1 400") as web, listener(fine) as broker:
        assert kafka_refusal(Kafka(bootstrap=f"{web},{broker}")) is None
        refused = kafka_refusal(Kafka(bootstrap=web))
    assert refused is not None


def test_what_users_write_is_not_taken_for_the_drivers_words() -> None:
    class WriteError(Exception):
        code = 121

    assert mongo_refusal(WriteError("document {'model_name': 'certificate verify failed'}")) is None
