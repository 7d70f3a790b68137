"""A broker and a document server of the benchmark's own, on free ports, ended with it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.pipeline.cpu import cores
from conf.settings import Settings, load_settings
from joulestream.local.broker import broker_service
from joulestream.local.java import Java
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import running
from joulestream.local.store import DocumentServer, find_document_server, store_service
from joulestream.local.topics import ensure_topics

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the benchmark's servers are, and what the store is."""

    bootstrap: str
    uri: str
    document_server: DocumentServer
    java: Java
    pids: Mapping[str, int]

    def settings(self, data_dir: Path, database: str) -> Settings:
        """Default settings but for the addresses; what the user's environment sets counts as everywhere."""
        flags = {
            "data_dir": data_dir,
            "kafka.bootstrap": self.bootstrap,
            "mongodb.uri": self.uri,
            "mongodb.database": database,
        }
        return load_settings(flags)


@contextmanager
def servers(folder: Path, java: Java) -> Iterator[Servers]:
    """Both servers, with the topics."""
    document_server = find_document_server()
    broker_port, store_port = any_free(), any_free()
    broker = broker_service(folder / "broker", broker_port, any_free(), java, folder / "broker.log")
    store = store_service(folder / "store", store_port, document_server, folder / "store.log")
    with running(broker, store) as started:
        pids = {one.service.name: one.pid for one in started}
        found = Servers(
            f"{HOST}:{broker_port}", f"mongodb://{HOST}:{store_port}", document_server, java, pids
        )
        ensure_topics(found.settings(folder, "bench").kafka)
        yield found


def machine() -> dict[str, Any]:
    """What the figures were measured on; no names of hosts or people."""
    return {
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "cpu": _cpu_model(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": round(psutil.getloadavg()[0], 1),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
