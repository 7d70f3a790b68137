"""Start a job in the container: `python -m joulestream.cluster.submit [stream|reconcile|retrain] [ARGUMENT…]`.

Where it runs is the setting stream.master, else (where that has its default) `spark.master` in the file
`spark-defaults.conf` of SPARK_CONF_DIR. On a master other than `local[…]` this is client mode: the driver is this very
process, which so gets the signals of the container and gives it its exit code; the executors have the code and the
jars from the same image. Options are those of `spark-defaults.conf`; what only the running container can know is
added here.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conf.logs import JVM_FILE, JVM_VARIABLE
from conf.sections import Stream
from conf.settings import Settings, load_settings
from schemas.errors import PipelineError
from spark_jobs import object_store

JOBS = {
    "stream": "spark_jobs.stream",
    "reconcile": "spark_jobs.reconcile",
    "retrain": "spark_jobs.forecast.retrain",
}
ROOT = Path(__file__).resolve().parents[2]
# Where Spark has the pod of an executor look for its configuration.
EXECUTOR_CONF = "/opt/spark/conf"
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Start:
    """What this process is to become, and what it adds to its environment."""

    command: list[str]
    environment: Mapping[str, str]


def start_of(
    job: str,
    arguments: Sequence[str],
    settings: Settings,
    environment: Mapping[str, str],
    given: Mapping[str, str],
) -> Start:
    """How a job starts; `given` are the options of spark-defaults.conf.

    Raises PipelineError where the job is not known, or the jars are not there.
    """
    if job not in JOBS:
        raise PipelineError(f"there is no job {job}; give one of {', '.join(JOBS)}")
    command = [sys.executable, "-m", JOBS[job], *arguments]
    stated = settings.stream.master != Stream().master
    master = settings.stream.master if stated else given.get("spark.master", settings.stream.master)
    if master.startswith("local"):
        # All of it is in this container, whose own name need not lead anywhere.
        here = {"JOULE_STREAM_MASTER": master, "SPARK_LOCAL_IP": "127.0.0.1"}
        return Start(command, {**here, **_logging(settings, environment)})
    options = {
        key: value for key, value in _options(settings, master, environment).items() if key not in given
    }
    words = ["--master", master, "--deploy-mode", "client"]
    words += [part for key, value in sorted(options.items()) for part in ("--conf", f"{key}={value}")]
    # pyspark starts its JVM with these, and the session lets them stand (spark_jobs/session.py).
    submitted = {"PYSPARK_SUBMIT_ARGS": shlex.join([*words, "pyspark-shell"])}
    return Start(command, {**submitted, **_logging(settings, environment)})


def _options(settings: Settings, master: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What this container and pod know of themselves. What spark-defaults.conf says goes before it."""
    jars = settings.spark_jars_dir
    if not any(jars.glob("spark-sql-kafka*.jar")):
        raise PipelineError(
            f"{jars} holds no spark-sql-kafka jar, with which Spark reads Kafka: use the image joulestream/stream, "
            "or set JOULE_STREAM_JARS_DIR to a folder of the pinned jars"
        )
    options = {
        "spark.driver.memory": settings.stream.driver_memory,
        # On the class paths rather than among the application's files: the executors' image has them, so that
        # nothing is copied when an executor starts.
        "spark.driver.extraClassPath": f"{jars}/*",
        "spark.executor.extraClassPath": f"{jars}/*",
        # The executors' image has the code on its path, so the workers' parent imports it once, before it forks.
        "spark.python.daemon.module": "spark_jobs.workers",
        "spark.driver.bindAddress": "0.0.0.0",  # noqa: S104 - the executors reach the driver by the network
    }
    more = object_store.jars_of(settings)
    if more:
        # Behind Spark's own classes, not before them: the SDK's jar brings old ones of SLF4J and Netty. `local:` is
        # where every pod has them, so nothing is copied.
        options["spark.jars"] = ",".join(f"local://{jar}" for jar in more)
    if master.startswith("k8s://"):
        options |= _pod(environment)
        if settings.logs.format == "json":
            options[f"spark.executorEnv.{JVM_VARIABLE}"] = f"{EXECUTOR_CONF}/{JVM_FILE.name}"
    return options


def _logging(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Which file the JVM is told to log by where logs are JSON: that of SPARK_CONF_DIR goes before the package's."""
    file = _conf_dir(environment) / JVM_FILE.name
    wanted = settings.logs.format == "json" and JVM_VARIABLE not in environment and file.is_file()
    return {JVM_VARIABLE: str(file)} if wanted else {}


def _pod(environment: Mapping[str, str]) -> dict[str, str]:
    """Name, namespace and address of the driver's own pod, from the downward API or what every pod has."""
    namespace = environment.get("POD_NAMESPACE") or (
        NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.is_file() else None
    )
    known = {
        # With it the executors belong to the driver's pod, and go when it goes.
        "spark.kubernetes.driver.pod.name": environment.get("POD_NAME") or environment.get("HOSTNAME"),
        "spark.kubernetes.namespace": namespace,
        "spark.driver.host": environment.get("POD_IP"),
    }
    return {key: value for key, value in known.items() if value}


def given_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Options of `spark-defaults.conf` in SPARK_CONF_DIR, as they stand there."""
    file = _conf_dir(environment) / "spark-defaults.conf"
    if not file.is_file():
        return {}
    lines = (line.strip() for line in file.read_text("utf-8").splitlines())
    pairs = (line.replace("=", " ", 1).split(None, 1) for line in lines if line and not line.startswith("#"))
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def _conf_dir(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("SPARK_CONF_DIR", str(ROOT / "conf")))


def main(argv: Sequence[str] | None = None) -> int:
    """Become the job; 1 where it cannot be started."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    job, rest = (arguments[0], arguments[1:]) if arguments else ("stream", [])
    try:
        start = start_of(job, rest, load_settings(), os.environ, given_options(os.environ))
    except PipelineError as error:
        sys.stderr.write(f"submit: {error}\n")
        return 1
    os.environ.update(start.environment)
    return os.execv(start.command[0], start.command)  # noqa: S606 - a list, no shell


if __name__ == "__main__":
    sys.exit(main())
