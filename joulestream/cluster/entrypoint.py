"""The stream image's entry point: `python -m joulestream.cluster.entrypoint COMMAND…`.

Spark starts the pods of a Kubernetes master with the argument `driver` or `executor` and tells them the rest in
the environment (as Spark's own image expects it); any other command is run as it is. This process becomes it.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_OPTION = re.compile(r"SPARK_JAVA_OPT_(\d+)")
BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
# What the executor's main class is told, and the variable in which Spark gives it.
_EXECUTOR_ARGUMENTS = (
    ("--driver-url", "SPARK_DRIVER_URL"),
    ("--executor-id", "SPARK_EXECUTOR_ID"),
    ("--cores", "SPARK_EXECUTOR_CORES"),
    ("--app-id", "SPARK_APPLICATION_ID"),
    ("--hostname", "SPARK_EXECUTOR_POD_IP"),
    ("--resourceProfileId", "SPARK_RESOURCE_PROFILE_ID"),
    ("--podName", "SPARK_EXECUTOR_POD_NAME"),
)


def command_of(arguments: Sequence[str], environment: Mapping[str, str], folder: str) -> list[str]:
    """The command that the container is to become; `folder` is its working directory.

    Raises KeyError with the name of a variable that Spark should have set.
    """
    if arguments and arguments[0] == "driver":
        return _driver(arguments[1:], environment)
    if arguments and arguments[0] == "executor":
        return _executor(environment, folder)
    return list(arguments)


def _driver(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    address = environment["SPARK_DRIVER_BIND_ADDRESS"]
    return [
        f"{environment['SPARK_HOME']}/bin/spark-submit",
        *("--conf", f"spark.driver.bindAddress={address}"),
        *("--conf", f"spark.executorEnv.SPARK_DRIVER_POD_IP={address}"),
        *("--deploy-mode", "client"),
        *arguments,
    ]


def _executor(environment: Mapping[str, str], folder: str) -> list[str]:
    options = sorted((int(found[1]), name) for name in environment if (found := _OPTION.fullmatch(name)))
    memory = environment["SPARK_EXECUTOR_MEMORY"]
    return [
        f"{environment['JAVA_HOME']}/bin/java",
        *(environment[name] for _, name in options),
        *(f"-Xms{memory}", f"-Xmx{memory}"),
        *("-cp", _class_path(environment, folder), BACKEND),
        *(part for flag, name in _EXECUTOR_ARGUMENTS for part in (flag, environment[name])),
    ]


def _class_path(environment: Mapping[str, str], folder: str) -> str:
    """Configuration first, then Spark's jars, then what the settings add, then the files of the application."""
    home = environment["SPARK_HOME"]
    parts = [
        environment.get("SPARK_CONF_DIR", f"{home}/conf"),
        environment.get("HADOOP_CONF_DIR"),
        environment.get("SPARK_CLASSPATH"),
        f"{home}/jars/*",
        environment.get("SPARK_EXTRA_CLASSPATH"),
        folder,
        environment.get("SPARK_DIST_CLASSPATH"),
    ]
    return ":".join(part for part in parts if part)


def work_folder(environment: Mapping[str, str]) -> str:
    """Where an executor may write: Spark copies the application's files into its working directory.

    Spark mounts volumes for its own files and names them in SPARK_LOCAL_DIRS; else the temporary folder is taken.
    """
    first = environment.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    return tempfile.mkdtemp(prefix="executor-", dir=first or None)


def name_user(uid: int, gid: int, passwd: Path = Path("/etc/passwd")) -> None:
    """Give this user an entry where it has none and the file can be written: Hadoop, inside Spark, wants one.

    Where it cannot, the job itself says so; nothing but Spark needs it.
    """
    try:
        pwd.getpwuid(uid)
    except KeyError:
        with suppress(OSError), passwd.open("a") as file:
            file.write(f"user{uid}:x:{uid}:{gid}::/tmp:/bin/sh\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Become the command; comes back only where that fails: 2 nothing to run, 126 or 127 as in a shell."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        sys.stderr.write("entrypoint: no command given; try `python -m joulestream.cluster.submit`\n")
        return 2
    name_user(os.getuid(), os.getgid())
    try:
        if arguments[0] == "executor":
            os.chdir(work_folder(os.environ))
        command = command_of(arguments, os.environ, str(Path.cwd()))
        os.execvp(command[0], command)  # noqa: S606 - a list, no shell
    except KeyError as error:
        sys.stderr.write(
            f"entrypoint: {error.args[0]} is not set; Spark sets it for `{arguments[0]}`, which is not for people: "
            "run `python -m joulestream.cluster.submit`\n"
        )
        return 2
    except OSError as error:
        sys.stderr.write(f"entrypoint: {arguments[0]} cannot be run: {error}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(main())
