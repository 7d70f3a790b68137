"""A real standalone Spark cluster on 127.0.0.1: a master, workers, and an application submitted with spark-submit."""

from __future__ import annotations

import os
import signal
import subprocess
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

from joulestream.cluster.package import CODE
from joulestream.local.java import find_java
from joulestream.local.ports import HOST, any_free
from joulestream.local.process import end_group
from schemas import documents
from tests.e2e.live_stack import LiveStack
from tests.waiting import until

QUERIES = 2


def spark_home() -> Path:
    """The folder of Spark inside pyspark."""
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def python_without_us(folder: Path) -> Path:
    """A Python that has all packages of this one, and not the project: it is nowhere on its path."""
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    # A folder that a `.pth` names is put on the path as it is; `.pth` files in it are not read.
    (packages / "all.pth").write_text(f"{spark_home().parent}\n")
    python = folder / "bin" / "python"
    code = "import pyspark, pymongo, importlib.util as u; raise SystemExit(u.find_spec('spark_jobs') is not None)"
    done = subprocess.run([python, "-c", code], cwd=folder, env=environment(python), check=False)
    assert done.returncode == 0, "this Python finds the project without the zip, so it proves nothing"
    return python


def environment(python: Path) -> dict[str, str]:
    """What the cluster's processes need; nothing of the project."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("JOULE_", "SPARK_", "PYTHON", "PYSPARK"))
    }
    return {
        **kept,
        "JAVA_HOME": str(find_java().home),
        "SPARK_HOME": str(spark_home()),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_DAEMON_MEMORY": "192m",
        "PYSPARK_PYTHON": str(python),
    }


class Cluster:
    """Master and workers, each a process of its own in a group of its own."""

    def __init__(self, folder: Path, python: Path, workers: int, options: Mapping[str, str]) -> None:
        self.folder = folder
        self.python = python
        self.url = f"spark://{HOST}:{any_free()}"
        self.properties = folder / "cluster.conf"
        self.properties.touch(0o600)
        self.properties.write_text("".join(f"{key} {value}\n" for key, value in options.items()))
        self.master: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self._count = workers

    def up(self) -> None:
        """Start all, and wait until the master knows every worker."""
        port = self.url.rpartition(":")[2]
        self.master = self._start(
            "master", "master.Master", "--host", HOST, "--port", port, "--webui-port", str(any_free())
        )
        for number in range(self._count):
            self.workers.append(
                self._start(
                    f"worker-{number}",
                    "worker.Worker",
                    *("--host", HOST, "--cores", "1", "--memory", "1g", "--webui-port", str(any_free())),
                    *("--work-dir", str(self.work(number)), self.url),
                )
            )
        self._wait_for("Registering worker", self._count)

    def work(self, number: int) -> Path:
        """Folder of a worker's executors."""
        return self.folder / f"work-{number}"

    def executors(self, number: int) -> list[psutil.Process]:
        """The living executors of a worker."""
        try:
            return [
                child
                for child in psutil.Process(self.workers[number].pid).children(recursive=True)
                if child.name() == "java"
            ]
        except psutil.Error:
            return []

    def kill_worker(self, number: int) -> None:
        """`kill -9` a worker with its executors and their Python, all at once, as when its machine goes away."""
        worker = self.workers[number]
        family = psutil.Process(worker.pid).children(recursive=True)
        for process in (psutil.Process(worker.pid), *family):
            process.kill()
        worker.wait(20)
        psutil.wait_procs(family, timeout=20)

    def submit(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """`spark-submit --master … arguments`, from a folder of its own."""
        place = self.folder / "submit"
        place.mkdir(exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                [str(spark_home() / "bin" / "spark-submit"), "--master", self.url, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment(self.python), **env},
                cwd=place,
                start_new_session=True,
            )

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """Workers and master, as they were started."""
        return [*self.workers, *([self.master] if self.master else [])]

    def down(self) -> None:
        """End every process by its pid."""
        for process in self.processes:
            if process.poll() is None:
                end_group(process.pid, 10, process)

    def _start(self, name: str, main: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(spark_home() / "bin" / "spark-class"), f"org.apache.spark.deploy.{main}"]
        with (self.folder / f"{name}.log").open("wb") as output:
            return subprocess.Popen(
                [*command, "--properties-file", str(self.properties), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(self.python),
                cwd=self.folder,
                start_new_session=True,
            )

    def _wait_for(self, words: str, times: int, timeout_s: float = 60) -> None:
        def said() -> str:
            return (self.folder / "master.log").read_text(errors="replace")

        until(lambda: said().count(words) >= times, timeout_s, 0.2, lambda: said()[-2000:])


def driver_of(submitted: subprocess.Popen[bytes]) -> psutil.Process:
    """The Python process of a submitted application."""
    for child in psutil.Process(submitted.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a child that has ended, perhaps not yet waited for
            if any(part.endswith(".py") for part in child.cmdline()[1:2]):
                return child
    raise AssertionError(f"spark-submit {submitted.pid} runs no Python file")


def ask_to_end(submitted: subprocess.Popen[bytes], timeout_s: float = 90) -> int:
    """SIGTERM to the driver; the exit code of spark-submit."""
    driver_of(submitted).send_signal(signal.SIGTERM)
    return submitted.wait(timeout_s)


@contextmanager
def cluster(folder: Path, workers: int, options: Mapping[str, str]) -> Iterator[Cluster]:
    """A cluster that ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, python_without_us(folder / "python"), workers, options)
    try:
        made.up()
        yield made
    finally:
        made.down()


def submit_stream(
    stack: LiveStack,
    spark: Cluster,
    package: Path,
    more_jars: Sequence[str] = (),
    *,
    cores: int,
    wait_s: float,
    **environment: str,
) -> None:
    """The stream of a stack as docs/how-to/spark-submit.md has it, on so many cores; waits until its queries run."""
    jars = [*(str(jar) for jar in sorted((package / "jars").iterdir())), *more_jars]
    arguments = [
        *("--deploy-mode", "client", "--properties-file", str(package / "spark-defaults.conf")),
        *("--jars", ",".join(jars), "--py-files", str(package / CODE)),
        *("--conf", "spark.executor.cores=1", "--conf", f"spark.cores.max={cores}"),
        *("--conf", "spark.executor.memory=512m"),
        str(package / "stream.py"),
    ]
    ours = {key: value for key, value in stack.env.items() if key.startswith("JOULE_") or key == "TZ"}
    stack.stream = spark.submit(arguments, {**ours, **environment}, stack.log)
    leases = stack.db[documents.LEASES]
    stack.wait("the stream", lambda: leases.count_documents({"state": "running"}) == QUERIES, wait_s)
