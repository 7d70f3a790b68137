"""A stack of its own for the end-to-end tests: broker, document server and the streaming job, to kill at will."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from kafka import KafkaProducer, TopicPartition
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from conf.settings import Kafka
from joulestream.local.broker import broker_service
from joulestream.local.jars import ensure_jars
from joulestream.local.java import find_java
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import Running, Service, start
from joulestream.local.store import find_document_server, store_service
from joulestream.local.topics import ensure_topics
from schemas import documents
from schemas.topics import DLQ, STREAMED
from tests.conftest import _say
from tests.kafka_topics import ends, since

ROOT = Path(__file__).resolve().parents[2]
# A zone with half-hour summer time: nothing may depend on the machine's.
ZONE = "Australia/Lord_Howe"


class LiveStack:
    """The three processes and what a test does to them. All addresses stay the same over restarts."""

    def __init__(self, folder: Path, **stream: Any) -> None:
        java = find_java()
        ensure_jars(java, _say)
        broker_port, store_port = any_free(), any_free()
        self.folder = folder
        self.log = folder / "stream.log"
        self.checkpoints = folder / "checkpoints"
        self.bootstrap = f"{HOST}:{broker_port}"
        self.uri = f"mongodb://{HOST}:{store_port}"
        self._services: dict[str, Service] = {
            "broker": broker_service(folder / "broker", broker_port, any_free(), java, folder / "broker.log"),
            "store": store_service(
                folder / "store", store_port, find_document_server(), folder / "store.log"
            ),
        }
        self.running: dict[str, Running] = {}
        self.stream: subprocess.Popen[bytes] | None = None
        self.env = {
            **os.environ,
            "TZ": ZONE,
            "JOULE_DATA_DIR": str(folder),
            "JOULE_KAFKA_BOOTSTRAP": self.bootstrap,
            "JOULE_MONGODB_URI": self.uri,
            **{f"JOULE_STREAM_{name.upper()}": str(value) for name, value in stream.items()},
        }
        self._client: MongoClient[dict[str, Any]] | None = None

    def up(self) -> None:
        """Start the servers and make the topics."""
        for name in self._services:
            self.begin(name)
        self._client = MongoClient(self.uri, tz_aware=True, serverSelectionTimeoutMS=3000)
        ensure_topics(Kafka(bootstrap=self.bootstrap))

    @property
    def db(self) -> Any:
        """The database."""
        assert self._client is not None
        return self._client["energy_emissions"]

    def producer(self, **options: Any) -> KafkaProducer:
        """A producer that keeps the order."""
        return KafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5, **options)

    def begin(self, name: str) -> None:
        """Start a server, on the port and the data that it had."""
        self.running[name] = start(self._services[name])
        self.running[name].wait_ready()

    def kill_server(self, name: str) -> None:
        """`kill -9` a server."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.process.wait()

    def stop_server(self, name: str) -> None:
        """Ask a server to end."""
        self.running.pop(name).stop()

    def start_stream(self, ready_s: float = 120, **env: str) -> None:
        """Start the streaming job and wait until both queries run."""
        self.launch_stream(**env)
        self.wait("the stream", self._is_ready, ready_s)

    def launch_stream(self, **env: str) -> None:
        """Start the streaming job."""
        with self.log.open("ab") as log:
            self.stream = subprocess.Popen(
                [sys.executable, "-m", "spark_jobs.stream"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.env, **env},
                cwd=ROOT,
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        assert self.stream is not None
        leases = list(self.db[documents.LEASES].find({"pid": self.stream.pid, "state": "running"}))
        return len(leases) == len(STREAMED)

    def stop_stream(self, timeout_s: float = 90) -> int:
        """Ask the job to end; its exit code."""
        assert self.stream is not None
        self.stream.send_signal(signal.SIGTERM)
        code = self.stream.wait(timeout_s)
        self.stream = None
        return code

    def kill_stream(self, what: str) -> None:
        """`kill -9` the job: its `driver` (Python), its `jvm`, or `all` of it at once. Returns when all are gone."""
        assert self.stream is not None
        family = psutil.Process(self.stream.pid).children(recursive=True)
        if what == "all":
            os.killpg(self.stream.pid, signal.SIGKILL)
        elif what == "jvm":
            next(child for child in family if "java" in child.name()).kill()
        else:
            self.stream.kill()
        self.stream.wait(60)
        if what == "all":
            psutil.wait_procs(family, timeout=20)
        self.stream = None

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = 90) -> None:
        """Wait for a condition; a stream that has died fails at once."""
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(PyMongoError):
                if condition():
                    return
            if self.stream is not None and self.stream.poll() is not None:
                raise AssertionError(f"the stream ended with {self.stream.returncode}\n{self.tail()}")
            assert time.monotonic() < deadline, f"no {what} within {timeout_s:.0f} s\n{self.tail()}"
            time.sleep(0.2)

    def wait_mid_batch(self, query: str = "training") -> None:
        """Wait until a batch is being judged or written."""
        self.wait(f"batch of {query}", lambda: self._in_batch(query), 60)

    def _in_batch(self, query: str) -> bool:
        generations = list(self.db[documents.GENERATIONS].find({"query": query}))
        if not generations:  # the stream is still starting
            return False
        newest = max(generations, key=lambda doc: doc["number"])
        return bool(newest.get("current", {}).get("batch", -1) > newest["done"])

    def ends(self) -> Mapping[tuple[str, int], int]:
        """End offsets of both topics."""
        return ends(self.bootstrap, *STREAMED)

    def drain(self, timeout_s: float = 180) -> None:
        """Wait until everything sent is settled."""
        ends = self.ends()
        self.wait("end of the topics", lambda: self._settled(ends), timeout_s)

    def _settled(self, ends: Mapping[tuple[str, int], int]) -> bool:
        fences = {
            (doc["topic"], doc["partition"]): doc["next_offset"] for doc in self.db[documents.ACCOUNTS].find()
        }
        states = self.db[documents.GENERATIONS].find()
        newest = {doc["query"]: doc for doc in sorted(states, key=lambda doc: int(doc["number"]))}
        still = all(doc["writing"] == doc["done"] for doc in newest.values())
        return still and all(fences.get(place, 0) == end for place, end in ends.items())

    def dead_letters(self) -> list[Any]:
        """All records of the dead-letter topic."""
        return since(self.bootstrap, {TopicPartition(DLQ, 0): 0})

    def log_lines(self, word: str) -> list[str]:
        """Lines of the stream's log with a word in them."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if word in line]

    def tail(self, lines: int = 40) -> str:
        """The last words of the stream."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def down(self) -> None:
        """End everything."""
        if self.stream is not None and self.stream.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.stream.pid, signal.SIGKILL)
            self.stream.wait()
        if self._client is not None:
            self._client.close()
        for process in reversed(list(self.running.values())):
            process.stop()


@contextmanager
def live_stack(folder: Path, **stream: Any) -> Iterator[LiveStack]:
    """A stack that ends with the block."""
    stack = LiveStack(folder, **stream)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
